"""Noise laws as a record writes them."""

import ast
from typing import Any

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions
from lit_certattr.settings.discovery import class_named
from lit_certattr.smoothing.noise import Noise

_MAX_TEXT = 1000


def noise_law(text: Any) -> Noise:
    """The noise law with a given ``repr``; nothing is imported.

    Args:
        text: E.g. ``"GaussianNoise(sigma=0.25)"``, with literal arguments or regions; classes belong to this package or
            were imported by the user.

    Raises:
        InputError: If the text is not the ``repr`` of a known noise law.

    Example:
        >>> noise_law("GaussianNoise(sigma=0.25)")
        GaussianNoise(sigma=0.25)
    """
    name, _, arguments = str(text).partition("(")
    shown = repr(text) if len(str(text)) <= 80 else f"{str(text)[:80]!r}..."
    law = class_named(Noise, name)
    if len(str(text)) > _MAX_TEXT or law is None:
        raise InputError(f"{shown} is no noise law of this package or of an imported one")
    try:
        call = ast.parse(f"f({arguments}", mode="eval").body
        assert isinstance(call, ast.Call)
        noise: Noise = law(**_arguments(call))
    except (SyntaxError, ValueError, TypeError, AssertionError, ArithmeticError, RecursionError, MemoryError) as error:
        raise InputError(f"{shown} is no noise law: {' '.join(str(error).split())}") from None
    if repr(noise) != text:
        raise InputError(f"{shown} is no noise law; it should read {noise!r}")
    return noise


def _arguments(call: ast.Call) -> dict[str, Any]:
    """The arguments of a call: literals, and rules of regions that are written the same way."""
    return {str(word.arg): _value(word.value) for word in call.keywords}


def _value(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    rule = class_named(Regions, node.func.id) if isinstance(node.func, ast.Name) else None
    if rule is None:
        raise ValueError(f"{ast.unparse(node.func):.80} gives no regions that are known here: import its package")
    return rule(**_arguments(node))
