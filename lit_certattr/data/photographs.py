"""Photographs that are part of Python packages."""

import torch
from PIL import Image

from lit_certattr.data.images import centre_square, to_pixels
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, PixelArray, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import imagenet_classes
from lit_certattr.settings.extras import extra

# What each shows in ImageNet's words; None where no class of ImageNet names the subject for certain.
_PHOTOGRAPHS = {
    "chelsea": "tiger cat",
    "coffee": "espresso",
    "rocket": None,
    "camera": "tripod",
    "astronaut": None,
    "china": "palace",
    "flower": None,
}


class Photographs(ImageDataModule):
    """Seven photographs from scikit-image and scikit-learn for ImageNet networks: no download.

    They are test images only. Four carry an ImageNet label; the others have none (-1).

    Args:
        size: Height and width in pixels, at least 1.
        crop: Side of the central square that is kept, as a share of the short side (0.875: ImageNet's usual
            preparation).
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.

    Raises:
        InputError: If the size or the share is out of range.
    """

    def __init__(
        self,
        size: int = 224,
        crop: float = 0.875,
        batch_size: int = 8,
        num_workers: int = 0,
        max_images: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, max_images)
        if size < 1 or not 0 < crop <= 1:
            raise InputError(f"size must be at least 1 and crop in (0, 1], got {size} and {crop}")
        self.crop = crop
        self.class_names = imagenet_classes()
        self.num_classes = len(self.class_names)
        self.image_shape = (3, size, size)

    def setup(self, stage: str) -> None:
        """Read and scale the photographs."""
        with extra("demo", "Photographs"):
            import skimage.data  # here, because other runs need not wait for them
            from sklearn.datasets import load_sample_image

        pixels, targets = [], []
        for name, label in _PHOTOGRAPHS.items():
            packaged = hasattr(skimage.data, name)
            array = getattr(skimage.data, name)() if packaged else load_sample_image(f"{name}.jpg")
            picture = Image.fromarray(array).convert("RGB")
            pixels.append(to_pixels(centre_square(picture, self.image_shape[1], self.crop)))
            targets.append(NO_LABEL if label is None else self.class_names.index(label))
        self.test_set = SampleSet(PixelArray(torch.stack(pixels)), targets, list(_PHOTOGRAPHS))
