"""Objects that never change after they were created."""

import copy
import functools
from collections.abc import Callable
from typing import Any, Self

from lit_certattr.errors import InputError


class Frozen:
    """Base of classes whose objects never change after they were created, so that they can be shared.

    Attributes are set in ``__init__`` (also of a subclass), and refuse any change afterwards. Copies and
    pickles are frozen as well.

    Example:
        >>> class Level(Frozen):
        ...     def __init__(self, alpha):
        ...         self.alpha = alpha
        >>> Level(0.1).alpha = 0.2
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: alpha of a Level cannot be changed: make a new Level with the other value
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _freezing(cls.__init__)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_once_made(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_once_made(name)
        super().__delattr__(name)

    def _changed(self, **attributes: Any) -> Self:
        """A copy with other attributes."""
        made = copy.copy(self)
        vars(made).update(attributes)
        return made

    def _refuse_once_made(self, name: str) -> None:
        if "_made" in vars(self):
            kind = type(self).__name__
            raise InputError(f"{name} of a {kind} cannot be changed: make a new {kind} with the other value")


def _freezing(init: Callable[..., None]) -> Callable[..., None]:
    """An ``__init__`` after which the object is frozen, if it belongs to the object's class and not to a base."""

    @functools.wraps(init)
    def make(self: Frozen, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is make:
            vars(self)["_made"] = True

    return make
