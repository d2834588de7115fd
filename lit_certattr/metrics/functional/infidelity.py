"""Infidelity: how well a map predicts the effect of a perturbation on the logit; computed by Captum."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import centre_map, check_maps, image_ids
from lit_certattr.metrics.functional.deletion import check_classes, check_removal
from lit_certattr.metrics.functional.fill import Fill, fill_images
from lit_certattr.metrics.functional.sensitivity import check_counts, full_batch, repeat
from lit_certattr.settings.extras import extra
from lit_certattr.smoothing import normal_stream
from lit_certattr.smoothing.normals import NormalStream


class Perturbation(Protocol):
    """A random change of an image, written as a change of one number u per pixel."""

    @property
    def origin(self) -> float:
        """The value of u for the unperturbed image."""

    def draw(self, normals: NormalStream, start: int, out: Tensor) -> None:
        """Write the changes I of ``n`` samples to ``out``; u becomes ``origin - I``.

        Args:
            normals: Stream of standard normals of the image.
            start: Index of the first sample.
            out: Receives the changes, ``[n, H, W]``.

        Raises:
            InputError: If the perturbation does not fit into the image.
        """

    def images(self, images: Tensor, u: Tensor) -> Tensor:
        """The images ``[B, C, H, W]`` at u ``[B, 1, H, W]``."""


@dataclass(frozen=True)
class GaussianOffset(Perturbation):
    """Subtract Gaussian noise I from all channels of a pixel alike: for maps in logits per unit of brightness.

    To first order the change of the logit is I times the signed gradient summed over the channels, so
    ``Gradient(channels="sum")`` is exact on a linear network.

    Args:
        sigma: Standard deviation of the noise, in pixel units; positive.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise InputError(f"sigma must be a positive number, got {self.sigma}")

    @property
    @override
    def origin(self) -> float:
        return 0.0

    @override
    def draw(self, normals: NormalStream, start: int, out: Tensor) -> None:
        z = torch.empty(len(out), out[0].numel(), device=normals.device)
        out.copy_(self.sigma * normals.fill_(z, start).reshape(out.shape).to(out))

    @override
    def images(self, images: Tensor, u: Tensor) -> Tensor:
        return images + u


@dataclass(frozen=True)
class SquareRemoval(Perturbation):
    """Replace a square at a uniformly random place by a fill: for maps of contributions, in logits.

    I is 1 in the square, so the map predicts the drop of the logit by the sum of its values there. On a linear network
    and with ``fill=0.0`` ``InputXGradient(channels="sum")`` is exact.

    Args:
        side: Side of the square in pixels.
        fill: What replaces it, see :func:`~lit_certattr.metrics.functional.fill_images`.
    """

    side: int = 8
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        if self.side < 1:
            raise InputError(f"side must be at least 1 pixel, got {self.side}")

    @property
    @override
    def origin(self) -> float:
        return 1.0

    @override
    def draw(self, normals: NormalStream, start: int, out: Tensor) -> None:
        places = torch.special.ndtr(normals.fill_(torch.empty(len(out), 2, device=normals.device), start)).to(out)
        inside = []
        for size, place in zip(out.shape[1:], places.unbind(1), strict=True):
            if size < self.side:
                raise InputError(f"a square of side {self.side} does not fit into {tuple(out.shape[1:])} pixels")
            first = (place * (size - self.side + 1)).floor().clamp(max=size - self.side)[:, None]
            index = torch.arange(size, device=out.device)
            inside.append((index >= first) & (index < first + self.side))
        out.copy_(inside[0][:, :, None] & inside[1][:, None, :])

    @override
    def images(self, images: Tensor, u: Tensor) -> Tensor:
        return torch.where(u > 0.5, images, fill_images(images, self.fill))


class Infidelities(NamedTuple):
    """Mean squared error of the predicted changes of each image's logit, float ``[B]``, in logits squared.

    Attributes:
        map: Of the map.
        zero: Of the map of zeros, which predicts no change: the mean squared change itself.
        centre: Of the best multiple of the image-centre map.
        uniform: Of the best multiple of a map that is the same everywhere.
    """

    map: Tensor
    zero: Tensor
    centre: Tensor
    uniform: Tensor


def infidelity(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    perturbation: Perturbation | None = None,
    num_samples: int = 100,
    normalize: bool = False,
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Infidelities:
    r"""Mean squared difference between the predicted and the actual effect of perturbations on the logit.

    .. math:: E_I \left(\sum_p I_p\, \Phi_p - (f_y(x) - f_y(x - I))\right)^2

    The network is evaluated once: the same logits serve the map and its baselines.

    Args:
        model: Network from images in [0, 1] to logits; its mode, flags and gradients stay unchanged.
        images: Images ``[B, C, H, W]``.
        maps: Signed maps ``[B, H, W]`` of the same height and width. Units matter, see the perturbations.
        targets: Explained classes ``[B]``.
        perturbation: :class:`GaussianOffset` (default) or :class:`SquareRemoval`.
        num_samples: Perturbations of each image; sample j is a function of (seed, id, j) alone.
        normalize: Score the best multiple of each map instead: for methods without a unit, such as CAMs.
        max_batch: Most images evaluated at once.
        seed: Seed of the perturbations.
        ids: Ids of the images, which key their perturbations; ``None`` uses a hash of the pixels.

    Returns:
        The error of the map, and of three maps that do not use the network.

    Raises:
        InputError: If maps, shapes or settings are unusable.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, targets = torch.rand(2, 1, 4, 4), torch.tensor([0, 2])
        >>> found = infidelity(net, images, Gradient(channels="sum")(net, images, targets), targets)
        >>> bool((found.map < 1e-6 * found.zero).all())
        True

    Reference: Yeh et al., "On the (in)fidelity and sensitivity of explanations", NeurIPS 2019.
    """
    check_counts(num_samples, max_batch)
    maps = check_maps(maps)
    check_removal(images, maps, targets)
    change = GaussianOffset() if perturbation is None else perturbation
    central = centre_map(*maps.shape[1:]).to(images.device)[None]
    found: list[list[Tensor]] = []
    with torch.inference_mode(False), torch.no_grad(), frozen(model):
        images, targets = images.clone(), targets.to(images.device, copy=True)  # usable outside of inference_mode
        check_classes(model, images, targets)
        names = image_ids(images, ids)
        for first in range(0, len(images), max_batch):
            part = slice(first, first + max_batch)
            error = _Error(model, images[part], targets[part], change, names[part], seed, num_samples, max_batch)
            own = maps[part].to(images)
            found.append(
                [
                    error(own, normalize),
                    error(torch.zeros_like(own), False),
                    error(central.expand_as(own), True),
                    error(torch.ones_like(own), True),
                ]
            )
    return Infidelities(*(torch.cat(values) for values in zip(*found, strict=True)))


class _Error:
    """Captum's infidelity of several maps of the same images, from one evaluation of the network."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        change: Perturbation,
        ids: Sequence[str],
        seed: int,
        num_samples: int,
        max_batch: int,
    ) -> None:
        self.model, self.images, self.targets, self.change = model, images, targets, change
        self.streams = [normal_stream(seed, f"{name}\x00infidelity", images.device) for name in ids]
        self.num_samples, self.batch = num_samples, full_batch(len(images), num_samples, max_batch)
        self.known: list[Tensor] = []

    def __call__(self, maps: Tensor, normalize: bool) -> Tensor:
        with extra("captum", "infidelity"):
            from captum.metrics import infidelity as captum_infidelity  # on use: it imports pyplot

        origin = torch.full_like(maps[:, None], self.change.origin)
        value: Tensor = captum_infidelity(
            self._logit_memory(),
            self._perturb_from_the_start(),
            origin,
            maps[:, None],
            n_perturb_samples=self.num_samples,
            max_examples_per_batch=self.batch,
            normalize=normalize,
        )
        return value.clamp(min=0)  # the normalised form is a difference, and rounds below 0

    def _logit_memory(self) -> Callable[[Tensor], Tensor]:
        """Captum's ``forward_func``: it asks for the same logits in the same order for every map."""
        asked = 0

        def logit(u: Tensor) -> Tensor:
            nonlocal asked
            if asked == len(self.known):
                images = self.change.images(repeat(self.images, len(u)), u)
                logits = self.model(images).float()
                self.known.append(logits.gather(1, repeat(self.targets, len(u))[:, None])[:, 0])
            asked += 1
            return self.known[asked - 1]

        return logit

    def _perturb_from_the_start(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Captum's ``perturb_func``: the next samples of every image."""
        start = 0

        def perturb(u: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal start
            count = len(u) // len(self.streams)
            changes = torch.empty_like(u)
            for out, normals in zip(changes[:, 0].split(count), self.streams, strict=True):
                self.change.draw(normals, start, out)
            start += count
            return changes, u - changes

        return perturb
