"""An objective: cross-entropy that is charged for confidence."""

from torch import Tensor, nn
from torch.nn import functional

from lit_certattr.errors import InputError
from lit_certattr.objectives import Objective


class ConfidencePenalty(Objective):
    r"""Cross-entropy less a share of the entropy of the prediction, :math:`\ell(x, y) - \beta H(p(x))`.

    Args:
        beta: Weight of the entropy in nats; not negative.

    Raises:
        InputError: If ``beta`` is negative.

    Reference: Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", 2017.
    """

    def __init__(self, beta: float = 0.1) -> None:
        if beta < 0:
            raise InputError(f"beta must not be negative, got {beta}")
        self.beta = beta

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        log_p = model(images).log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        loss = functional.nll_loss(log_p, targets) - self.beta * entropy
        return loss, {"entropy": entropy.detach()}  # logged as train/entropy
