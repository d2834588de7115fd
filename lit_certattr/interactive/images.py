"""The images of a call, of whatever kind they are, as one batch in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_certattr.data import ImageError, Sample
from lit_certattr.data.arrays import as_pixels
from lit_certattr.errors import InputError
from lit_certattr.interactive.network import Expectations, Statistics

_LARGEST = 1024 * 1024
"""A picture with more pixels is refused unless ``size`` is given: most networks expect far smaller ones."""
_SIZE = "give size=224, or the size that the network was trained on, to which the central square of each is scaled"
_ROUNDING = 1e-3
"""How far undoing a normalisation may leave [0, 1] by rounding, half precision included."""
_OVERSHOOT = 0.25
"""Pixels so close to [0, 1] left it by resizing or noise more likely than by normalisation: no guess is made."""


@attrs.frozen(eq=False)
class Batch:
    """The images of a call.

    Attributes:
        pixels: Float ``[B, C, H, W]`` in [0, 1].
        names: What tables and figures call each image: the stem of its file, its id, or its number.
        ids: Id of each image, which determines its noise; ``None`` where only its pixels do.
        alone: Whether the caller gave one image, not a sequence or a batch.
    """

    pixels: Tensor
    names: list[str]
    ids: list[str] | None
    alone: bool


def read_batch(images: Any, expects: Expectations, size: int | None, statistics: Statistics | None) -> Batch:
    """The images of a call as one batch.

    Args:
        images: One image or several, of the kinds of :func:`~lit_certattr.data.arrays.as_pixels`; a batch
            ``[B, C, H, W]``; samples of a data module.
        expects: What the network takes.
        size: Height and width in pixels; ``None`` for those of the images, or what the network expects of pictures.
        statistics: Mean and standard deviation by which the images may be normalised, or ``None``.

    Raises:
        InputError: If an image cannot be used; the message names the image and the remedy.
    """
    entries, alone = _entries(images)
    if not entries:
        raise InputError("images are empty: give at least one")
    names = [_name(entry, index) for index, entry in enumerate(entries)]
    ids = [str(entry.id) for entry in entries] if all(isinstance(entry, Sample) for entry in entries) else None
    pixels = [_pixels(entry, name, expects, size) for entry, name in zip(entries, names, strict=True)]
    pixels = _in_range(pixels, names, statistics, [_is_float(entry) for entry in entries])
    shapes = {tuple(one.shape) for one in pixels}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise ImageError(f"images differ in shape, {_words(first)} and {_words(second)}: {_SIZE}")
    shown = [f"image {name}" if name.isdigit() else name for name in names]
    return Batch(torch.stack([one.to(pixels[0]) for one in pixels]), shown, ids, alone)


def _pixels(entry: Any, name: str, expects: Expectations, size: int | None) -> Tensor:
    """One image, in the size that was asked for, or a size that a network can take."""
    image = entry.image if isinstance(entry, Sample) else entry
    pixels = as_pixels(image, name, expects.channels, size or (expects.size if _is_picture(entry) else None))
    if _is_picture(entry) and size is None and pixels[0].numel() > _LARGEST:
        raise ImageError(f"image {name} has {pixels.shape[2]} x {pixels.shape[1]} pixels: {_SIZE}")
    return pixels


def _is_picture(entry: Any) -> bool:
    return isinstance(entry, str | Path | Image.Image)


def _is_float(entry: Any) -> bool:
    """Whether an image may be normalised: bytes and pictures never are."""
    image = entry.image if isinstance(entry, Sample) else entry
    return (
        image.is_floating_point() if isinstance(image, Tensor) else getattr(image, "dtype", np.dtype("u1")).kind == "f"
    )


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _entries(images: Any) -> tuple[list[Any], bool]:
    """The single images, and whether there was only one, outside any sequence."""
    if isinstance(images, Sample):
        if isinstance(images.id, str):
            return [images], True
        targets = torch.as_tensor(images.target).tolist()
        return [Sample(*one) for one in zip(images.image, targets, images.id, strict=True)], False
    if isinstance(images, Tensor | np.ndarray):
        return (list(images), False) if images.ndim == 4 else ([images], True)
    if not isinstance(images, list | tuple):
        return [images], True
    if len(images) == 2 and isinstance(images[0], Tensor) and isinstance(images[1], Tensor) and images[1].ndim == 1:
        raise InputError(
            "images are a batch of a DataLoader, images and labels: give the images, and the labels as targets, "
            "certify(model, batch[0], batch[1])"
        )
    return [single for entry in images for single in _entries(entry)[0]], False


def _name(entry: Any, index: int) -> str:
    if isinstance(entry, Sample):
        return str(entry.id)
    if isinstance(entry, str | Path):
        return Path(entry).stem
    return str(index)


def _in_range(
    images: Sequence[Tensor], names: Sequence[str], statistics: Statistics | None, may_be_normalised: Sequence[bool]
) -> list[Tensor]:
    """The images in [0, 1]; either none of the floating-point ones is normalised, or all are, and it is undone."""
    ranges = [_range(pixels, name) for pixels, name in zip(images, names, strict=True)]
    outside = [low < 0 or high > 1 for low, high in ranges]
    if not any(outside):
        return list(images)
    for name, (low, high), out in zip(names, ranges, outside, strict=True):
        if out and (statistics is None or (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT)):
            raise ImageError(
                f"image {name}: pixels must lie in [0, 1], found {low:.3g} to {high:.3g}: {_remedy(low, high)}"
            )
    inside = [name for name, out, may in zip(names, outside, may_be_normalised, strict=True) if may and not out]
    if inside:
        raise ImageError(
            f"image {names[outside.index(True)]} lies outside [0, 1] and image {inside[0]} inside, so one is not "
            "normalised: give all images before normalisation, images * std + mean, in [0, 1]"
        )
    assert statistics is not None
    return [
        _undone(pixels, name, statistics) if normalised else pixels
        for pixels, name, normalised in zip(images, names, may_be_normalised, strict=True)
    ]


def _range(pixels: Tensor, name: str) -> tuple[float, float]:
    low, high = float(pixels.min()), float(pixels.max())
    if not low - low == high - high == 0:  # NaN or infinite
        raise ImageError(f"image {name} holds NaN or infinite pixels")
    return low, high


def _remedy(low: float, high: float) -> str:
    """The likely reason why pixels are outside [0, 1], and what to do about it."""
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return "clip them, images.clamp(0, 1), or, if they are normalised, undo it first, images * std + mean"
    if low >= 0:
        return "divide them by the largest possible value, e.g. images / 255"
    return (
        "if they are normalised, say how, normalisation='imagenet' or normalisation=(mean, std): it is undone, and "
        "becomes the network's first layer"
    )


def _undone(pixels: Tensor, name: str, statistics: Statistics) -> Tensor:
    restored = statistics.undone(pixels)
    low, high = float(restored.min()), float(restored.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ImageError(
            f"image {name}: without the normalisation of mean {statistics.mean} and std {statistics.std} its pixels "
            f"lie in {low:.3g} to {high:.3g}, not in [0, 1]: give the mean and std that it was normalised with"
        )
    return restored.clamp(0, 1)
