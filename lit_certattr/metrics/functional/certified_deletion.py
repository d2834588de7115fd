"""Certified deletion: remove the pixels that are certified important, those of the smallest K first."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import LabelsPixels, offering
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import image_ids, removal_ranks
from lit_certattr.metrics.functional.certified import as_list, check_radius
from lit_certattr.metrics.functional.deletion import RemovalCurves, baseline_rankings, check_removal, removal_curves
from lit_certattr.metrics.functional.fill import Fill, fill_images


def certified_deletion(
    model: nn.Module,
    images: Tensor,
    results: Result | Sequence[Result],
    targets: Tensor,
    *,
    radius: float = 0.0,
    fill: Fill = "mean",
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> RemovalCurves:
    """Remove the pixels certified important at the smallest K, then those at the next K, and record the prediction.

    All images of the call have all points of the curve, so every point is a mean over one fixed set of images. An image
    without certified pixels stays unchanged and keeps its probability, which ``removed`` shows. The two baselines
    remove the same number of pixels of each image at each point.

    Args:
        model: Network from images in [0, 1] to logits; its mode, flags and gradients stay unchanged.
        images: Images ``[B, C, H, W]`` that were certified.
        results: Their certified labels of pixels, on maps of the same height and width, all with the same levels.
        targets: Explained classes ``[B]``.
        radius: Budget in pixel l2 units: a pixel counts if its certified radius is larger; at 0 every label counts.
        fill: What replaces a removed pixel, see :func:`~lit_certattr.metrics.functional.fill_images`.
        max_batch: Most images evaluated at once.
        seed: Seed of the random ranking.
        ids: Ids of the images, which key their random ranking; ``None`` uses a hash of the pixels.

    Returns:
        The curves over ``position`` = 0 (the whole image) and the levels K upwards, as shares of the pixels;
        :meth:`~lit_certattr.metrics.functional.RemovalCurves.areas` is the trapezoid over K, divided by its range.

    Raises:
        InputError: If images, results and targets do not fit together, or a setting is unusable.

    Reference: after Anani, Lorenz, Fritz, Schiele, ICML 2025; the area, the baselines and the fixed set are ours.
    """
    check_radius(radius)
    certified: list[LabelsPixels] = [offering(result, LabelsPixels) for result in as_list(results)]
    if len(certified) != len(images) or not certified:
        raise InputError(f"needs one result per image, got {len(certified)} for {len(images)} images")
    first = certified[0]
    labels = [result.labels_at(radius) for result in certified]
    num_pixels = labels[0][0].numel()
    if any(r.top_k != first.top_k or own.shape != labels[0].shape for r, own in zip(certified, labels, strict=True)):
        raise InputError("all results must have the same levels top_k and the same height and width")
    order = np.argsort(first.sizes, kind="stable").tolist()
    important = torch.stack([(own == 1)[order] for own in labels])
    check_removal(images, important[:, 0].float(), targets)
    # The first level at which a pixel goes; the number of levels where it never does.
    gone_at = torch.where(important.any(1), important.int().argmax(1), len(order)).to(images.device)
    counts = torch.stack([(gone_at < level).flatten(1).sum(1) for level in range(len(order) + 1)], dim=1)
    rankings = (removal_ranks(-gone_at), *baseline_rankings(images, seed, image_ids(images, ids)))
    filled = fill_images(images, fill)
    map_, centre, random = removal_curves(model, images, filled, rankings, counts, targets, max_batch)
    shares = [top_k if 0 < top_k < 1 else top_k / num_pixels for top_k in (first.top_k[level] for level in order)]
    position = torch.tensor([0.0, *shares], device=images.device)
    return RemovalCurves(position, map_, centre, random, counts.float() / num_pixels)
