"""Lightning data modules: images in [0, 1], labels, and ids that never change."""

from lit_certattr.data.class_map import ClassMap
from lit_certattr.data.digits import Digits
from lit_certattr.data.from_datasets import FromDatasets
from lit_certattr.data.from_lightning import FromLightning, as_image_data
from lit_certattr.data.grids import GridMosaics
from lit_certattr.data.ids import safe_id
from lit_certattr.data.image_folder import ImageFolder
from lit_certattr.data.images import ImageFiles
from lit_certattr.data.mnist5k import MNIST5k
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.patches import ImagePatches
from lit_certattr.data.photographs import Photographs
from lit_certattr.data.predicted_labels import PredictedLabels
from lit_certattr.data.sample import NO_LABEL, ImageError, Images, PixelArray, Sample, SampleSet, collate
from lit_certattr.data.split import balanced_order
from lit_certattr.data.torchvision_data import TorchvisionData

__all__ = [
    "NO_LABEL",
    "ClassMap",
    "Digits",
    "FromDatasets",
    "FromLightning",
    "GridMosaics",
    "ImageDataModule",
    "ImageError",
    "ImageFiles",
    "ImageFolder",
    "ImagePatches",
    "Images",
    "MNIST5k",
    "Photographs",
    "PixelArray",
    "PredictedLabels",
    "Sample",
    "SampleSet",
    "TorchvisionData",
    "as_image_data",
    "balanced_order",
    "collate",
    "safe_id",
]
