"""Gradients that look like the image: the objective of Singh et al. (2020)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_certattr.attacks import AttackConfig
from lit_certattr.attacks.loop import Score
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.distances import cosine
from lit_certattr.objectives.pair import Neighbour, PairObjective
from lit_certattr.objectives.robust_losses import AdversarialLoss
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import top_k_size


class ART(PairObjective):
    r"""Adversarial training in which the target's gradient resembles the image more than the runner-up's does.

    .. math:: \ell(\tilde x, y) + \lambda\, \mathrm{softplus}\bigl(d(g_y, x) - d(g_{j^*}, x)\bigr)

    with d one minus the cosine and :math:`j^*` the largest wrong logit. Over image and neighbour, each image u is
    paired with the hardest gradients: the largest :math:`d(g_y(v), u)` and the smallest :math:`d(g_{j^*}(v), u)`
    for v in :math:`\{x, \tilde x\}`. The neighbour maximises the same triplet on the values where
    :math:`|g_y|` of the image is largest. Images are those in [0, 1], before the network's normalisation, and constants
    in the penalty. (The authors choose the values at the random start, and take cosines with normalised images.)

    Logs ``adversarial_accuracy`` and ``distance``, the softplus. Cost: about ``2 * attack.steps + 4`` backward passes
    with a second derivative.

    Args:
        attack: Norm, budget and steps of the search.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        top_k: Values of the image (all channels) on which the search looks: a share in (0, 1), or a number.
        smooth_beta: Sharpness of the softplus that replaces ReLU in the gradients; ``None`` only for smooth networks.

    Reference: Singh, Kumari, Mangla, Sinha, Balasubramanian & Krishnamurthy, "Attributional robustness training using
    input-gradient spatial alignment", ECCV 2020.
    """

    def __init__(
        self,
        attack: AttackConfig,
        weight: float | Schedule = 0.5,
        top_k: float = 0.33,
        smooth_beta: float | None = 50.0,
    ) -> None:
        super().__init__(AdversarialLoss(), Neighbour(attack, "distance"), weight, smooth_beta)
        top_k_size(top_k, 10**9)  # complains of what can be no share and no number
        self.top_k = top_k

    def maps(
        self, model: nn.Module, clean: Tensor, others: Tensor, targets: Tensor, create_graph: bool
    ) -> Iterator[Tensor]:
        """Gradients of target and runner-up, of image and neighbour: ``[4, B, C, H, W]``."""
        gradients = two_gradients(model, torch.cat([clean, others]), targets.repeat(2), create_graph)
        yield gradients.unflatten(1, (2, -1)).flatten(0, 1)

    def compare(self, maps: Tensor, clean: Tensor, others: Tensor) -> Tensor:
        """The triplet loss of each image and its neighbour, with the hardest gradients."""
        losses = []
        for image in (clean, others):
            own = torch.maximum(cosine(image, maps[0]), cosine(image, maps[1]))
            rival = torch.minimum(cosine(image, maps[2]), cosine(image, maps[3]))
            losses.append(functional.softplus(own - rival))
        return torch.stack(losses).mean(0)

    def distance_score(self, model: nn.Module, clean: Tensor, targets: Tensor) -> Score:
        """The triplet loss at the neighbour alone, on the values that matter at the image."""
        with explaining(model, self.smooth_beta):
            magnitude = two_gradients(model, clean, targets, create_graph=False)[0].abs().flatten(1)
        chosen = magnitude.topk(top_k_size(self.top_k, magnitude.shape[1]), dim=1).indices

        def score(others: Tensor) -> Tensor:
            with explaining(model, self.smooth_beta):
                own, rival = two_gradients(model, others, targets).flatten(2)
            image, own, rival = (values.gather(1, chosen) for values in (others.flatten(1), own, rival))
            return functional.softplus(cosine(image, own) - cosine(image, rival))

        return score


def two_gradients(model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = True) -> Tensor:
    """Gradients of the target's logit and of the largest wrong one, ``[2, B, C, H, W]``, from one forward pass.

    Args:
        model: Network to logits ``[B, num_classes]``.
        images: Images ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        create_graph: Keep the graph; images that require a gradient stay connected to theirs.
    """
    if not (create_graph and images.requires_grad):
        images = images.detach().requires_grad_(True)
    logits = model(images.clone())
    classes = targets.view(-1, 1)
    own = logits.gather(1, classes).sum()
    rival = logits.scatter(1, classes, -torch.inf).amax(1).sum()
    (first,) = torch.autograd.grad(own, images, create_graph=create_graph, retain_graph=True)
    (second,) = torch.autograd.grad(rival, images, create_graph=create_graph)
    return torch.stack([first, second])
