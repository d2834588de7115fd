"""Which settings go with a compiled network."""

from typing import Literal, get_args

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.models.compiled_network import CompileMode


def check_compile_mode(
    mode: CompileMode | None, attribution: Attribution, batch_size: int | Literal["auto"], fold_batch_norm: bool
) -> None:
    """Refuse settings that do not go with a compiled network.

    Args:
        mode: The mode of ``torch.compile``; ``None`` compiles nothing.
        attribution: The method.
        batch_size: Samples evaluated at once.
        fold_batch_norm: Whether batch normalisation is folded.

    Raises:
        InputError: If the mode is unknown, or another setting does not go with it; the message names the remedy.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> check_compile_mode("default", Gradient(), "auto", False)
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: compile_mode needs a batch_size that is a number, e.g. 64: ...
    """
    if mode is None:
        return
    if mode not in get_args(CompileMode):
        raise InputError(f"compile_mode must be one of {', '.join(get_args(CompileMode))}, or null, got {mode!r}")
    if fold_batch_norm:
        raise InputError("fold_batch_norm does not go with compile_mode: leave one of them away")
    if batch_size == "auto":
        raise InputError(
            "compile_mode needs a batch_size that is a number, e.g. 64: a network is compiled for blocks of one size"
        )
    if attribution.needs_layers:
        raise InputError(
            f"{type(attribution).__name__} looks at layers, which a compiled network does not show: leave "
            "certifier.compile_mode away, or take a method that sees the network from outside, e.g. Gradient, "
            "IntegratedGradients or RISE at layer='input'"
        )
