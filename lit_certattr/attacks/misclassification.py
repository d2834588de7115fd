"""The search for a misclassified point: restarts with different starting points and different scores."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from lit_certattr.attacks.ball import ascent, fit, project, random_start
from lit_certattr.attacks.config import AttackConfig, Init
from lit_certattr.attribution.base import as_logits

_WARM, _COLD = 0.4, 0.01
"""First and last temperature of the soft margin, in standard deviations of the clean image's logits."""
_LONG, _SHORT = 2.0, 0.05
"""First and last length of a step, as a share of the budget."""
_LONG_ENOUGH = 33
"""Steps after which another search finds more than further steps."""
_MOST_RIVALS = 9
"""Wrong classes that restarts head for one at a time; beyond these it rarely helps."""
_CLEARLY = 1e-4
"""Margin of a point, in the same unit, from which no rounding makes it right again: its image needs no more steps."""


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong logit minus the right one, ``[B]``; positive where the prediction is wrong.

    Args:
        logits: Logits ``[B, num_classes]``.
        labels: Class indices ``[B]``.

    Example:
        >>> margin(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    right = labels.view(-1, 1)
    return logits.scatter(1, right, -torch.inf).amax(1) - logits.gather(1, right).squeeze(1)


def soft_margin(logits: Tensor, labels: Tensor, temperature: Tensor) -> Tensor:
    r"""The margin with a soft maximum over the wrong logits: :math:`T \log \sum_{j \ne y} e^{z_j / T} - z_y`.

    At T = 1 its gradient has the direction of the gradient of the cross-entropy, but does not vanish if the network is
    confident; as T approaches 0, this becomes :func:`margin`.

    Args:
        logits: Logits ``[B, num_classes]``.
        labels: Class indices ``[B]``.
        temperature: T, positive, ``[B]``.

    Example:
        >>> logits, labels = torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([0])
        >>> soft_margin(logits, labels, torch.tensor([1.0])), soft_margin(logits, labels, torch.tensor([0.01]))
        (tensor([-0.3069]), tensor([-0.9931]))
    """
    right, scale = labels.view(-1, 1), temperature.view(-1, 1)
    wrong = (logits / scale).scatter(1, right, -torch.inf).logsumexp(1)
    return temperature * wrong - logits.gather(1, right).squeeze(1)


def find_misclassified(
    model: nn.Module, clean: Tensor, labels: Tensor, logits: Tensor, eps: Tensor, config: AttackConfig
) -> Tensor:
    """The point with the largest margin found for each image; the search of an image ends when it is misclassified.

    See :func:`~lit_certattr.attacks.attack_prediction`, which explains the restarts.

    Args:
        model: Network to logits, in eval mode and frozen.
        clean: Clean images ``[B, C, H, W]`` in the box of the configuration.
        labels: Class indices ``[B]``.
        logits: Logits of the clean images ``[B, num_classes]``.
        eps: Budgets, float64 ``[B]``.
        config: Settings; ``steps`` is at least 1.

    Returns:
        Perturbed images, detached, in ball and box.
    """
    generator = None if config.seed is None else torch.Generator(clean.device).manual_seed(config.seed)
    spread = logits.std(1, correction=0).clamp_min(torch.finfo(logits.dtype).tiny)
    rivals = logits.scatter(1, labels.view(-1, 1), -torch.inf).argsort(1, descending=True)[:, :-1][:, :_MOST_RIVALS]
    best, value = clean.clone(), margin(logits, labels)
    wide_open = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
    for restart, steps in enumerate(_searches(config)):
        goal = restart % (rivals.shape[1] + 2)  # all rivals softly, one of them, or the margin by even steps
        start = random_start(clean, eps, config.norm, _start(config.init, restart), generator, config.clamp)
        start = project(start, clean, eps, config.norm, config.clamp)
        here = wide_open.nonzero()[:, 0]
        points = start[here]
        for step in range(steps + 1):
            here_labels = labels[here]
            leaf = points.detach().requires_grad_(True)
            last = step == steps
            with torch.set_grad_enabled(not last):
                outputs = as_logits(model(leaf.clone()))
            margins = margin(outputs.detach(), here_labels)
            better = margins > value[here]  # false for NaN
            best[here[better]], value[here[better]] = points[better], margins[better]
            wide_open[here] = ~(value[here] > _CLEARLY * spread[here])
            if last or not bool(wide_open[here].any()):
                break
            with torch.enable_grad():
                if goal == 0:
                    temperature = spread[here] * _WARM * (_COLD / _WARM) ** (step / steps)
                    score = soft_margin(outputs, here_labels, temperature)
                elif goal <= rivals.shape[1]:
                    rival = rivals[here, goal - 1].view(-1, 1)
                    score = (outputs.gather(1, rival) - outputs.gather(1, here_labels.view(-1, 1))).squeeze(1)
                else:
                    score = margin(outputs, here_labels)
                (gradient,) = torch.autograd.grad(score.sum(), leaf)
            going = wide_open[here]
            here, points, gradient = here[going], points[going], gradient[going]
            even = config.step_size is not None or goal > rivals.shape[1]
            length = replace(config, steps=steps).step_length(eps[here]) if even else eps[here] * _share(step, steps)
            points = points + length.to(clean.dtype).view(-1, 1, 1, 1) * ascent(gradient, config.norm)
            points = _move(points, clean[here], eps[here], config)
        if not bool(wide_open.any()):
            break
    return best


def _searches(config: AttackConfig) -> list[int]:
    """Steps of each search: long restarts are divided, since two different searches find more than one long one."""
    parts = max(1, config.steps // _LONG_ENOUGH) if config.step_size is None else 1
    return [config.steps // parts + (part < config.steps % parts) for part in range(parts)] * config.restarts


def _start(init: Init, restart: int) -> Init:
    """Where a restart begins: first as configured, then at the other kind of place, then at random."""
    other: Init = "uniform" if init == "zero" else "zero"
    random: Init = "uniform" if init == "zero" else init
    return (init, other)[restart] if restart < 2 else random


def _share(step: int, steps: int) -> float:
    """Length of a step in budgets: it falls from 2 to 0.05 along half a cosine."""
    return _SHORT + (_LONG - _SHORT) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _move(points: Tensor, clean: Tensor, eps: Tensor, config: AttackConfig) -> Tensor:
    """The nearest points in ball and box; in l2 the box does not cost length that the ball would allow."""
    if config.norm == "l2" and config.clamp is not None:
        points = clean + fit(points - clean, clean, eps, config.clamp, grow=False).to(clean.dtype)
    return project(points, clean, eps, config.norm, config.clamp)
