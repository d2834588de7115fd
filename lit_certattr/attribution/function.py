"""A plain function as a method."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ImageScore, score_of
from lit_certattr.errors import InputError
from lit_certattr.settings.plain import dotted_path, is_importable


class FunctionAttribution(Attribution):
    """A method that is one function ``(model, images, targets) -> maps``, and the name by which records know it.

    A record holds the name, and a digest of the function: of its source, its defaults, and the variables that it
    closes over. So a run is resumed with the same function only.

    Args:
        function: Called with the network, images ``[B, C, H, W]`` and class indices ``[B]``; returns maps
            ``[B, H, W]``. It must be one fixed function of each image, see :class:`Attribution`. With a parameter
            ``create_graph`` it is also called for maps that can be differentiated.
        name: The name in records; the function's own if left out. A lambda has none, so it needs one.

    Raises:
        InputError: If ``function`` cannot be called, or has no name and none is given.

    Example:
        >>> import torch
        >>> def brightness(model, images, targets):
        ...     return images.mean(1)
        >>> FunctionAttribution(brightness)
        FunctionAttribution(name='brightness')
        >>> FunctionAttribution(lambda model, images, targets: images.amax(1), name="largest_channel")
        FunctionAttribution(name='largest_channel')
    """

    unrecorded = frozenset({"function"})

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        super().__init__()
        if isinstance(function, type) or not callable(function):
            raise InputError(f"function must be a function (model, images, targets) -> maps, got {function!r:.80}")
        if name is None and (name := own_name(function)) is None:
            raise InputError(
                f"{function!r:.80} has no name to record: give it one, "
                "FunctionAttribution(function, name='...'), or write the function with def"
            )
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"name must be a text, e.g. 'brightness', got {name!r:.80}")
        self.name = name
        self._function, self._keeps_graph = function, _takes_create_graph(function)

    @property
    def class_rule(self) -> str | None:  # type: ignore[override]
        """The ``class_rule`` of the function, if it has one."""
        return getattr(self._function, "class_rule", None)

    @property
    def score(self) -> ImageScore | None:
        """The score in [0, 1] whose gradient the function is, if it has one."""
        return score_of(self._function)

    @override
    def settings(self) -> dict[str, Any]:
        """The dotted path of the function, or its name if it has no path, and the name."""
        path = inspect.isroutine(self._function) and is_importable(self._function)
        return {"function": dotted_path(self._function) if path else self.name, "name": self.name}

    def __repr__(self) -> str:
        return f"FunctionAttribution(name={self.name!r})"

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Maps ``[B, H, W]`` that the function returns.

        Raises:
            InputError: If ``create_graph`` is set and the function has no parameter ``create_graph``.
        """
        if create_graph and not self._keeps_graph:
            raise InputError(
                f"{self.name} gives maps without a graph, so they cannot be attacked or trained on: "
                "give the function a parameter create_graph"
            )
        options = {"create_graph": create_graph} if self._keeps_graph else {}
        maps: Tensor = self._function(model, images, targets, **options)
        return maps


def own_name(function: Callable[..., Any]) -> str | None:
    """The name of a function, or of the class of a callable object; ``None`` if it has none of its own.

    Args:
        function: What can be called.

    Example:
        >>> own_name(own_name), own_name(lambda model, images, targets: images)
        ('own_name', None)
    """
    if inspect.isroutine(function):
        name: str = function.__qualname__.rpartition("<locals>.")[2]
    elif type(function).__module__ == "functools":  # a partial is another function
        return None
    else:
        name = type(function).__qualname__.rpartition("<locals>.")[2]
    return None if "<" in name else name


def _takes_create_graph(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False
    return "create_graph" in parameters or any(part.kind is part.VAR_KEYWORD for part in parameters.values())
