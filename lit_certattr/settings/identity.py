"""Objects that are identified by their settings: the arguments of their constructors."""

import inspect
from collections.abc import Iterator, Mapping
from reprlib import recursive_repr
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lit_certattr.errors import InputError
from lit_certattr.settings.digest import digest, without_cached
from lit_certattr.settings.foreign import foreign_parts
from lit_certattr.settings.plain import copied, dotted_path, fields_of, is_plain, plain

_MISSING = object()


class _SignatureOfInit:
    """The signature of a class is that of its ``__init__``, although :class:`Settings` has a ``__new__``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # that of a callable object is the one of its __call__
        constructor = inspect.getattr_static(owner, "__init__")
        if constructor is object.__init__:
            return inspect.Signature()
        signature = inspect.signature(constructor)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Settings:
    """An object that is identified by the arguments of its constructor: a method, a noise law, a certificate, a rule.

    A run is resumed, and its claims are tested, with equal objects only. So every argument of a constructor must be
    something that a record can store: text, numbers, lists and mappings of such, other settings, a dataclass, a class,
    or a function at the top of a module. They are captured before ``__init__`` runs, whatever it does with them, and
    only the arguments of the outermost constructor count: ``super().__init__`` need not get them or be called.

    If an attribute has the name of an argument, its present value counts: after ``method.steps = 5`` it is another
    method, with other settings. For an object of a class outside this package, all other attributes count too, private
    ones included (:func:`~lit_certattr.settings.digest.digest`): two objects are equal only if these are equal.

    Raises:
        InputError: If an argument is a lambda, a tensor, an open file or another object without a name; the line names
            the remedy.

    Example:
        >>> class Blur(Settings):
        ...     def __init__(self, width: int, sigma: float = 1.0) -> None:
        ...         self._width, self._sigma = width, sigma
        >>> Blur(3), Blur(3) == Blur(3, sigma=1.0), Blur(3) == Blur(4), Blur(3).settings()
        (Blur(width=3, sigma=1.0), True, False, {'width': 3, 'sigma': 1.0})
        >>> Blur(lambda: 3)
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: Blur: width is <function <lambda> at ...

    Reference: the parameters of scikit-learn's estimators (``get_params``; Buitinck et al., 2013).
    """

    unrecorded: ClassVar[frozenset[str]] = frozenset()
    """Arguments that need not be plain: a record holds their digest, or a description by the class."""

    __signature__ = _SignatureOfInit()

    if not TYPE_CHECKING:  # a type checker reads __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            """An object that keeps what its constructor is about to be given."""
            signature = inspect.signature(cls)
            if not signature.parameters and (args or kwargs):  # object.__init__ would not say so
                raise TypeError(f"{cls.__name__}() takes no arguments")
            made = super().__new__(cls)
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:  # __init__ says what is missing; a copy gets its attributes later
                return made
            bound.apply_defaults()
            for name, value in bound.arguments.items():
                if name not in cls.unrecorded:
                    _check_plain(value, f"{cls.__name__}: {name}")
            made.__dict__["_settings_given"] = {name: copied(value) for name, value in bound.arguments.items()}
            return made

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the constructor, for ``copy`` and ``pickle``."""
        given = self.__dict__.get("_settings_given")
        if given is None:
            return (), {}
        bound = inspect.BoundArguments(inspect.signature(type(self)), given)
        return bound.args, bound.kwargs

    def settings(self) -> dict[str, Any]:
        """The arguments for an equal object: plain nested values, in the order of the constructor.

        An object among them is ``{"class_path": ..., "init_args": {...}}``, as in a configuration.

        Raises:
            InputError: If an attribute was set to a value that no record can store.
        """
        values, kind = self.init_args(), type(self).__name__
        digests = {name for name in self.unrecorded & values.keys() if not is_plain(values[name])}
        return {
            name: f"sha256 {digest(value, f'{kind}: {name}')}" if name in digests else plain(value, f"{kind}: {name}")
            for name, value in values.items()
        }

    def init_args(self) -> dict[str, Any]:
        """The arguments by name, or the present values of the attributes with these names; not copied."""
        return dict(self._current())

    def _current(self) -> Iterator[tuple[str, Any]]:
        given, state = self.__dict__.get("_settings_given", {}), self._attributes()
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                yield from ((key, state.get(key, value)) for key, value in given.get(name, {}).items())
                continue
            value = state.get(name, _MISSING)
            if value is _MISSING or (name in given and name not in self.unrecorded and not is_plain(value)):
                value = given.get(name, _MISSING)
            if value is _MISSING:
                kind = type(self).__name__
                raise InputError(
                    f"{kind} does not know its {name}: keep it in an attribute of that name, or hand all arguments on "
                    f"where {kind} has a __new__ of its own"
                )
            yield name, value

    def settings_state(self) -> dict[str, Any]:
        """The attributes of the object, private ones included, without cached values."""
        state = without_cached(self, self._attributes())
        state.pop("_settings_given", None)
        return state

    def _attributes(self) -> dict[str, Any]:
        members = (item for kind in type(self).__mro__ for item in vars(kind).items())
        slots = [name for name, member in members if isinstance(member, MemberDescriptorType)]
        return {name: getattr(self, name) for name in slots if hasattr(self, name)} | vars(self)

    @recursive_repr()
    def __repr__(self) -> str:
        return f"{type(self).__name__}({as_arguments(self.init_args())})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Settings)
        if self is other:
            return True
        if shown(self.settings()) != shown(other.settings()) or repr(self) != repr(other):  # NaN is no other than NaN
            return False
        if not any(foreign_parts(self)):
            return True
        try:  # the state of what others wrote need not follow from its arguments
            return digest(self, "one") == digest(other, "the other")
        except InputError:
            return False

    def __hash__(self) -> int:
        return hash(type(self))  # attributes may be set, and equal objects need equal hashes


def _check_plain(value: Any, what: str) -> None:
    try:
        plain(value, what)
    except RecursionError:
        raise InputError(f"{what} holds itself, or is nested too deeply: give plain values") from None


def as_arguments(values: Mapping[str, Any]) -> str:
    """Values as the arguments of a call.

    Args:
        values: By name.

    Example:
        >>> as_arguments({"sigma": 0.25, "layer": "final"})
        "sigma=0.25, layer='final'"
    """
    return ", ".join(f"{name}={shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """``repr`` of a setting, the same in every process: no address, no order of a set, no type of a number of NumPy.

    Args:
        value: The setting.

    Example:
        >>> shown([as_arguments, np.float64(0.5), {"b", "a"}])
        "[lit_certattr.settings.identity.as_arguments, 0.5, {'a', 'b'}]"
    """
    if isinstance(value, np.generic | np.ndarray):
        return repr(value.tolist())
    if inspect.isroutine(value):
        return dotted_path(value)
    if type(value) in (list, set, frozenset):
        items = [shown(item) for item in value]
        return f"[{', '.join(items)}]" if type(value) is list else f"{{{', '.join(sorted(items))}}}"
    if type(value) is tuple:
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {shown(item)}' for key, item in value.items())}}}"
    if (fields := fields_of(value)) is not None:
        arguments = {name: getattr(value, attribute) for name, attribute in fields.items()}
        return f"{type(value).__qualname__}({as_arguments(arguments)})"
    return repr(value)


@plain.register
def _(value: Settings, what: str) -> dict[str, Any]:
    return {"class_path": dotted_path(type(value)), "init_args": value.settings()}
