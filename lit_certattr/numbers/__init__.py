"""Numbers of a map: what a claim can be about. Each is a settings object that gives one number for each map."""

from lit_certattr.numbers.base import Number
from lit_certattr.numbers.box import Box
from lit_certattr.numbers.centre_of_mass import CentreOfMass
from lit_certattr.numbers.energy_inside import EnergyInside
from lit_certattr.numbers.entropy import Entropy
from lit_certattr.numbers.function import FunctionNumber
from lit_certattr.numbers.gini import Gini
from lit_certattr.numbers.grid_share import Cell, GridShare
from lit_certattr.numbers.lens_to import LENSTo
from lit_certattr.numbers.mask import ImageMask, Mask
from lit_certattr.numbers.more_than import MoreThan
from lit_certattr.numbers.overlap_with import OverlapWith
from lit_certattr.numbers.pointing_game import PointingGame
from lit_certattr.numbers.region_mask import RegionMask
from lit_certattr.numbers.top_k_inside import TopKInside

__all__ = [
    "Box",
    "Cell",
    "CentreOfMass",
    "EnergyInside",
    "Entropy",
    "FunctionNumber",
    "Gini",
    "GridShare",
    "ImageMask",
    "LENSTo",
    "Mask",
    "MoreThan",
    "Number",
    "OverlapWith",
    "PointingGame",
    "RegionMask",
    "TopKInside",
]
