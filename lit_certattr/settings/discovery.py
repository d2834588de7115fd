"""The subclasses of a base that this process has imported, from this package and from others."""

from collections.abc import Callable, Iterator
from inspect import isabstract
from typing import TypeVar

from lit_certattr.errors import InputError

T = TypeVar("T")


class SameName(InputError):
    """Classes of several modules have the same name, so that a name in a file is ambiguous."""


def is_own(kind: type | Callable[..., object]) -> bool:
    """Whether a class or a function is of this package.

    Args:
        kind: Any class or function.
    """
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def subclasses(base: type[T]) -> Iterator[type[T]]:
    """All subclasses of a base that are not abstract, the classes of this package first.

    Args:
        base: The base class, which is not included.

    Example:
        >>> from lit_certattr.certificates import Result
        >>> "PixelResult" in [kind.__name__ for kind in subclasses(Result)]
        True
    """
    found = {(kind.__module__, kind.__qualname__): kind for kind in _below(base)}  # attrs makes a class twice
    yield from sorted((kind for kind in found.values() if not isabstract(kind)), key=lambda kind: not is_own(kind))


def _below(base: type[T]) -> Iterator[type[T]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _below(kind)


def class_named(base: type[T], name: str) -> type[T] | None:
    """The subclass of a base with this name; nothing is imported.

    Args:
        base: The base class.
        name: Name of the class, without its module.

    Returns:
        The class of this package, else a class from an imported module; ``None`` if there is none.

    Raises:
        SameName: If classes of several other modules have this name.
    """
    named = [kind for kind in subclasses(base) if kind.__name__ == name]
    if len(named) > 1 and not is_own(named[0]):
        places = ", ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in named)
        raise SameName(f"several classes are called {name} ({places}); import one of them only")
    return named[0] if named else None


def check_name(base: type[T], kind: type[T]) -> None:
    """Refuse a class whose name in a file means another class.

    Args:
        base: The base class.
        kind: The class.

    Raises:
        SameName: If a class of this package, or classes of several other modules, have this name.
    """
    found = class_named(base, kind.__name__) or kind
    if (found.__module__, found.__qualname__) != (kind.__module__, kind.__qualname__):
        raise SameName(
            f"{kind.__module__}.{kind.__qualname__} has the name of {found.__module__}.{found.__qualname__}, and files "
            "hold the name alone: give it another one"
        )


def names_of(base: type[T], offers: Callable[[type[T]], bool]) -> str:
    """The subclasses of a base in this package that have a property, joined for messages.

    Args:
        base: The base class.
        offers: Whether a class has the property; its subclasses have it as well, and are not named.

    Example:
        >>> from lit_certattr.certificates import Certificate
        >>> names_of(Certificate, lambda kind: kind.needs_score)
        'SmoothGradCertificate'
    """
    names = list(dict.fromkeys(kind.__name__ for kind in _topmost(base, offers)))
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _topmost(base: type[T], offers: Callable[[type[T]], bool]) -> Iterator[type[T]]:
    for kind in base.__subclasses__():
        if is_own(kind) and offers(kind):
            yield kind
        else:
            yield from _topmost(kind, offers)
