"""What a certificate is: a torchmetrics metric over the noisy maps of one image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.certificates.result import Result, invalid_flags
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings, real_number
from lit_certattr.smoothing import MapBlock, Noise, alpha_slack
from lit_certattr.statistics.rounding import at_most, exact


def check_alpha(alpha: float) -> float:
    """``alpha`` as a float, if it is a probability strictly between 0 and 1."""
    if not 0 < real_number("alpha", alpha) < 1:
        raise InputError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    return float(alpha)


class Certificate(Metric, Settings, ABC):  # type: ignore[misc]  # Metric has an __eq__ of its own, and keeps it
    """Statistics of the noisy maps of one image, and the theorem that turns them into a guarantee.

    Call order: :meth:`bind` once a map shape, then for each image ``reset()``, :meth:`update` with every block
    of maps, ``compute()``. States are sums (counts, never maps), so the samples of one image can be drawn on
    several devices and added: pass ``sync_on_compute=True`` for that. It is off by default, since processes
    usually certify different images, whose counts must not be mixed.

    A subclass implements :meth:`allocate`, :meth:`count`, :meth:`smallest_num_samples` and ``compute``.

    Args:
        alpha: Probability of any false statement about one image, over all pixels and levels.
        sync_on_compute: Add the states of all processes before computing.

    Raises:
        InputError: If ``alpha`` is not in (0, 1).
    """

    name: ClassVar[str]
    """Key of the result when none is given."""
    result: ClassVar[type[Result]] = Result
    """Class of the results; what it offers (:mod:`lit_certattr.certificates.capabilities`) decides what can be done."""
    laws: ClassVar[tuple[type[Noise], ...]]
    """Noise laws that the theorem covers."""
    needs_score: ClassVar[bool] = False
    """Whether the attribution method must offer a score in [0, 1], whose gradient it is."""
    anytime: ClassVar[bool] = False
    """Whether ``compute`` may be called at several looks, each with its own share of alpha (:meth:`spend`)."""

    full_state_update = False
    is_differentiable = False

    num_samples: Tensor
    num_invalid: Tensor

    def __init__(self, alpha: float, sync_on_compute: bool = False) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.alpha = check_alpha(alpha)
        self.alpha_share = 1.0
        self.bound_to: Noise | None = None
        self.map_shape: tuple[int, int] = (0, 0)
        self.dimension: int | None = None
        for state in ("num_samples", "num_invalid"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def allocate(self) -> None:
        """Add the states for maps of ``self.map_shape``; raises InputError if the settings do not fit them."""

    @abstractmethod
    def count(self, block: MapBlock) -> None:
        """Add a block to the states."""

    @abstractmethod
    def smallest_num_samples(self, num_pixels: int) -> int:
        """Fewest samples with which this certificate can say anything about maps of ``num_pixels``.

        Raises:
            InputError: If the settings do not fit maps of that size.
        """

    @abstractmethod
    def compute(self) -> Result:
        """The result for the samples seen since ``reset()``."""

    def fixed(self, num_samples: int) -> dict[str, Any]:
        """Fields of the result that follow from the settings, the noise and the shapes, whatever the samples were.

        What :meth:`place` has fixed is known; no samples are needed. An audit puts them in place of those that a file
        holds, and derives the result again.

        Args:
            num_samples: Number of samples.
        """
        assert self.bound_to is not None
        return {
            "alpha": self.alpha,
            "alpha_share": self.alpha_share,
            "alpha_slack": alpha_slack(self.bound_to, num_samples, self.dimension or 0),
            "sigma": self.bound_to.sigma,
            "noise": type(self.bound_to).__name__,
        }

    def check_result(self, result: Any) -> None:
        """Refuse a result that this certificate cannot have given, beyond what its own ``rederive`` finds.

        Raises:
            InputError: Saying why.
        """

    def conditions(self) -> dict[str, Any]:
        """Settings of this certificate that belong to the record of how the samples were used; plain values."""
        return {}

    def spend(self, share: float) -> None:
        """Let the next results spend a share of alpha each, so that all of them hold together at alpha.

        Args:
            share: Share in (0, 1]; 1 is the certificate of a number of samples that is fixed in advance.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {share}")
        if share < 1 and not self.anytime:
            raise InputError(f"{type(self).__name__} needs a number of samples that is fixed in advance")
        self.alpha_share = share
        self._computed = None  # torchmetrics keeps the last result

    @property
    def spent_alpha(self) -> float:
        """What one result may err with: ``alpha`` times its share.

        The bounds spend a little less if the noise has a slack (:attr:`Result.alpha_slack`).
        """
        return self.alpha * self.alpha_share

    @property
    def num_pixels(self) -> int:
        """Pixels of the maps that this certificate is bound to."""
        return self.map_shape[0] * self.map_shape[1]

    def check_noise(self, noise: Noise) -> None:
        """Refuse a noise law that the theorem, with the settings of this certificate, does not cover.

        Raises:
            InputError: Naming what is covered.
        """
        if not isinstance(noise, self.laws):
            covered = " or ".join(law.__name__ for law in self.laws)
            raise InputError(f"{type(self).__name__} is proved for {covered}, not for {type(noise).__name__}")

    def check_slack(self, noise: Noise, num_samples: int, dimension: int) -> None:
        """Refuse noise that spends all of alpha by itself, since it is not drawn from exactly the law of the theorem.

        Args:
            noise: Noise law.
            num_samples: Samples of an image.
            dimension: Number of values of the image, channels included.

        Raises:
            InputError: Naming the smallest alpha that is enough.
        """
        slack = alpha_slack(noise, num_samples, dimension)
        if slack >= self.spent_alpha:
            raise InputError(
                f"{num_samples} samples of {dimension} values from {noise!r} spend {at_most(slack, 2)} of alpha by "
                f"themselves: {type(self).__name__} needs an alpha above {at_most(slack / self.alpha_share, 2)}, got "
                f"{exact(self.alpha)}; give a larger alpha or fewer samples"
            )

    def bind(self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None) -> None:
        """Fix the noise law and the shape ``(H, W)`` of the maps; forgets all samples.

        Args:
            noise: Noise law.
            map_shape: Height and width of the maps.
            dimension: Number of values of the image, channels included; only some noise laws depend on it.

        Raises:
            InputError: If the theorem does not cover the noise, the maps are too small for the settings, or the noise
                needs the dimension.
        """
        self.place(noise, map_shape, dimension)
        device = self.num_samples.device
        self.allocate()
        self.reset()
        self.to(device)

    def place(self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None) -> None:
        """Fix the noise law and the shapes as :meth:`bind` does, without room for samples."""
        self.check_noise(noise)
        if dimension is None and alpha_slack(noise, 1, 1):
            raise InputError(f"{type(self).__name__}: {noise!r} needs bind(noise, map_shape, dimension)")
        height, width = map_shape
        self.bound_to, self.map_shape, self.dimension = noise, (height, width), dimension

    def update(self, maps: Tensor | MapBlock) -> None:
        """Take in a block of noisy maps.

        Args:
            maps: Maps ``[b, H, W]`` of ``b`` fresh samples, or a block that other certificates share.

        Raises:
            InputError: If the certificate is not bound, or the maps have another shape.
        """
        if self.bound_to is None:
            raise InputError(f"{type(self).__name__}: call bind(noise, map_shape) before update(maps)")
        block = maps if isinstance(maps, MapBlock) else MapBlock(maps)
        shape = self.shape_of(block)
        if shape != self.map_shape:
            raise InputError(f"maps of shape {shape}, but bound to {self.map_shape}")
        self.count(block)
        self.num_samples += len(block)
        self.num_invalid += self.invalid(block)

    def shape_of(self, block: MapBlock) -> tuple[int, ...]:
        """Height and width of what is counted."""
        return tuple(block.maps.shape[1:])

    def invalid(self, block: MapBlock) -> Tensor:
        """How many samples of a block gave NaN or infinity, scalar; they vote for nothing."""
        return block.num_invalid

    def _record(self) -> dict[str, Any]:
        """The fields that every result has."""
        if self.bound_to is None or not int(self.num_samples):
            raise InputError(f"{type(self).__name__}: no samples; call bind() and update() before compute()")
        num_samples = int(self.num_samples)
        self.check_slack(self.bound_to, num_samples, self.dimension or 0)
        return {
            "num_samples": num_samples,
            "num_invalid": int(self.num_invalid),
            "flags": invalid_flags(int(self.num_invalid), num_samples),
            **Certificate.fixed(self, num_samples),
        }
