"""Scores of perturbed images: what the methods without gradients have in common."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lit_certattr.attribution.base import as_logits, finite_or_nan, graph_mode, ordinary
from lit_certattr.attribution.batching import tiled
from lit_certattr.errors import InputError

Score = Literal["softmax", "logit"]
"""What of the target class is explained: its probability, or its logit."""


def check_score(score: Score) -> None:
    """Refuse a score that does not exist.

    Raises:
        InputError: If ``score`` is neither ``"softmax"`` nor ``"logit"``.
    """
    if score not in get_args(Score):
        raise InputError(f"score must be one of {', '.join(get_args(Score))}, got {score!r}")


def class_scores(logits: Any, targets: Tensor, score: Score = "logit") -> Tensor:
    """Score of each target class, ``[B]``, in float32 or wider: half precision would tie probabilities.

    NaN for an image whose logits are not all finite.

    Args:
        logits: What the network returned, ``[B, num_classes]``.
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
    score: Score = "logit",
    max_batch: int | None = None,
    create_graph: bool = False,
    head: Callable[[slice], Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
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

    Returns:
        Scores ``[num_samples, B]``; detached unless ``create_graph``.
    """
    with graph_mode(create_graph):
        images, targets = ordinary(images), ordinary(targets)
        scores = images.new_zeros((num_samples, len(images)), dtype=torch.promote_types(images.dtype, torch.float32))

        def evaluate(rows: slice, samples: slice) -> None:
            copies = perturb(rows, samples)
            answer = model if head is None else head(rows)
            flat = class_scores(answer(copies.flatten(0, 1)), targets[rows].repeat(len(copies)), score)
            scores[samples, rows] = flat.view(len(copies), -1).to(scores.dtype)

        tiled(evaluate, len(images), num_samples, model=model, images=images, max_batch=max_batch)
    return scores


def check_fill(fill: float) -> None:
    """Refuse a grey level that no image has.

    Raises:
        InputError: If ``fill`` is outside [0, 1].
    """
    if not 0 <= fill <= 1:
        raise InputError(f"fill must be a grey level in [0, 1], got {fill}")
