"""Random levels: they turn maps in [0, 1] into masks that can be counted, without moving a mean."""

import numpy as np
import torch
from torch import Tensor

from lit_certattr.smoothing.normals import image_key

GENERATOR = "philox4x64, one level a sample"
"""Name of the generator of the levels, recorded with certificates that use them."""


def uniform_levels(seed: int, image_id: str, start: int, count: int) -> Tensor:
    r"""Levels of samples ``start .. start + count - 1``, i.i.d. uniform on [0, 1).

    For a map :math:`f` in [0, 1] and a uniform level :math:`U`, the mask :math:`1\{f > U\}` has mean :math:`f` at
    every pixel. Over independent samples the count of a pixel is therefore binomial with the mean of the smoothed
    map, and exact binomial bounds hold (Bernoulli dithering). One level serves all pixels of a sample: bounds of
    single pixels do not ask how pixels depend on each other, and pixels of similar value then rise and fall
    together.

    Levels are rounded down to float32, so that comparing with a float32 map gives what the unrounded level gives.
    Level ``i`` is a function of ``(seed, image_id, i)`` alone, the same bits on every machine and device, and
    independent of the noise of the same sample, whose key differs.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        start: Index of the first sample.
        count: Number of levels.

    Returns:
        Float32 ``[count]``, on the CPU.

    Example:
        >>> both = uniform_levels(0, "cat", 5, 2)
        >>> bool(both[1] == uniform_levels(0, "cat", 6, 1)[0]), bool(both[0] == both[1])
        (True, False)
    """
    philox = np.random.Philox(key=image_key(seed, f"{image_id}\x00levels"))
    philox.advance(start)
    words = philox.random_raw(4 * count)[::4]  # four words a counter
    exact = (words >> np.uint64(11)) * 2.0**-53
    single = exact.astype(np.float32)
    return torch.from_numpy(np.where(single > exact, np.nextafter(single, np.float32(0)), single))
