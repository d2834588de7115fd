"""Very small real images: 8x8 digits."""

import numpy as np
import torch

from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import PixelArray, SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.settings.extras import extra


class Digits(ImageDataModule):
    """The 1,797 handwritten digits of scikit-learn, 8x8 pixels: no download, trained in seconds.

    Fixed class-balanced split: 1,257 to train, 180 to validate, 360 to test. The id ``digits-0042`` gives
    the digit's index in scikit-learn's file.

    Args:
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.

    Reference: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """

    def __init__(self, batch_size: int = 64, num_workers: int = 0, max_images: int | None = None) -> None:
        super().__init__(batch_size, num_workers, max_images)
        self.num_classes = 10
        self.class_names = [str(digit) for digit in range(10)]
        self.image_shape = (1, 8, 8)

    def setup(self, stage: str) -> None:
        """Read the digits and split them; every stage gets the same split."""
        with extra("demo", "Digits"):
            from sklearn.datasets import load_digits  # here, because other runs need not wait for it

        pixels, labels = load_digits(return_X_y=True)
        images = PixelArray(torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 8, 8), maximum=16)
        samples = SampleSet(images, labels.tolist(), [f"digits-{place:04d}" for place in range(len(labels))])
        order = balanced_order(samples.targets)
        self.test_set = samples.subset(order[:360])
        self.val_set = samples.subset(order[360:540])
        self.train_set = samples.subset(order[540:])
