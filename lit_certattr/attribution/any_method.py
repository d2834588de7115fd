"""What a user may give in place of a method: its name, an explainer of Captum, or a plain function."""

import inspect
import re
from functools import lru_cache
from importlib import import_module
from typing import Any

from torch import nn

from lit_certattr.attribution.base import Attribution
from lit_certattr.attribution.captum_attribution import CaptumAttribution, bound_to, is_explainer, needs_layer
from lit_certattr.attribution.function import FunctionAttribution, own_name
from lit_certattr.errors import InputError
from lit_certattr.models.names import suggestion
from lit_certattr.settings import instance


def as_method(attribution: Any, model: nn.Module | None = None) -> Attribution:
    """A method from whatever stands for one.

    Args:
        attribution: A method; the name of a class of this package, such as ``"gradient"`` or ``"grad_cam"``, which is
            made with its defaults; a class of ``captum.attr``, or an explainer of Captum that is bound to ``model``,
            which become a :class:`CaptumAttribution`; or a function ``(model, images, targets) -> maps``, which
            becomes a :class:`FunctionAttribution` under its own name.
        model: The network that is explained, if it is known.

    Raises:
        InputError: If it is none of these, an explainer is bound to another network, a function has no name of its
            own, as a lambda, or a class cannot be made without arguments.

    Example:
        >>> def brightness(model, images, targets):
        ...     return images.mean(1)
        >>> as_method(brightness), as_method("grad_cam") == as_method("GradCAM")
        (FunctionAttribution(name='brightness'), True)
    """
    if isinstance(attribution, Attribution):
        return attribution
    if isinstance(attribution, str):
        return _named(attribution)
    if isinstance(attribution, type) and issubclass(attribution, Attribution):
        return _made(attribution)
    if is_explainer(attribution):
        return _of_captum(attribution, model)
    if isinstance(attribution, type) or not callable(attribution):
        instance("attribution", attribution, Attribution, "Gradient()")
    if own_name(attribution) is None:
        raise InputError(
            f"attribution {attribution!r:.80} has no name to record: give it one, "
            "FunctionAttribution(function, name='...')"
        )
    return FunctionAttribution(attribution)


def _of_captum(explainer: Any, model: nn.Module | None) -> CaptumAttribution:
    if not isinstance(explainer, type):
        return bound_to(explainer, model)
    return CaptumAttribution(explainer, layer="final" if needs_layer(explainer) else "input")


def _named(name: str) -> Attribution:
    known = _methods()
    kind = known.get(_bare(name).lower())
    if kind is None:
        close = suggestion(_bare(name.title()), [one.__name__ for one in known.values()])
        raise InputError(
            f"there is no attribution method {name!r}; {close}; an explainer of Captum is given as an object"
        )
    return _made(kind)


def _made(kind: type[Attribution]) -> Attribution:
    parameters = inspect.signature(kind).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if needed:
        raise InputError(f"{kind.__name__} needs {', '.join(needed)}: give an object, {kind.__name__}({needed[0]}=...)")
    return kind()


@lru_cache(maxsize=1)
def _methods() -> dict[str, type[Attribution]]:
    """The methods of this package by their names in small letters, without underscores."""
    room = import_module("lit_certattr.attribution")
    kinds = [getattr(room, name) for name in room.__all__]
    methods = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Attribution)]
    return {kind.__name__.lower(): kind for kind in methods if not inspect.isabstract(kind)}


def _bare(name: str) -> str:
    return re.sub("[-_ ]", "", name)
