"""Adversarial training at the cost of ordinary training."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy


class FreeAdversarialTraining(Objective):
    r"""Every batch is used several times, and the backward pass of each use also moves its perturbation.

    The perturbation takes a step of ``eps`` along the sign of the very gradient that the Trainer computes for the
    parameters, by a hook on the perturbed images, so an attack costs nothing. A batch is used at ``replays``
    training steps in a row: of the batches that the data loader delivers one in ``replays`` is taken, and the others
    are passed over. An epoch therefore costs what an epoch of ordinary training costs, and the authors' "epochs
    divided by m" is automatic. As in their program, the perturbation is passed on from batch to batch.

    The network is in training mode while it is attacked: there is one pass only. Logs ``adversarial_accuracy``. Cost:
    a forward and backward pass.

    Args:
        eps: Largest change of a value, in pixel units (linf); 0 or more.
        replays: Steps on each batch, at least 1.
        clamp: Smallest and largest value of a perturbed pixel; ``None`` for no box.

    Raises:
        InputError: If a number is out of range.

    Reference: Shafahi et al., "Adversarial training for free!", NeurIPS 2019.
    """

    def __init__(self, eps: float, replays: int = 8, clamp: tuple[float, float] | None = (0.0, 1.0)) -> None:
        if not 0 <= eps < float("inf") or replays < 1:
            raise InputError(f"eps must be at least 0 and replays at least 1, got {eps} and {replays}")
        self.eps = eps
        self.replays = replays
        self.clamp = None if clamp is None else tuple(clamp)
        self._used = 0
        self._batch: tuple[Tensor, Tensor] | None = None
        self._delta: Tensor | None = None

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self._batch is None or self._used >= self.replays:
            self._batch, self._used = (images, targets), 0
            self._delta = _first(self._delta, images)
        self._used += 1
        images, targets = (part.to(images.device) for part in self._batch)
        assert self._delta is not None
        self._delta = self._delta.to(images)
        perturbed = images + self._delta
        perturbed = (perturbed if self.clamp is None else perturbed.clamp(*self.clamp)).requires_grad_(True)
        perturbed.register_hook(self._move)
        logits = model(perturbed)
        return functional.cross_entropy(logits, targets), {"adversarial_accuracy": accuracy(logits, targets)}

    def state_dict(self) -> dict[str, Any]:
        """The batch in use, how often it was used, and its perturbation."""
        if self._batch is None:
            return {}
        return {"used": self._used, "images": self._batch[0], "targets": self._batch[1], "delta": self._delta}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._used, self._batch = int(state["used"]), (state["images"], state["targets"])
            self._delta = state["delta"]

    def _move(self, gradient: Tensor) -> None:
        """A step along the sign of the gradient, which the factor of a gradient scaler does not change."""
        assert self._delta is not None
        self._delta = (self._delta + self.eps * gradient.detach().sign()).clamp(-self.eps, self.eps)


def _first(delta: Tensor | None, images: Tensor) -> Tensor:
    """The perturbation of the last batch for as many images as there are, zero for those beyond."""
    fresh = torch.zeros_like(images)
    if delta is not None and delta.shape[1:] == images.shape[1:]:
        count = min(len(delta), len(images))
        fresh[:count] = delta[:count].to(images)
    return fresh
