"""Rules that divide an image into regions: a grid, superpixels, a segmentation of the clean image, the user's masks."""

from lit_certattr.partitions import Regions
from lit_certattr.regions.grid import Grid
from lit_certattr.regions.mask_file import MaskFile
from lit_certattr.regions.mask_folder import MaskFolder
from lit_certattr.regions.segmenter import Segmenter
from lit_certattr.regions.superpixels import Felzenszwalb, Superpixels

__all__ = ["Felzenszwalb", "Grid", "MaskFile", "MaskFolder", "Regions", "Segmenter", "Superpixels"]
