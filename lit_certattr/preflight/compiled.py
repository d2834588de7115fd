"""Whether a compiled network is the network that was compiled, up to rounding."""

import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised
from lit_certattr.models.compiled import is_compiled
from lit_certattr.models.compiled_network import uncompiled
from lit_certattr.preflight.agreement import difference, maps_agree_within, relative_distance, unit_of_rounding
from lit_certattr.preflight.function import explain
from lit_certattr.preflight.network import logits_of


def check_not_compiled(model: nn.Module) -> None:
    """Refuse a network that is compiled already, where the certifier is to compile it.

    Args:
        model: The network.

    Raises:
        InputError: If it is, or one of the two parts of a denoised one.
    """
    parts = (model.denoiser, model.network) if isinstance(model, Denoised) else (model,)
    if any(is_compiled(part) for part in parts):
        raise InputError("the network is compiled already: give the one from before, or leave compile_mode away")


def check_compiled(model: nn.Module, attribution: Attribution, image: Tensor, target: int, name: str) -> None:
    """Check that a compiled network and its map of an image are those of the network itself, up to rounding.

    A fault of the compiler would show, and so does a method that changes what layers do: it has no effect on layers
    that are compiled, and would certify another map than its name says.

    Args:
        model: Network that :func:`~lit_certattr.models.compiled_network.compile_network` returned, in eval mode, with
            frozen parameters; any other is not compiled, and passes.
        attribution: The method.
        image: Image ``[1, C, H, W]``.
        target: Class to explain.
        name: Name of the image in messages.

    Raises:
        InputError: If one of them differs, or cannot be computed.
    """
    if (plain := uncompiled(model)) is model:
        return
    network = type(plain.network if isinstance(plain, Denoised) else plain).__name__
    before, after = (logits_of(one, image, name) for one in (plain, model))
    apart, rounding = difference(before, after), unit_of_rounding(plain, image, before)
    if apart > rounding**0.5:
        raise InputError(
            f"the compiled {network} gives other logits for {name} (relative difference {apart:.1g}): leave "
            "compile_mode away"
        )
    targets = torch.tensor([target], device=image.device)
    before, after = (explain(attribution, one, image, targets, name) for one in (plain, model))
    moved = relative_distance(before, after) if before.shape == after.shape else torch.inf
    if not moved <= maps_agree_within(plain, image, before):
        raise InputError(
            f"{type(attribution).__name__} explains {name} otherwise if {network} is compiled (relative difference "
            f"{moved:.1g}), as methods do that change what layers do: leave compile_mode away"
        )
