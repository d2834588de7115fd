"""Noise laws, sparsifiers and the stream of noisy maps."""

from lit_certattr.smoothing.block import MapBlock, MapKind
from lit_certattr.smoothing.discrete import DiscreteGaussianNoise, alpha_slack
from lit_certattr.smoothing.draw import Draw
from lit_certattr.smoothing.generalised_normal import GeneralisedNormalNoise
from lit_certattr.smoothing.levels import uniform_levels
from lit_certattr.smoothing.logits import LogitsRecord, class_votes, note_logits
from lit_certattr.smoothing.noise import GaussianNoise, Noise, UniformBallNoise
from lit_certattr.smoothing.normals import NormalStream, content_id, normal_stream
from lit_certattr.smoothing.sparsify import (
    quadratic_map,
    relaxed_top_k,
    scaled_map,
    top_k_mask,
    top_k_size,
)
from lit_certattr.smoothing.stream import noisy_images, noisy_maps

__all__ = [
    "DiscreteGaussianNoise",
    "Draw",
    "GaussianNoise",
    "GeneralisedNormalNoise",
    "LogitsRecord",
    "MapBlock",
    "MapKind",
    "Noise",
    "NormalStream",
    "UniformBallNoise",
    "alpha_slack",
    "class_votes",
    "content_id",
    "noisy_images",
    "noisy_maps",
    "normal_stream",
    "note_logits",
    "quadratic_map",
    "relaxed_top_k",
    "scaled_map",
    "top_k_mask",
    "top_k_size",
    "uniform_levels",
]
