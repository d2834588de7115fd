"""Random levels: they turn maps in [0, 1] into masks that can be counted, with the same mean."""

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
    map, and exact binomial bounds hold (Bernoulli dithering). One level serves all pixels of a sample: bounds for
    single pixels hold under any dependence between pixels, and pixels of similar value then get similar counts.

    Levels are rounded down to float32, so that a comparison with a float32 map gives the same result as the unrounded
    level.
    Level ``i`` is a function of ``(seed, image_id, i)`` alone, has the same bits on every machine and device, and is
    independent of the noise of the same sample, which is drawn with another key.

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
