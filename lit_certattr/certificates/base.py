"""Base classes: a certificate holds the settings of a theorem, an accumulator counts the noisy maps of one image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.budgets import LpBudget
from lit_certattr.certificates.measures import Measure
from lit_certattr.certificates.result import Result, invalid_flags
from lit_certattr.devices import has_float64
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings, instance, real_number, several, whole_number
from lit_certattr.settings.frozen import Frozen
from lit_certattr.smoothing import MapBlock, Noise, alpha_slack
from lit_certattr.statistics.rounding import at_most, exact

R = TypeVar("R", bound=Result, covariant=True)

_LEAST_ALPHA = 1e-100
"""Smallest alpha; parts of it must stay numbers."""


def check_alpha(alpha: float) -> float:
    """Check that ``alpha`` is a probability strictly between 0 and 1, and return it as a float.

    Args:
        alpha: Error probability.

    Raises:
        InputError: If it is not a number in that range.
    """
    if not 0 < real_number("alpha", alpha) < 1:
        raise InputError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    if alpha < _LEAST_ALPHA:
        raise InputError(f"alpha must be at least {_LEAST_ALPHA:g}, got {alpha}: nothing is as certain as that")
    return float(alpha)


def check_float64(certificate: "Certificate", device: torch.device) -> None:
    """Refuse a device that has no float64 for a certificate that needs it.

    Args:
        certificate: The certificate, named in the message.
        device: Device of the samples.

    Raises:
        InputError: If the device has no float64; the message names devices that do.
    """
    if not has_float64(device):
        raise InputError(
            f"{type(certificate).__name__} needs float64, which {device.type} does not have; use cpu or cuda"
        )


class Certificate(Settings, Frozen, ABC):
    """The settings of a theorem that turns statistics of the noisy maps of an image into a guarantee.

    A certificate never changes, so many images, certifiers and threads may use one at the same time. :meth:`start`
    returns the accumulator that counts the noisy maps of one image; all other methods depend on their arguments only.

    A subclass implements :meth:`start`, with an :class:`Accumulator` of its own, and :meth:`smallest_num_samples`.

    Args:
        alpha: Probability of any false statement about one image, over all pixels and levels.
        sync_on_compute: Add the states of all processes before a result is computed. It is off by default, since
            processes usually certify different images, whose counts must not be mixed.

    Raises:
        InputError: If ``alpha`` is not in (0, 1).
    """

    name: ClassVar[str]
    """Key of the result if the user gives no name."""
    result: ClassVar[type[Result]] = Result
    """Class of the results; its :mod:`~lit_certattr.certificates.capabilities` decide where it can be used."""
    laws: ClassVar[tuple[type[Noise], ...]]
    """Noise laws that the theorem covers."""
    needs_score: ClassVar[bool] = False
    """Whether the attribution method must provide a score in [0, 1], and is its gradient."""
    needs_logits: ClassVar[bool] = False
    """Whether the accumulator asks a block for logits; it then counts after those that ask for maps and scores, whose
    passes may give the logits."""
    anytime: ClassVar[bool] = False
    """Whether results may be computed at several looks, each with its own share of alpha."""

    def __init__(self, alpha: float, sync_on_compute: bool = False) -> None:
        if not isinstance(sync_on_compute, bool):
            raise InputError(f"sync_on_compute must be true or false, got {sync_on_compute!r:.80}")
        self.alpha, self.sync_on_compute = check_alpha(alpha), sync_on_compute

    @abstractmethod
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "Accumulator[Result]":
        """An accumulator for the noisy maps of one image, with no sample yet.

        Args:
            noise: Noise law.
            map_shape: Height and width of the maps.
            dimension: Number of values of the image, channels included; only some noise laws depend on it.
            share: Share of alpha, in (0, 1], that ``compute()`` uses; 1 for a number of samples that is fixed in
                advance. :meth:`Accumulator.result` accepts another share.

        Raises:
            InputError: If the theorem does not cover the noise, the maps are too small for the settings, or the noise
                needs the dimension.
        """

    @abstractmethod
    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Smallest number of samples with which this certificate can certify anything about maps of ``num_pixels``.

        Args:
            num_pixels: Number of pixels of a map.
            share: Share of alpha that the result uses.

        Raises:
            InputError: If the settings do not fit maps of that size.
        """

    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        """Fields of the result that follow from the settings, the noise and the shapes, not from the samples.

        An audit replaces the fields in a file by these, and derives the result again.

        Args:
            noise: Noise law.
            map_shape: Height and width of the maps.
            dimension: Number of values of the image, channels included.
            num_samples: Number of samples.
            share: Share of alpha.
        """
        return {
            "alpha": self.alpha,
            "alpha_share": share,
            "alpha_slack": alpha_slack(noise, num_samples, dimension or 0),
            "sigma": noise.sigma,
            "noise": type(noise).__name__,
            "noise_settings": "" if isinstance(noise.budget, LpBudget) else repr(noise),
        }

    def measures(self) -> Sequence[Measure]:
        """What metrics report of the results, e.g. during training; empty by default."""
        return ()

    def placed(self, image: Tensor, image_id: str) -> Self:
        """The certificate for one image, where the statement is about parts of the image that differ between images.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Returns:
            This certificate, or a copy that is fixed for the image; its settings are the same.

        Raises:
            InputError: If the image lacks what the statement is about; the message names the image.
        """
        return self

    def places(self, map_shape: Sequence[int]) -> dict[str, str]:
        """What a record holds of the parts of the image that the statement is about; nothing for most certificates.

        Args:
            map_shape: Height and width of the maps.
        """
        return {}

    def check_result(self, result: Any) -> None:
        """Refuse a result that this certificate cannot have given, besides the checks of the result's ``rederive``.

        Args:
            result: Result read from a file.

        Raises:
            InputError: If it cannot; the message says why.
        """

    def conditions(self) -> dict[str, Any]:
        """Settings of this certificate that are recorded with the samples, since they say how the samples were used."""
        return {}

    def check_share(self, share: float) -> None:
        """Refuse a share of alpha outside (0, 1], and a share below 1 if the theorem allows one look only.

        Args:
            share: Share of alpha that a result uses.

        Raises:
            InputError: If the share is not allowed; the message names what is.
        """
        if not 0 < real_number("share", share) <= 1:
            raise InputError(f"share must lie in (0, 1], got {share}")
        if share < 1 and not self.anytime:
            raise InputError(
                f"{type(self).__name__} needs a number of samples that is fixed in advance: remove stopping, and leave "
                "share at 1"
            )

    def check_noise(self, noise: Noise) -> None:
        """Refuse a noise law that the theorem, with the settings of this certificate, does not cover.

        Args:
            noise: Noise law.

        Raises:
            InputError: If it is not covered; the message names the laws that are.
        """
        if not isinstance(noise, self.laws):
            covered = " or ".join(law.__name__ for law in self.laws)
            raise InputError(f"{type(self).__name__} is proved for {covered}, not for {type(noise).__name__}")

    def check_slack(self, noise: Noise, num_samples: int, dimension: int, share: float = 1.0) -> None:
        """Refuse noise that alone spends all of alpha, since it is not drawn from exactly the law of the theorem.

        Args:
            noise: Noise law.
            num_samples: Samples per image.
            dimension: Number of values of the image, channels included.
            share: Share of alpha that the result uses.

        Raises:
            InputError: If it does; the message names the smallest alpha that is enough.
        """
        slack = alpha_slack(noise, num_samples, dimension)
        if slack >= self.alpha * share:
            raise InputError(
                f"{num_samples} samples of {dimension} values from {noise!r} spend {at_most(slack, 2)} of alpha by "
                f"themselves: {type(self).__name__} needs an alpha above {at_most(slack / share, 2)}, got "
                f"{exact(self.alpha)}; give a larger alpha or fewer samples"
            )

    def check_regions(self) -> None:
        """Refuse maps whose pixels are regions of the image, where the settings need maps of the image plane.

        Raises:
            InputError: Naming the setting.
        """

    def check_map(self, clean_map: Tensor, name: str) -> None:
        """Refuse a method whose map of the clean image is already none that the theorem covers; before any sample.

        Args:
            clean_map: Map ``[H, W]`` of the image without noise.
            name: Name of the image, for the message.

        Raises:
            InputError: If it is none; the message names the remedy.
        """

    def check_device(self, device: torch.device) -> None:
        """Refuse a device on which the samples cannot be counted.

        Args:
            device: Device of the maps.

        Raises:
            InputError: If they cannot be counted there; the message names devices that work.
        """


def _height_and_width(map_shape: Sequence[int]) -> tuple[int, int]:
    sides = several("map_shape", map_shape, "(28, 28)")
    if len(sides) != 2:
        raise InputError(f"map_shape must be the height and the width of a map, e.g. (28, 28), got {sides}")
    height, width = sides
    return whole_number("the height of maps", height, least=1), whole_number("the width of maps", width, least=1)


class Accumulator(Metric, ABC, Generic[R]):
    """Statistics of the noisy maps of one image; :meth:`Certificate.start` returns it.

    Order of calls: :meth:`update` with every block of maps, then ``compute()`` for the result at the share of alpha
    that was given to ``start``, or :meth:`result` at any look. Neither changes what was counted. ``reset()`` removes
    all samples. States are sums (counts, never maps), so the samples of one image can be drawn on several devices and
    added: a certificate with ``sync_on_compute=True`` does that.

    A subclass implements :meth:`allocate`, :meth:`count` and :meth:`conclude`.

    Args:
        certificate: The certificate.
        noise: Noise law.
        map_shape: Height and width of the maps.
        dimension: Number of values of the image, channels included.
        share: Share of alpha that ``compute()`` uses.

    Raises:
        InputError: If the certificate does not cover the noise, the maps or the share, or the dimension is missing.
    """

    full_state_update = False
    is_differentiable = False

    num_samples: Tensor
    num_invalid: Tensor

    def __init__(
        self,
        certificate: Certificate,
        noise: Noise,
        map_shape: Sequence[int],
        dimension: int | None = None,
        share: float = 1.0,
    ) -> None:
        certificate.check_noise(noise)
        certificate.check_share(share)
        if dimension is None and alpha_slack(noise, 1, 1):
            raise InputError(f"{type(certificate).__name__}: {noise!r} needs start(noise, map_shape, dimension)")
        super().__init__(sync_on_compute=certificate.sync_on_compute)
        self.certificate, self.noise, self.share = certificate, noise, share
        self.map_shape, self.dimension = _height_and_width(map_shape), dimension
        for state in ("num_samples", "num_invalid"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")
        self.allocate()

    @abstractmethod
    def allocate(self) -> None:
        """Add the states for these maps.

        Raises:
            InputError: If the settings of the certificate do not fit the maps.
        """

    @abstractmethod
    def count(self, block: MapBlock) -> None:
        """Add a block to the states.

        Args:
            block: Maps of fresh samples.
        """

    @abstractmethod
    def conclude(self, share: float) -> R:
        """The result of the samples in the states, which it does not change.

        Args:
            share: Share of alpha that the result uses.

        Raises:
            InputError: If there are no samples, or too few of them.
        """

    @property
    def num_pixels(self) -> int:
        """Number of pixels of a map."""
        return self.map_shape[0] * self.map_shape[1]

    def update(self, maps: Tensor | MapBlock) -> None:
        """Count a block of noisy maps.

        Args:
            maps: Maps ``[b, H, W]`` of ``b`` fresh samples, or a block that other accumulators share.

        Raises:
            InputError: If these are no maps, or have another shape.
        """
        if not isinstance(maps, MapBlock):
            instance("maps", maps, Tensor, "a tensor [b, H, W]")
        block = maps if isinstance(maps, MapBlock) else MapBlock(maps)
        shape = self.shape_of(block)
        if shape != self.map_shape:
            raise InputError(f"maps of shape {shape}, but started for {self.map_shape}")
        self.count(block)
        self.num_samples += len(block)
        self.num_invalid += self.invalid(block)

    def shape_of(self, block: MapBlock) -> tuple[int, ...]:
        """Height and width of the maps of a block."""
        return tuple(block.maps.shape[1:])

    def invalid(self, block: MapBlock) -> Tensor:
        """Number of samples of a block that gave NaN or infinity, scalar; they vote for nothing."""
        return block.num_invalid

    def compute(self) -> R:
        """The result of the samples so far, at the share of alpha that was given to ``start``.

        Raises:
            InputError: If there are no samples, or too few of them.
        """
        return self.conclude(self.share)

    def result(self, share: float) -> R:
        """The result of the samples so far, at another share of alpha, as at one of several looks.

        Args:
            share: Share of alpha that the result uses.

        Raises:
            InputError: If there are no samples, or the certificate does not allow the share.
        """
        self.certificate.check_share(share)
        self.sync(self.dist_sync_fn, should_sync=self.sync_on_compute)
        try:
            return self.conclude(share)
        finally:
            self.unsync(should_unsync=self._is_synced)

    def record(self, share: float) -> dict[str, Any]:
        """The fields that results of all kinds have, and the fields of :meth:`Certificate.fixed`.

        Args:
            share: Share of alpha that the result uses.

        Raises:
            InputError: If there are no samples, or the noise alone spends all of alpha.
        """
        num_samples, num_invalid = int(self.num_samples), int(self.num_invalid)
        if not num_samples:
            raise InputError(f"{type(self.certificate).__name__}: no samples; call update(maps) before compute()")
        self.certificate.check_slack(self.noise, num_samples, self.dimension or 0, share)
        return {
            "num_samples": num_samples,
            "num_invalid": num_invalid,
            "flags": invalid_flags(num_invalid, num_samples),
            "noise_partition": self.noise.partition,
            **self.certificate.fixed(self.noise, self.map_shape, self.dimension, num_samples, share),
        }
