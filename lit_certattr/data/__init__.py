"""Lightning data modules: images in [0, 1], labels, and ids that never change."""

from lit_certattr.data.mnist5k import MNIST5k
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, ImageError, Images, PixelArray, Sample, SampleSet, collate
from lit_certattr.data.split import balanced_order

__all__ = [
    "NO_LABEL",
    "ImageDataModule",
    "ImageError",
    "Images",
    "MNIST5k",
    "PixelArray",
    "Sample",
    "SampleSet",
    "balanced_order",
    "collate",
]
