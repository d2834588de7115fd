"""How much two maps differ as pictures: structure, centre of mass, distance. Each map is scaled by itself alone."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lit_certattr.devices import values_are_free, wide
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.pairs import checked_pair
from lit_certattr.smoothing import scaled_map

Scaling = Literal["sum", "norm"]

_MARGIN = 5
"""What the 11 x 11 window needs around a pixel."""


def ssim(clean: Tensor, perturbed: Tensor) -> Tensor:
    r"""Structural similarity (Wang et al., 2004) of the maps :math:`|a| / \max |a|`, with data range 1.

    Conventions: Gaussian 11 x 11 window with standard deviation 1.5, maps mirrored at the border, mean over *all*
    pixels (scikit-image leaves out the 5 pixels at each border), biased variances (its default is unbiased). Scaling
    and range are fixed, so the value of a pair does not depend on the rest of the batch. Where both maps are nearly
    zero they agree (1), so maps with few bright pixels score high wherever these pixels are. Constant maps are allowed.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type, at least 6 x 6.
        perturbed: Maps of the perturbed images, same shape.

    Returns:
        Float32 ``[...]`` in [-1, 1].

    Raises:
        InputError: If the maps do not fit each other, are not finite, or are too small to be mirrored.

    Example:
        >>> maps = torch.rand(2, 16, 16)
        >>> ssim(maps, maps)
        tensor([1., 1.])
    """
    both = scaled_map(checked_pair(clean, perturbed))
    if min(both.shape[-2:]) <= _MARGIN:
        raise InputError(f"ssim needs maps of at least {_MARGIN + 1} x {_MARGIN + 1}, got {list(both.shape[-2:])}")
    if not both.shape[1]:
        return both.new_zeros(clean.shape[:-2])
    # Its variances are small differences, which the reduced precision that CUDA may use for float32 would spoil.
    both = both.float() if values_are_free(both) else wide(both)
    found = structural_similarity_index_measure(both[1, :, None], both[0, :, None], reduction="none", data_range=1.0)
    if not isinstance(found, Tensor):
        raise TypeError("structural similarity came with images that were not asked for")
    return found.float().view(clean.shape[:-2])


def centre_shift(clean: Tensor, perturbed: Tensor) -> Tensor:
    r"""Distance in pixels between the centres of mass.

    The centre is :math:`C(a) = \sum_p |a_p| (\text{row}, \text{column}) / \sum_p |a_p|`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.

    Returns:
        Float32 ``[...]``, from 0 to the diagonal; NaN where a map is zero.

    Raises:
        InputError: If the maps do not fit each other or are not finite.

    Example:
        >>> centre_shift(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 2.0]]))
        tensor(1.5000)
    """
    mass = _unit(checked_pair(clean, perturbed), "sum").abs()
    rows, columns = (torch.arange(side, dtype=mass.dtype, device=mass.device) for side in mass.shape[-2:])
    centres = torch.stack([mass.sum(-1) @ rows, mass.sum(-2) @ columns], dim=-1)
    shift: Tensor = torch.linalg.vector_norm(centres[0] - centres[1], dim=-1)
    return shift.float().view(clean.shape[:-2])


def l2_distance(clean: Tensor, perturbed: Tensor, scaling: Scaling = "norm") -> Tensor:
    r"""Distance :math:`\lVert a - b \rVert_2` of maps that are scaled first.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.
        scaling: ``"norm"`` for unit l2 norm (then the square is 2 - 2 cosine), or ``"sum"`` for
            :math:`\sum_p |a_p| = 1` (then the value decreases as maps get larger and smoother: compare maps of one kind
            only).

    Returns:
        Float32 ``[...]`` in [0, 2]; NaN where a map is zero.

    Raises:
        InputError: If the maps do not fit each other or are not finite, or the scaling is unknown.

    Example:
        >>> l2_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor(1.4142)
    """
    check_scaling(scaling)
    clean_map, perturbed_map = _unit(checked_pair(clean, perturbed), scaling)
    distance: Tensor = torch.linalg.vector_norm(clean_map - perturbed_map, dim=(-2, -1))
    return distance.float().view(clean.shape[:-2])


def check_scaling(scaling: str) -> None:
    """Refuse an unknown scaling.

    Args:
        scaling: Name of the scaling.

    Raises:
        InputError: If there is no such scaling.
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling must be one of {', '.join(get_args(Scaling))}, got {scaling!r}")


def _unit(maps: Tensor, scaling: Scaling) -> Tensor:
    """Maps of unit sum of magnitudes or unit norm; NaN where a map is zero."""
    values = wide(maps)
    values = values / values.abs().amax((-2, -1), keepdim=True)  # so that no square underflows
    norms: Tensor = torch.linalg.vector_norm(values, ord=1 if scaling == "sum" else 2, dim=(-2, -1), keepdim=True)
    return values / norms
