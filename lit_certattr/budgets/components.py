"""Principal components of a nuisance: the images along which several pictures of the same scenes differ most."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_certattr.errors import InputError

_ZERO = 1e-6  # of the largest singular value: a direction of rounding, not of the data


class Components(NamedTuple):
    """Principal components, all with the same standard deviation of their amounts.

    Attributes:
        fields: The components ``[m, C, H, W]``, float64; the first has the largest absolute value 1.
        tau: Standard deviation of the amount of each, in pixel units.
        shares: Share of the variance that each explains, float64 ``[m]``.
    """

    fields: Tensor
    tau: float
    shares: Tensor


def principal_components(series: Sequence[Tensor], count: int) -> Components:
    r"""Principal components of the differences of each picture to the mean of its series.

    Scenes have nothing to do with each other: only what differs inside a series counts. With :math:`n_i` pictures in
    series i the differences have :math:`\sum_i (n_i - 1)` degrees of freedom, by which variances are divided. The
    components are orthogonal; each is scaled so that its amounts have the same standard deviation tau, since a law of
    noise has one strength for all modes of a file.

    Args:
        series: Pictures of one scene each, ``[n, C, H, W]`` in [0, 1], at least two.
        count: Number of components.

    Raises:
        InputError: If a series has one picture only, shapes differ, or there are fewer components.

    Example:
        >>> scene = torch.rand(1, 3, 8, 8, dtype=torch.float64)
        >>> found = principal_components([torch.cat([scene, scene + 0.1, scene + 0.2])], count=1)
        >>> round(found.tau, 6), found.fields.unique().numel() < 40, round(float(found.shares[0]), 6)
        (0.1, True, 1.0)
    """
    for number, pictures in enumerate(series, start=1):
        if len(pictures) < 2:
            raise InputError(f"series {number} has one picture: a series needs at least two pictures of one scene")
        if pictures.shape[1:] != series[0].shape[1:]:
            raise InputError(f"series {number} has another size or other channels than the first one")
    differences = torch.cat([pictures.double() - pictures.double().mean(0) for pictures in series]).flatten(1)
    freedom = sum(len(pictures) - 1 for pictures in series)
    _, values, directions = torch.linalg.svd(differences, full_matrices=False)
    there = int((values > _ZERO * values[0]).sum()) if float(values[0]) > 0 else 0
    if not there:
        raise InputError("the pictures of each scene are all the same: nothing varies")
    if there < count:
        raise InputError(f"these pictures vary in {there} directions only: set count to at most {there}")
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    spreads = values[:count] / freedom**0.5
    tau = float(spreads[0] * largest[0].abs())
    fields = directions * largest.sign() * (spreads / tau)[:, None]  # signs: the same on each machine
    shares = (values.square() / values.square().sum())[:count]
    return Components(fields.view(count, *series[0].shape[1:]), tau, shares)
