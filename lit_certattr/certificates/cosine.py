"""Certified cosine: a bound on how far a small perturbation can turn a smoothed attribution map."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Accumulator, Certificate, check_float64
from lit_certattr.certificates.cosine_result import CosineResult, bound_name, norm_lower_bound, zero_flags
from lit_certattr.certificates.measures import CosineMeasure, Measure
from lit_certattr.errors import InputError
from lit_certattr.smoothing import (
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    MapBlock,
    Noise,
    NuisanceNoise,
    UniformBallNoise,
)

_SIGNED = "set nonnegative to false, or use an attribution without negative values"


class CosineCertificate(Certificate):
    r"""Certified cosine of a uniformly smoothed map (after Wang & Kong, 2024), with a valid bound.

    What it says: with probability at least :math:`1 - \alpha`, for all radii r at once, under every perturbation with
    an l2 norm up to r the cosine between the smoothed maps of the image and of the perturbed image is at least T(r).

    The smoothed map is :math:`h(x) = E\,g(x + \eta)`, with g the attribution map divided by its l2 norm (zero where
    the map is zero), so :math:`\|g\|_2 \le 1` by construction. The bound on the angle depends only on the norm of h
    and on how much the shift changes the noise law.

    - Ball noise: by the total variation q, :func:`~lit_certattr.certificates.cosine_bounds.cosine_bound_signed`,
      which is tight, or :func:`~lit_certattr.certificates.cosine_bounds.cosine_bound_nonnegative`.
    - Gaussian noise: :func:`~lit_certattr.certificates.gaussian_cosine.gaussian_cosine_bound`, exact for maps of any
      sign. It certifies larger radii than ball noise of the same sigma if the norm is large.

    Proofs, and why the published formula is not used: docs/certificates.md.

    **Samples.** The first ``num_selection`` maps choose a direction u: the direction of their mean. Each later map is
    projected on u, and u is updated to the mean of *all earlier* maps whenever their number has doubled;
    :func:`norm_lower_bound` holds for such directions. A block may contain samples of several directions. With
    ``sync_on_compute`` each process chooses its own direction from its own first samples, and the projections are
    concatenated in the order of the processes, which the same argument covers; the result then differs in its last
    bits from the result of one process.

    Args:
        alpha: Probability of any false statement about one image, at all radii and cosines together.
        nonnegative: Declares that the attribution method never gives negative values (true for ``Gradient()`` with
            its default channels), which allows a better bound. A negative value in any sample is refused.
        num_selection: Samples that only choose the first direction.
        sync_on_compute: Use the samples of all processes.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> accumulator = CosineCertificate(alpha=0.05, num_selection=8).start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> round(accumulator.compute().at(0.4), 2)
        0.94
    """

    name = "cosine"
    result = CosineResult
    laws = (UniformBallNoise, GaussianNoise, NuisanceNoise, ExposureNoise, GammaNoise)
    anytime = True

    def __init__(
        self,
        alpha: float = 0.001,
        nonnegative: bool = False,
        num_selection: int = 128,
        sync_on_compute: bool = False,
    ) -> None:
        super().__init__(alpha, sync_on_compute)
        if num_selection < 1:
            raise InputError(f"num_selection must be at least 1, got {num_selection}")
        self.nonnegative, self.num_selection = nonnegative, num_selection

    @override
    def measures(self) -> Sequence[Measure]:
        return [CosineMeasure()]

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "CosineAccumulator":
        return CosineAccumulator(self, noise, map_shape, dimension, share)

    @override
    def conditions(self) -> dict[str, Any]:
        return {"nonnegative": self.nonnegative, "num_selection": self.num_selection}

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples with which maps that never change get a norm above zero.

        Args:
            num_pixels: Pixels of a map; the number does not depend on it.
            share: Share of alpha that the result may err with.
        """
        alpha = self.alpha * share
        perfect = (n for n in itertools.count(1) if norm_lower_bound(np.ones(n), alpha, self.nonnegative) > 0)
        # With sync_on_compute each process chooses a direction of its own.
        together = self.sync_on_compute and torch.distributed.is_available() and torch.distributed.is_initialized()
        return self.num_selection * (torch.distributed.get_world_size() if together else 1) + next(perfect)

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {
            "bound": bound_name(type(noise).__name__, self.nonnegative),
            "dimension": dimension or map_shape[0] * map_shape[1],
            "num_selection": self.num_selection,
        }

    @override
    def check_map(self, clean_map: Tensor, name: str) -> None:
        if self.nonnegative and bool((clean_map < 0).any()):
            raise InputError(f"the map of {name} has negative values; {_SIGNED}")

    @override
    def check_device(self, device: torch.device) -> None:
        check_float64(self, device)

    def check_result(self, result: CosineResult) -> None:
        """Refuse a result that does not hold as many projections and products as its samples give.

        One process projects every sample after the selection, and multiplies all samples in pairs.

        Args:
            result: Result read from a file.

        Raises:
            InputError: If a number is not the one expected, or the mean does not fit the samples.
        """
        if self.sync_on_compute:
            return
        expected = {"projections": result.num_samples - result.num_selection, "products": result.num_samples // 2}
        for name, count in expected.items():
            if (held := getattr(result, name).numel()) != count:
                raise InputError(f"holds {held} {name}, but {result.num_samples} samples give {count}")
        result.check_mean()


class CosineAccumulator(Accumulator[CosineResult]):
    """Projections of normalised maps on directions chosen by earlier maps, and inner products of pairs of maps."""

    certificate: CosineCertificate
    total: Tensor
    projections: list[Tensor]
    products: list[Tensor]
    num_zero: Tensor
    num_negative: Tensor

    @override
    def allocate(self) -> None:
        if isinstance(self.noise, UniformBallNoise) and self.dimension is None:
            raise InputError(f"{type(self.certificate).__name__}: ball noise needs start(noise, map_shape, dimension)")
        self._direction: Tensor | None = None
        self._unpaired: Tensor | None = None
        self._seen = 0  # on the host: the loop never waits for an accelerator
        self.add_state("total", torch.zeros(self.num_pixels, dtype=torch.float64), dist_reduce_fx="sum")
        for state in ("projections", "products"):
            self.add_state(state, [], dist_reduce_fx="cat")
        for state in ("num_zero", "num_negative"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._direction, self._unpaired, self._seen = None, None, 0

    @override
    def count(self, block: MapBlock) -> None:
        maps = block.maps.flatten(1).double()
        norms = maps.norm(dim=1)
        self.num_zero += (norms == 0).sum()
        self.num_negative += (maps.amin(1) < 0).sum()
        scale = torch.where(norms > 0, 1 / norms, 0.0)
        self.products.append(self._multiply_pairs(maps, scale))
        projected = [scale.new_empty(0)]
        while len(maps):
            turn = self.certificate.num_selection
            while turn <= self._seen:
                turn *= 2
            split = turn - self._seen
            part, maps, factor, scale = maps[:split], maps[split:], scale[:split], scale[split:]
            if self._direction is not None:
                projected.append(part @ self._direction * factor)
            self.total += factor @ part
            self._seen += len(part)
            if self._seen == turn:
                self._direction = torch.nn.functional.normalize(self.total, dim=0)
        self.projections.append(torch.cat(projected))

    def _multiply_pairs(self, maps: Tensor, scale: Tensor) -> Tensor:
        """Inner products of the 1st and 2nd, 3rd and 4th, ... normalised map of the image, across blocks."""
        if self._unpaired is not None:
            maps, scale = torch.cat([self._unpaired, maps]), torch.cat([scale.new_ones(1), scale])
        self._unpaired = maps[-1:] * scale[-1:, None] if len(maps) % 2 else None
        even = len(maps) - len(maps) % 2
        first, second = maps[0:even:2], maps[1:even:2]
        products: Tensor = torch.linalg.vecdot(first, second) * scale[0:even:2] * scale[1:even:2]
        return products

    @override
    def conclude(self, share: float) -> CosineResult:
        record, nonnegative = self.record(share), self.certificate.nonnegative
        if nonnegative and (negative := int(self.num_negative)):
            raise InputError(f"{negative} of {record['num_samples']} noisy maps have negative values; {_SIGNED}")
        low = 0.0 if nonnegative else -1.0
        projections, products = (
            torch.cat(values if isinstance(values, list) else [values]).clamp(low, 1.0).cpu()  # beyond it by rounding
            for values in (self.projections, self.products)
        )
        if not len(projections):
            raise InputError(
                f"{record['num_samples']} samples, but num_selection={record['num_selection']} of them only choose a "
                "direction; increase num_samples or decrease num_selection"
            )
        record["flags"] += zero_flags(int(self.num_zero), record["num_samples"])
        return CosineResult(
            norm=norm_lower_bound(projections.numpy(), self.certificate.alpha * share, nonnegative),
            projections=projections,
            products=products,
            mean=(self.total / record["num_samples"]).view(self.map_shape).cpu(),
            num_zero=int(self.num_zero),
            **record,
        )
