"""Predictions that do not need what the gradient calls unimportant: Ismail et al. (2021)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution import input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.losses import cross_entropy, kl_divergence
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import top_k_mask, top_k_size


class SaliencyGuided(Objective):
    r"""The same prediction after the pixels of the smallest gradients have been replaced by noise.

    .. math:: \ell(x, y) + \lambda\, \mathrm{KL}(p(x) \,\|\, p(\tilde x))

    where :math:`\tilde x` is x with the ``share`` of pixels of smallest gradient of the target's logit (summed over the
    channels) drawn anew, uniformly between the least and the largest value of the image. Logs ``accuracy`` and
    ``divergence``. Cost: three forward and backward passes, no second derivative.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        share: Share of the pixels that are replaced, in (0, 1).
        absolute: Rank absolute gradients. The authors' program ranks signed ones, so that evidence against the class
            is replaced first.

    Raises:
        InputError: If ``share`` is out of range.

    Reference: Ismail, Corrada Bravo & Feizi, "Improving deep learning interpretability by saliency guided training",
    NeurIPS 2021.
    """

    def __init__(self, weight: float | Schedule = 1.0, share: float = 0.5, absolute: bool = False) -> None:
        if not 0 < share < 1:
            raise InputError(f"share must lie in (0, 1), got {share}")
        self.weight = Schedule.of(weight)
        self.share = share
        self.absolute = absolute

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        loss = cross_entropy(logits, targets).mean()
        logs = {"accuracy": accuracy(logits, targets)}
        weight = self.weight.at(self.epoch)
        if weight:
            divergence = kl_divergence(logits, model(self.masked(model, images, targets))).mean()
            loss = loss + weight * divergence
            logs["divergence"] = divergence.detach()
        return loss, logs

    def masked(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The images without their least important pixels."""
        with attacking(model, images):
            _, gradient = input_gradient(model, images, targets)
        importance = (gradient.abs() if self.absolute else gradient).sum(1)
        size = top_k_size(self.share, importance[0].numel())
        least = top_k_mask(-importance, size).unsqueeze(1)
        low = images.amin((1, 2, 3), keepdim=True)
        high = images.amax((1, 2, 3), keepdim=True)
        return torch.where(least, low + (high - low) * torch.rand_like(images), images)
