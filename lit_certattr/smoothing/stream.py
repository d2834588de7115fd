"""The stream of noisy maps: the loop that takes almost all of the time of a certificate."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lit_certattr.smoothing.draw import Explain
from lit_certattr.smoothing.noise import Noise
from lit_certattr.smoothing.normals import normal_stream


def noisy_images(
    image: Tensor,
    noise: Noise,
    *,
    image_id: str,
    num_samples: int,
    batch_size: int,
    seed: int = 0,
    start: int = 0,
    memory_format: torch.memory_format = torch.channels_last,
) -> Iterator[Tensor]:
    """Noisy copies of one image, block by block, in one buffer that is reused.

    Sample ``i`` is a function of ``(seed, image_id, i)`` alone; its bits do not depend on ``batch_size``,
    ``start`` or ``memory_format``. A block is overwritten by the next one.

    Args:
        image: Image ``[C, H, W]`` in [0, 1], on the device where the network is.
        noise: Noise law.
        image_id: Stable id of the image.
        num_samples: Number of samples.
        batch_size: Number of samples per block; the last block may be smaller.
        seed: Seed of the run.
        start: Index of the first sample.
        memory_format: Layout of the blocks; most convolutions are fastest in ``torch.channels_last``.

    Yields:
        Blocks ``[b, C, H, W]``.
    """
    channels, height, width = image.shape
    # Filled as NHWC, contiguous: normal_ on a channels_last view is eight times slower, and gives other values.
    base = torch.empty(min(batch_size, num_samples), channels * height * width, dtype=image.dtype, device=image.device)
    perturb = noise.for_image(image)
    normals = normal_stream(seed, image_id, image.device)
    for first in range(start, start + num_samples, batch_size):
        rows = base[: min(batch_size, start + num_samples - first)]
        perturb(rows, normals, first)
        block = rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        yield block.contiguous(memory_format=memory_format)


def noisy_maps(
    model: nn.Module,
    attribution: Explain,
    noise: Noise,
    image: Tensor,
    target: int,
    *,
    image_id: str,
    num_samples: int,
    batch_size: int,
    seed: int = 0,
    start: int = 0,
    memory_format: torch.memory_format = torch.channels_last,
) -> Iterator[Tensor]:
    """Attribution maps of noisy copies of one image, block by block; memory does not grow with ``num_samples``.

    Args:
        model: Network in eval mode, from images in [0, 1] to logits.
        attribution: The method, called as ``attribution(model, images, targets)``.
        noise: Noise law.
        image: Image ``[C, H, W]``.
        target: Class to explain, the same for all samples.
        image_id: Stable id of the image; with ``seed`` it fixes the noise.
        num_samples: Number of samples.
        batch_size: Number of samples evaluated at once.
        seed: Seed of the run.
        start: Index of the first sample.
        memory_format: Layout of the noisy images.

    Yields:
        Maps ``[b, H, W]``, detached.
    """
    blocks = noisy_images(
        image,
        noise,
        image_id=image_id,
        num_samples=num_samples,
        batch_size=batch_size,
        seed=seed,
        start=start,
        memory_format=memory_format,
    )
    targets = torch.full((batch_size,), target, device=image.device)
    for block in blocks:
        yield attribution(model, block, targets[: len(block)]).detach()
