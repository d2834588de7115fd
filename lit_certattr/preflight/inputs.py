"""Checks of the images and classes that a user passes; a fault is reported in one line."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import exact


def check_one_image(image: Any) -> Tensor:
    """One image ``[C, H, W]`` as a batch of one.

    Args:
        image: One image.

    Raises:
        InputError: If it is not a tensor ``[C, H, W]``; the message names the remedy.
    """
    single = _check_tensor(image, "image")
    if single.ndim == 4:
        raise InputError(
            f"image must be one image [C, H, W], got a batch {list(single.shape)}: "
            + ("use image[0]" if len(single) == 1 else "use a Certifier for several images")
        )
    if single.ndim == 2:
        raise InputError(f"image must be [C, H, W], got {list(single.shape)}: use image.unsqueeze(0) for a gray image")
    if single.ndim != 3:
        raise InputError(f"image must be [C, H, W], got {list(single.shape)}")
    return single.unsqueeze(0)


def check_images(images: Any, ids: Sequence[str] | None = None) -> Tensor:
    """Check images and return them detached, as ordinary tensors.

    Args:
        images: Images ``[B, C, H, W]``, finite and in [0, 1].
        ids: Their names, if they have any.

    Raises:
        InputError: If an image cannot be certified; the message names the first one, the reason and the remedy.
    """
    batch = _check_tensor(images, "images")
    if batch.ndim == 3:
        raise InputError(
            f"images must be a batch [B, C, H, W], got {list(batch.shape)}: use images.unsqueeze(0) for one image"
        )
    if batch.ndim != 4 or not batch.numel():
        raise InputError(f"images must be a float tensor [B, C, H, W], got {batch.dtype} {tuple(batch.shape)}")
    if not torch.is_floating_point(batch):
        raise InputError(f"images must be a float tensor in [0, 1], got {batch.dtype}{_remedy_of_type(batch)}")
    if ids is not None:
        _check_ids(ids, len(batch))
    low, high = torch.aminmax(batch.detach().flatten(1), dim=1)
    for index, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        name = index if ids is None else ids[index]
        if not least - least == most - most == 0:  # NaN or infinite
            raise InputError(f"image {name}: holds NaN or infinite pixels")
        if least < 0 or most > 1:
            raise InputError(
                f"image {name}: pixels must lie in [0, 1], found {exact(least)} to {exact(most)}: {_scale(least)}"
            )
    return batch.clone() if batch.is_inference() else batch.detach()


def _scale(least: float) -> str:
    """The likely reason why pixels are outside [0, 1], and what to do about it."""
    if least < 0:
        return (
            "if they are normalised, pass the original images and make normalisation the network's first layer, "
            "nn.Sequential(Normalize(mean, std), network) with lit_certattr.models.Normalize"
        )
    return "divide them by the largest possible value, e.g. images / 255"


def _check_tensor(images: Any, name: str) -> Tensor:
    """The images, if they are an ordinary tensor."""
    if isinstance(images, np.ndarray):
        raise InputError(
            f"{name} must be a torch tensor, got a NumPy array of {images.dtype} {list(images.shape)}: "
            f"use torch.from_numpy({name}), as float in [0, 1], channels first"
        )
    if type(images).__module__.partition(".")[0] == "PIL":
        raise InputError(
            f"{name} must be a torch tensor, got a PIL image: use torchvision.transforms.functional.to_tensor({name})"
        )
    if isinstance(images, list | tuple) and images and all(isinstance(image, Tensor) for image in images):
        raise InputError(
            f"{name} must be one tensor, got a {type(images).__name__} of tensors: use torch.stack({name})"
        )
    if not isinstance(images, Tensor):
        raise InputError(f"{name} must be a torch tensor, got {type(images).__name__}")
    if images.is_meta:
        raise InputError(f"{name} has no values: it is on the meta device")
    if images.is_complex():
        raise InputError(f"{name} must be real, got {images.dtype}: use {name}.real or {name}.abs()")
    if images.layout != torch.strided or images.is_quantized:
        raise InputError(f"{name} must be an ordinary tensor: use {name}.{_ordinary(images)}()")
    return images


def _ordinary(images: Tensor) -> str:
    return "dequantize" if images.is_quantized else "to_dense"


def _remedy_of_type(images: Tensor) -> str:
    if images.dtype == torch.uint8:
        return ": use images.float() / 255"
    if images.dtype == torch.bool:
        return ": use images.float()"
    return ": use images.float() divided by the largest possible value"


def _check_ids(ids: Sequence[str], count: int) -> None:
    if isinstance(ids, str) or not isinstance(ids, Iterable) or not all(isinstance(name, str) for name in ids):
        raise InputError(f"ids must be a list of {count} strings, got {ids!r:.80}")
    if len(ids) != count or len(set(ids)) < len(ids):
        raise InputError(f"ids must be {count} different names, got {len(ids)} ({len(set(ids))} different)")


def check_targets(targets: Any, num_images: int) -> list[int]:
    """The classes to explain, as numbers.

    Args:
        targets: Class indices ``[num_images]``: a tensor, an array or a sequence of integers.
        num_images: Required number of classes.

    Raises:
        InputError: If they are no class indices, or not one per image.
    """
    if isinstance(targets, str) or (
        isinstance(targets, Sequence) and any(isinstance(target, str) for target in targets)
    ):
        raise InputError(
            f"targets must be class indices, got {targets!r:.80}: use class_names.index(name) for a name, or "
            "'noisy_majority' for the class that most noisy copies are predicted as"
        )
    try:
        numbers = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"targets must be {num_images} class indices, got {targets!r:.80}") from None
    whole = not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)
    if numbers.shape != (num_images,) or not whole:
        remedy = "" if whole else ": use whole numbers, targets.long()"
        if numbers.ndim == 2:
            remedy = ": of one-hot vectors give targets.argmax(1)"
        got = f"{numbers.dtype} {tuple(numbers.shape)}"
        raise InputError(f"targets must be {num_images} class indices, got {got}{remedy}")
    labels: list[int] = numbers.tolist()
    return labels


def check_classes(classes: Sequence[int], num_classes: int) -> None:
    """Refuse a class that the network does not have.

    Args:
        classes: Class indices.
        num_classes: Number of classes of the network.

    Raises:
        InputError: If a class is unknown; the message names the first one.
    """
    for label in classes:
        if not 0 <= label < num_classes:
            raise InputError(f"target class {label} is unknown: the network has classes 0 to {num_classes - 1}")
