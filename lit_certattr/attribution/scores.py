"""Scores of perturbed images, for all methods without gradients.

A method that weights its own masks by scores makes a map also if the scores contain no information: the mean of the
masks, or what rounding leaves of a difference. Such a map is the same for all noisy images, and would be certified. So
where the scores of an image do not move, which :class:`Scores` decides, every method here gives a constant map.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from lit_certattr.attribution.base import as_logits, finite_or_nan, graph_mode, ordinary
from lit_certattr.attribution.batching import tiled
from lit_certattr.errors import InputError

ScoreKind = Literal["softmax", "logit"]
"""Score of the target class that is explained: its probability, or its logit."""

_UNITS = 4
"""Rounding that is ignored, in units in the last place of the largest logit, and of the probability."""


class Scores(NamedTuple):
    """Scores of perturbed copies of each image.

    Attributes:
        values: Scores ``[num_samples, B]``.
        moves: Whether the scores of an image differ by more than rounding, boolean ``[B]``; see :func:`rounding`.
    """

    values: Tensor
    moves: Tensor

    def map_or_constant(self, maps: Tensor, constant: Tensor | float = 0.0) -> Tensor:
        """The maps ``[B, h, w]`` where the scores move; elsewhere constant maps, of one number or of one per map."""
        level = constant.to(maps).view(-1, 1, 1) if isinstance(constant, Tensor) else constant
        return torch.where(self.moves[:, None, None], maps, level)


def check_score(score: ScoreKind) -> None:
    """Refuse a score that does not exist.

    Args:
        score: Name of the score.

    Raises:
        InputError: If ``score`` is neither ``"softmax"`` nor ``"logit"``.
    """
    if score not in get_args(ScoreKind):
        raise InputError(f"score must be one of {', '.join(get_args(ScoreKind))}, got {score!r}")


def class_scores(logits: Any, targets: Tensor, score: ScoreKind = "logit") -> Tensor:
    """Score of each target class, ``[B]``, in float32 or wider: half precision would tie probabilities.

    NaN for an image whose logits are not all finite.

    Args:
        logits: Output of the network, ``[B, num_classes]``.
        targets: Class indices ``[B]``.
        score: Probability or logit.

    Raises:
        InputError: If the network did not return logits.

    Example:
        >>> class_scores(torch.zeros(2, 4), torch.tensor([0, 3]), "softmax")
        tensor([0.2500, 0.2500])
    """
    values = as_logits(logits)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    shares = values.softmax(1) if score == "softmax" else values
    return (shares.gather(1, targets.view(-1, 1)) * finite_or_nan(values))[:, 0]


def perturbed_scores(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    perturb: Callable[[slice, slice], Tensor],
    num_samples: int,
    *,
    score: ScoreKind = "logit",
    max_batch: int | None = None,
    create_graph: bool = False,
    head: Callable[[slice], Callable[[Tensor], Tensor]] | None = None,
    whole: Tensor | None = None,
) -> Scores:
    """Scores of ``num_samples`` perturbed copies of each image, evaluated in tiles that fit into memory.

    Args:
        model: Network to logits ``[B, num_classes]``.
        images: Images ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        perturb: Called with a slice of images and a slice of samples; returns copies ``[samples, images, ...]``.
        num_samples: Copies of each image.
        score: Probability or logit.
        max_batch: See :func:`~lit_certattr.attribution.batching.tiled`.
        create_graph: Keep the graph.
        head: For a slice of images, what makes logits of their copies; the network itself if left out.
        whole: Logits of the images themselves ``[B, num_classes]``, if these are compared with the copies.

    Returns:
        Scores, detached unless ``create_graph``, and whether they move. They do not if the largest and the smallest
        differ by no more than the largest :func:`rounding` among them: a fixed function of the image, and exactly
        true of scores that are equal.
    """
    with graph_mode(create_graph):
        images, targets = ordinary(images), ordinary(targets)
        scores = images.new_zeros((num_samples, len(images)), dtype=torch.promote_types(images.dtype, torch.float32))
        errors = torch.zeros_like(scores)

        def score_tile(rows: slice, samples: slice) -> None:
            copies = perturb(rows, samples)
            answer = model if head is None else head(rows)
            logits, labels = answer(copies.flatten(0, 1)), targets[rows].repeat(len(copies))
            scores[samples, rows] = class_scores(logits, labels, score).view(len(copies), -1).to(scores.dtype)
            errors[samples, rows] = rounding(logits, labels, score).view(len(copies), -1).to(scores.dtype)

        tiled(score_tile, len(images), num_samples, model=model, images=images, max_batch=max_batch)
        compared = scores.detach()
        if whole is not None:
            compared = torch.cat([compared, class_scores(whole, targets, score).detach()[None].to(scores.dtype)])
            errors = torch.cat([errors, rounding(whole, targets, score)[None].to(scores.dtype)])
        # Not "more than": NaN moves, and is found by those who look at maps.
        moves = ~(compared.amax(0) - compared.amin(0) <= errors.amax(0))
    return Scores(scores, moves)


def rounding(logits: Tensor, targets: Tensor, score: ScoreKind = "logit") -> Tensor:
    r"""Largest difference between scores that rounding may cause, ``[B]``.

    A network rounds in proportion to its largest logit, so four units in the last place of that: :math:`4 \epsilon
    \max_k |f_k|`, with :math:`\epsilon` of the type of the logits. A probability moves by at most :math:`2 p (1 - p)`
    of that, plus four units of its own.

    Args:
        logits: ``[B, num_classes]``.
        targets: Class indices ``[B]``.
        score: Probability or logit.

    Example:
        >>> rounding(torch.tensor([[8.0, -16.0]]), torch.tensor([0])) / torch.finfo(torch.float32).eps
        tensor([64.])
    """
    logits = logits.detach()
    wide = torch.promote_types(logits.dtype, torch.float32)
    of_logits = _UNITS * torch.finfo(logits.dtype).eps * logits.abs().amax(1).to(wide)
    if score == "logit":
        return of_logits
    shares = class_scores(logits, targets, score)
    return _UNITS * torch.finfo(wide).eps * shares + 2 * shares * (1 - shares) * of_logits


def check_fill(fill: float) -> None:
    """Refuse a grey level that no image has.

    Args:
        fill: Value of the filled pixels.

    Raises:
        InputError: If ``fill`` is outside [0, 1].
    """
    if not 0 <= fill <= 1:
        raise InputError(f"fill must be a grey level in [0, 1], got {fill}")
