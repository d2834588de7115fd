"""Noise laws, sparsifiers and the stream of noisy maps."""

from lit_certattr.smoothing.affine import AffineNoise
from lit_certattr.smoothing.block import MapBlock, MapKind
from lit_certattr.smoothing.blur import BlurNoise
from lit_certattr.smoothing.discrete import DiscreteGaussianNoise, alpha_slack
from lit_certattr.smoothing.draw import Draw
from lit_certattr.smoothing.exposure import ExposureNoise
from lit_certattr.smoothing.gamma import GammaNoise
from lit_certattr.smoothing.generalised_normal import GeneralisedNormalNoise
from lit_certattr.smoothing.levels import uniform_levels
from lit_certattr.smoothing.logits import LogitsRecord, class_votes, note_logits
from lit_certattr.smoothing.noise import GaussianNoise, Noise, Perturb, UniformBallNoise
from lit_certattr.smoothing.normals import NormalStream, content_id, normal_stream
from lit_certattr.smoothing.nuisance import NuisanceNoise
from lit_certattr.smoothing.patch_mask import PatchMaskNoise
from lit_certattr.smoothing.region_mask import RegionMaskNoise
from lit_certattr.smoothing.sparsify import (
    peaks,
    quadratic_map,
    relaxed_top_k,
    scaled_map,
    top_k_mask,
    top_k_size,
)
from lit_certattr.smoothing.stream import noisy_images, noisy_maps
from lit_certattr.smoothing.transform import TransformNoise
from lit_certattr.smoothing.written import noise_law

GAUSSIAN_LAWS = (GaussianNoise, DiscreteGaussianNoise, NuisanceNoise, ExposureNoise, GammaNoise)
"""Laws under which a change of the image moves a vote like a shift of Gaussian noise: the lemma of Neyman and Pearson
for Gaussian noise holds with the lengths of their budget."""

VOTE_LAWS = (*GAUSSIAN_LAWS, AffineNoise, BlurNoise, PatchMaskNoise, RegionMaskNoise)
"""Laws for which it is known how far a change can move a vote."""

__all__ = [
    "GAUSSIAN_LAWS",
    "VOTE_LAWS",
    "AffineNoise",
    "BlurNoise",
    "DiscreteGaussianNoise",
    "Draw",
    "ExposureNoise",
    "GammaNoise",
    "GaussianNoise",
    "GeneralisedNormalNoise",
    "LogitsRecord",
    "MapBlock",
    "MapKind",
    "Noise",
    "NormalStream",
    "NuisanceNoise",
    "PatchMaskNoise",
    "Perturb",
    "RegionMaskNoise",
    "TransformNoise",
    "UniformBallNoise",
    "alpha_slack",
    "class_votes",
    "content_id",
    "noise_law",
    "noisy_images",
    "noisy_maps",
    "normal_stream",
    "note_logits",
    "peaks",
    "quadratic_map",
    "relaxed_top_k",
    "scaled_map",
    "top_k_mask",
    "top_k_size",
    "uniform_levels",
]
