"""Occlusion, RISE and LIME, written again: loops over single images in float64, other tools where there are any."""

import math

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional as F


def score(net: nn.Module, image: Tensor, target: int, kind: str) -> float:
    with torch.no_grad():
        logits = net(image[None])[0]
        return float((logits.softmax(0) if kind == "softmax" else logits)[target])


def occlusion(
    net: nn.Module, image: Tensor, target: int, window: tuple[int, int], stride: tuple[int, int], fill: float, kind: str
) -> Tensor:
    """Signed mean drop of the windows over each pixel."""
    height, width = image.shape[1:]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    whole = score(net, image, target, kind)
    for top in range(0, height - window[0] + stride[0], stride[0]):
        for left in range(0, width - window[1] + stride[1], stride[1]):
            area = (slice(top, top + window[0]), slice(left, left + window[1]))
            hidden = image.clone()
            hidden[(slice(None), *area)] = fill
            total[area] += whole - score(net, hidden, target, kind)
            count[area] += 1
    return torch.from_numpy(total / count)


def rise_masks(drawn: Tensor, cells: int, keep: float, height: int, width: int) -> Tensor:
    """Masks from uniform numbers ``[N, 2 + cells^2]``: two shifts, then the grid. Enlarged by torch's own resize."""
    masks = []
    for numbers in drawn:
        grid = (numbers[2:] < keep).double().view(1, 1, cells, cells)
        steps = [math.ceil(length / cells) for length in (height, width)]
        large = F.interpolate(grid, [(cells + 1) * step for step in steps], mode="bilinear", align_corners=False)[0, 0]
        top, left = (int(float(number) * step) for number, step in zip(numbers[:2], steps, strict=True))
        masks.append(large[top : top + height, left : left + width])
    return torch.stack(masks)


def rise(net: nn.Module, image: Tensor, target: int, masks: Tensor, keep: float, fill: float, kind: str) -> Tensor:
    """Mean of the masks weighted by the score of what they leave."""
    total = torch.zeros(image.shape[1:], dtype=torch.float64)
    for mask in masks:
        total += score(net, image * mask + fill * (1 - mask), target, kind) * mask
    return total / (len(masks) * keep)


def lime(
    net: nn.Module,
    image: Tensor,
    target: int,
    labels: Tensor,
    shown: Tensor,
    kernel_width: float,
    ridge: float,
    fill: float | None,
    kind: str,
) -> Tensor:
    """Coefficients by scikit-learn's weighted ridge regression, painted on the superpixels."""
    hidden = torch.empty_like(image)
    for label in labels.unique():
        place = labels == label
        hidden[:, place] = image[:, place].mean(1, keepdim=True) if fill is None else fill
    scores, weights = [], []
    for row in shown:
        scores.append(score(net, torch.where(row[labels], image, hidden), target, kind))
        distance = 1 - math.sqrt(row.double().mean())
        weights.append(math.sqrt(math.exp(-(distance**2) / kernel_width**2)))
    fit = Ridge(alpha=ridge).fit(shown.numpy().astype(float), scores, sample_weight=weights)
    return torch.from_numpy(fit.coef_)[labels]
