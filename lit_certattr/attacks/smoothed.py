"""Attacks on smoothed explanations: expectation over transformation (EOT) with fresh noise at every step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.through_noise import attack_through_noise, check_counts, noise_generator
from lit_certattr.attribution import Attribution
from lit_certattr.smoothing import Noise


class SmoothedObjective(ABC):
    """The goal of an attack on a smoothed map, computed from noisy maps.

    Both methods take noisy maps ``[draws, B, H, W]`` of ``B`` images and return one number per image, ``[B]``, that
    grows with the success of the attacker. Nothing in them may depend on the other images.
    """

    order: ClassVar[int] = 2
    """Derivatives of the network behind the gradient of the surrogate: 2 for most maps, 1 for logits."""

    def method(self, attribution: Attribution) -> Attribution:
        """The method whose outputs for noisy copies the goal is about; by default the one that is explained with.

        Args:
            attribution: The method that is explained with.
        """
        return attribution

    @abstractmethod
    def surrogate(self, maps: Tensor) -> Tensor:
        """The score that the attack increases along its gradient; differentiable.

        Args:
            maps: Noisy maps ``[draws, B, H, W]``.
        """

    @abstractmethod
    def value(self, maps: Tensor) -> Tensor:
        """An estimate of the quantity that a certificate bounds, with hard top-K sets.

        Args:
            maps: Noisy maps ``[draws, B, H, W]``.
        """

    def has_gradient(self, map_shape: Sequence[int]) -> bool:
        """Whether :meth:`surrogate` has a gradient; where it has none, only a random search can raise :meth:`value`.

        Args:
            map_shape: Height and width of the maps.
        """
        return True


class NoisyMaps:
    """Attribution maps of noisy copies of images, with noise that is new at every call.

    Args:
        model: Network from images in [0, 1] to logits, in eval mode and frozen.
        attribution: The method whose maps are smoothed.
        noise: Noise law.
        targets: Class to explain, ``[B]``.
        batch_size: Most noisy images that are evaluated at once without a graph.
        generator: Random generator of the noise; ``None`` for torch's global generator.
        on_maps: Called with the number of maps of each block, and whether they keep their graph, for a progress bar.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> noisy = NoisyMaps(net, Gradient(), GaussianNoise(0.1), torch.tensor([0, 1, 1]))
        >>> noisy.draw(torch.rand(3, 1, 2, 2), 5).shape
        torch.Size([5, 3, 2, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        attribution: Attribution,
        noise: Noise,
        targets: Tensor,
        batch_size: int = 64,
        generator: torch.Generator | None = None,
        on_maps: Callable[[int, bool], None] | None = None,
    ) -> None:
        self.model, self.attribution, self.noise, self.targets = model, attribution, noise, targets
        self.batch_size, self.generator, self.on_maps = batch_size, generator, on_maps

    def draw(self, images: Tensor, draws: int, create_graph: bool = False) -> Tensor:
        """Noisy maps ``[draws, B, H, W]`` of images ``[B, C, H, W]``.

        The bits of the noise do not depend on ``batch_size``.

        Args:
            images: Images.
            draws: Noisy copies of each.
            create_graph: Keep the graph from the images to the maps; all copies are then evaluated at once.
        """
        together = draws if create_graph else max(1, self.batch_size // len(images))
        parts = []
        for first in range(0, draws, together):
            count = min(together, draws - first)
            noisy = torch.cat([self.noise.draw(images, self.generator)(images) for _ in range(count)])
            maps = self.attribution(self.model, noisy, self.targets.repeat(count), create_graph)
            parts.append(maps.unflatten(0, (count, len(images))))
            if self.on_maps is not None:
                self.on_maps(len(maps), create_graph)
        return torch.cat(parts)


def attack_smoothed(
    model: nn.Module,
    attribution: Attribution,
    noise: Noise,
    images: Tensor,
    targets: Tensor,
    objective: SmoothedObjective,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    draws: int = 8,
    judge_draws: int = 64,
    keep_label: bool = False,
    batch_size: int = 64,
    on_maps: Callable[[int, bool], None] | None = None,
) -> Tensor:
    r"""Search the ball around each image for the perturbation that changes its *smoothed* map most.

    The attack is on :math:`h(z) = E\,f(z + \eta)`, the map that a certificate is about, not on the map of one image.
    Each step follows the gradient of the objective's surrogate on the mean over ``draws`` fresh noisy maps
    (expectation over transformation; Athalye et al., 2018), by default with softplus in place of ReLU: with ReLU
    the gradient of most maps is zero. Each point is then evaluated with
    ``judge_draws`` other fresh maps of the network itself. An attack on fixed noise would fit the noise.

    The value of the best point is the largest of many random estimates. To claim anything about the point, draw new
    noise for it.

    Random search is the same call with ``config.random_search()``: the same number of points, evaluated in the same
    way.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients stay unchanged.
        attribution: The method; differentiable (``create_graph``) unless ``config.steps`` is 0. A goal about something
            else than maps, such as logits, brings a method of its own (:meth:`SmoothedObjective.method`).
        noise: Noise law of the smoothing.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        targets: Class to explain, ``[B]``, the same for all noisy copies.
        objective: The goal of the attack.
        config: Settings of the search. Its seed fixes starting points and noise; ``None`` draws both from torch's
            global generator.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        draws: Noisy maps per step, at least 1; 8 to 16 are usual.
        judge_draws: Noisy maps with which a point is evaluated, at least 1.
        keep_label: Whether to accept only points with the prediction (without noise) of the clean image. A certificate
            does not assume it.
        batch_size: Most noisy images evaluated at once when a point is evaluated.
        on_maps: See :class:`NoisyMaps`.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64; on the grid of the noise if it has one
        (:class:`~lit_certattr.smoothing.DiscreteGaussianNoise`), and the image itself if no other such point was
        accepted.

    Raises:
        InputError: If a number is out of range, the noise cannot be added to an image, or the method cannot be
            differentiated.

    Reference: Athalye, Engstrom, Ilyas, Kwok, "Synthesizing robust adversarial examples", ICML 2018.
    """
    check_counts(draws, judge_draws, batch_size)
    config = config.for_maps() if objective.order > 1 else replace(config, smooth_beta=None)
    noisy = NoisyMaps(
        model, objective.method(attribution), noise, targets, batch_size, noise_generator(config, images), on_maps
    )

    def score(points: Tensor) -> Tensor:
        return objective.surrogate(noisy.draw(points, draws, create_graph=True))

    def criterion(points: Tensor) -> Tensor:
        return objective.value(noisy.draw(points, judge_draws))

    return attack_through_noise(model, noise, images, config, score, criterion, eps=eps, keep_label=keep_label)
