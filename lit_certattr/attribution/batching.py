"""The memory budget of methods that evaluate many images for one map."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from lit_certattr.errors import InputError, single_line

_PIXELS_AT_ONCE = {"cpu": 32 * 224**2, "other": 512 * 224**2}  # more is no faster, on a CPU slower
_IMAGES_AT_ONCE = {"cpu": 256, "other": 4096}

_fits: WeakKeyDictionary[Any, dict[tuple[Any, ...], int]] = WeakKeyDictionary()
"""For each network the number of images that fitted after it ran out of memory; nothing before that."""


def check_max_batch(max_batch: int | None) -> None:
    """Refuse a budget that allows no image.

    Args:
        max_batch: Most images evaluated at once, or ``None``.

    Raises:
        InputError: If ``max_batch`` is below 1.
    """
    if max_batch is not None and max_batch < 1:
        raise InputError(f"max_batch must be at least 1, or null to find the largest that fits, got {max_batch}")


def starting_batch(image_shape: tuple[int, ...] | torch.Size, device: torch.device) -> int:
    """Number of images to evaluate at once before anything is known about the memory.

    Args:
        image_shape: Shape of one image, ``[C, H, W]``.
        device: Where the network is.

    Example:
        >>> starting_batch((3, 224, 224), torch.device("cpu")), starting_batch((1, 28, 28), torch.device("cpu"))
        (32, 256)
    """
    kind = "cpu" if device.type == "cpu" else "other"
    pixels = image_shape[-2] * image_shape[-1]
    return max(1, min(_IMAGES_AT_ONCE[kind], _PIXELS_AT_ONCE[kind] // pixels))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device ran out of memory.

    Args:
        error: Any exception.
    """
    if isinstance(error, torch.OutOfMemoryError) or is_oom_error(error):
        return True
    return isinstance(error, RuntimeError) and "MPS backend out of memory" in single_line(error)


def tiled(
    work: Callable[[slice, slice], None],
    num_images: int,
    num_samples: int,
    *,
    model: nn.Module,
    images: Tensor,
    max_batch: int | None = None,
) -> None:
    """Do the work of ``num_images`` times ``num_samples`` evaluations in tiles that fit into memory.

    A tile is some images times some inner samples of a method (masks, windows, channels, steps). Tiles come in a
    fixed order and cover every pair once. If a tile does not fit, its size is halved and it is done again, so ``work``
    must change nothing before its evaluations have succeeded. The size that fits is remembered for the network; it
    affects the rounding of results only.

    Args:
        work: Called with the slice of images and the slice of samples of each tile.
        num_images: Images of the batch.
        num_samples: Inner samples per image.
        model: The network; the size that fits is remembered as long as it exists.
        images: The images that it gets; they give shape and device.
        max_batch: Most images evaluated at once. ``None`` starts from a sensible number and halves it if memory
            runs out; with a given number, running out of memory is an error.

    Raises:
        InputError: If ``max_batch`` is below 1.

    Example:
        >>> def show(images, samples):
        ...     print(f"images {images.start}:{images.stop}, samples {samples.start}:{samples.stop}")
        >>> tiled(show, 2, 5, model=nn.Identity(), images=torch.zeros(2, 1, 4, 4), max_batch=6)
        images 0:2, samples 0:3
        images 0:2, samples 3:5
    """
    check_max_batch(max_batch)
    key = (tuple(images.shape[1:]), images.dtype, images.device)
    limit = max_batch or _fits.get(model, {}).get(key) or starting_batch(images.shape[1:], images.device)
    pending = [(0, num_images, 0, num_samples)]
    while pending:
        first, last, begin, end = pending.pop()
        rows = min(last - first, limit)
        columns = min(end - begin, limit // rows)
        try:
            work(slice(first, first + rows), slice(begin, begin + columns))
        except RuntimeError as error:
            if max_batch is not None or rows * columns == 1 or not is_out_of_memory(error):
                raise
        else:
            if first + rows < last:
                pending.append((first + rows, last, begin, end))
            if begin + columns < end:
                pending.append((first, first + rows, begin + columns, end))
            continue
        # Outside the handler: the error's frames held the tensors that did not fit.
        limit = rows * columns // 2
        _fits.setdefault(model, {})[key] = limit
        garbage_collection_cuda()
        pending.append((first, last, begin, end))
