"""The same explanation for all noisy copies of an image."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.directions import SoftVote, sameness, spread, unit
from lit_certattr.objectives.losses import prediction_spread
from lit_certattr.objectives.maps import in_batches
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import Noise


class NoiseConsistency(Objective):
    r"""Noise augmentation whose noisy copies are to be *explained* alike.

    .. math:: \frac1m \sum_i \ell(x_i, y) + \lambda\left(1 - \left\|\frac1m \sum_i u_i\right\|\right),
              \qquad x_i = x + \delta_i,\ u_i = A(x_i) / \|A(x_i)\|

    A certificate of smoothed attributions counts how often the maps of noisy copies agree, and no other objective
    trains that. There is no attack inside. With ``vote`` the maps are soft masks of their top K pixels, which is
    nearer to what a pixel certificate counts; with ``centred`` their mean is subtracted first, since non-negative
    maps agree already because they are non-negative.

    A network can reach agreement by giving all images of a class the same map. ``sameness``, logged beside the loss, is
    the mean cosine between maps of different images of a class in the batch: if it increases with the certified share,
    the certificate is about the class, not about the image. ``contrast`` penalises it. A small value is enough: if it
    outweighs the spread, the maps become noise.

    Logs ``accuracy`` (of the noisy copies), ``spread`` (the penalty) and ``sameness``. Cost: ``draws`` times a
    forward and backward pass, and ``draws`` times one with a second derivative (about two more).

    Args:
        noise: Law of the noise, with the ``sigma`` of the certificate.
        attribution: The map that will be certified, with the target as explained class; a
            :class:`~lit_certattr.attribution.RegionMap` must have a grid.
        draws: Noisy copies of each image, at least 2.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU in the maps that are compared; ``None`` keeps ReLU.
        vote: Compare soft top-K masks instead of maps.
        centred: Compare maps without their mean, by Pearson correlation.
        contrast: Weight of ``sameness`` beside the spread, which 1 is; 0 or more.
        consistency: Weight of the divergence of predictions, see :class:`Consistency`; a number or a schedule.
        entropy: Weight of the entropy of the mean prediction, likewise.

    Raises:
        InputError: If ``draws`` is below 2, a weight is negative, or the maps are of regions that differ from image to
            image (superpixels, masks of files).

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> objective = NoiseConsistency(GaussianNoise(sigma=0.25), Gradient(), weight=Schedule(2.0, warmup_epochs=3))
    """

    order = 2

    def __init__(
        self,
        noise: Noise,
        attribution: Attribution,
        draws: int = 2,
        weight: float | Schedule = 1.0,
        smooth_beta: float | None = 10.0,
        vote: SoftVote | None = None,
        centred: bool = False,
        contrast: float = 0.0,
        consistency: float | Schedule = 0.0,
        entropy: float | Schedule = 0.0,
    ) -> None:
        if draws < 2:
            raise InputError(f"draws must be at least 2 to be compared, got {draws}")
        if not contrast >= 0:
            raise InputError(f"contrast must be a number of at least 0, got {contrast}")
        self.noise = noise
        self.attribution = in_batches(attribution)
        self.draws = draws
        self.weight = Schedule.of(weight)
        self.smooth_beta = smooth_beta
        self.vote = vote
        self.centred = centred
        self.contrast = contrast
        self.consistency = Schedule.of(consistency)
        self.entropy = Schedule.of(entropy)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        copies = images.repeat(self.draws, 1, 1, 1)
        copies = self.noise.draw(copies)(copies)
        targets = targets.repeat(self.draws)
        logits = model(copies.clone())
        loss = functional.cross_entropy(logits, targets)
        logs = {"accuracy": accuracy(logits, targets)}
        consistency, entropy = self.consistency.at(self.epoch), self.entropy.at(self.epoch)
        if consistency or entropy:
            divergence, undecided = prediction_spread(logits.unflatten(0, (self.draws, -1)))
            loss = loss + consistency * divergence.mean() + entropy * undecided.mean()
            logs["consistency"] = divergence.detach().mean()
        weight = self.weight.at(self.epoch)
        if weight:
            directions = self._directions(model, copies, targets)
            apart, alike = spread(directions).mean(), sameness(directions, targets[: len(images)])
            loss = loss + weight * (apart + self.contrast * alike)
            logs |= {"spread": apart.detach(), "sameness": alike.detach()}
        return loss, logs

    def _directions(self, model: nn.Module, copies: Tensor, targets: Tensor) -> Tensor:
        """Unit vectors ``[m, B, N]``."""
        with explaining(model, self.smooth_beta):
            maps = self.attribution(model, copies, targets, create_graph=True)
        if self.vote is not None:
            maps = self.vote(maps)
        directions: Tensor = unit(maps, self.centred).unflatten(0, (self.draws, -1))
        return directions
