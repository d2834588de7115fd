"""How much two passes over the same image may differ by rounding."""

import torch
from torch import Tensor, nn

from lit_certattr.devices import wide


def difference(first: Tensor, second: Tensor) -> float:
    """Largest difference, relative to the largest value.

    Args:
        first: Any tensor.
        second: Tensor of the same shape.
    """
    scale = wide(torch.maximum(first.abs().amax(), second.abs().amax()))
    return float((wide(first) - wide(second)).abs().amax() / scale) if float(scale) else 0.0


def relative_distance(first: Tensor, second: Tensor) -> float:
    """l2 distance of two maps, relative to the larger of their l2 deviations from the mean; 0 for two constant maps.

    Args:
        first: Map, any shape.
        second: Map of the same shape.
    """
    first, second = wide(first), wide(second)
    norm = torch.linalg.vector_norm
    varies = max(float(norm(part - part.mean())) for part in (first, second))
    constant = varies <= 1e-12 * max(float(norm(first)), float(norm(second)))
    return 0.0 if constant else float(norm(first - second)) / varies


def repeats_within(model: nn.Module, image: Tensor, output: Tensor) -> float:
    """Largest :func:`difference` of two passes over the same image alone that rounding may cause.

    Args:
        model: The network.
        image: Image ``[1, C, H, W]``.
        output: Logits or map of the image.
    """
    return 1e-5 if image.device.type == "cpu" else unit_of_rounding(model, image, output) ** 0.5


def maps_agree_within(model: nn.Module, image: Tensor, output: Tensor) -> float:
    """Largest :func:`relative_distance` of an image's maps alone and in a batch that rounding may cause.

    A ReLU whose input is almost 0 may be active in one of them only, so the bound is no multiple of the unit of
    rounding.

    Args:
        model: The network.
        image: Image ``[1, C, H, W]``.
        output: Logits or map of the image.
    """
    return 0.1 if unit_of_rounding(model, image, output) < 1e-4 else 0.5


def unit_of_rounding(model: nn.Module, image: Tensor, output: Tensor) -> float:
    """Unit of rounding of the coarsest arithmetic that may be used between an image and the output.

    Args:
        model: The network.
        image: Image ``[1, C, H, W]``.
        output: Logits or map of the image.
    """
    types = {image.dtype, output.dtype, *(p.dtype for p in model.parameters() if p.is_floating_point())}
    if (autocast := autocast_type(image)) is not None:
        types.add(autocast)
    coarsest = max(torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point)
    # Accelerators may multiply float32 numbers with 10 bits (TF32).
    return max(coarsest, 2.0**-10) if image.device.type == "cuda" else coarsest


def autocast_type(image: Tensor) -> torch.dtype | None:
    """The type that autocast calculates in on the device of an image, if it is on.

    Args:
        image: Gives the device.
    """
    kind = image.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)
