"""Checks before anything is sampled or written: of images, network, attribution method and classes.

Certificates are about one fixed function of one image. With a few passes, these checks find faults that would make a
run fail later, or give results without meaning: an image of the wrong kind, a network that changes its input, is
random, or mixes the images of a batch, a map that is not finite, labels that do not belong to the logits.
"""

from lit_certattr.preflight.classes import accuracy_warning, match_classes
from lit_certattr.preflight.compiled import check_compiled, check_not_compiled
from lit_certattr.preflight.denoiser import FEW_IMAGES, denoiser_warning
from lit_certattr.preflight.function import (
    CHECKS,
    Findings,
    among,
    check_function,
    check_predictions,
    check_shape,
    explain,
)
from lit_certattr.preflight.inputs import check_classes, check_images, check_one_image, check_targets
from lit_certattr.preflight.network import check_logits, check_network, failures, logits_of, one_line
from lit_certattr.preflight.score import check_score_function
from lit_certattr.preflight.watch import Watch

__all__ = [
    "CHECKS",
    "FEW_IMAGES",
    "Findings",
    "Watch",
    "accuracy_warning",
    "among",
    "check_classes",
    "check_compiled",
    "check_function",
    "check_images",
    "check_logits",
    "check_network",
    "check_not_compiled",
    "check_one_image",
    "check_predictions",
    "check_score_function",
    "check_shape",
    "check_targets",
    "denoiser_warning",
    "explain",
    "failures",
    "logits_of",
    "match_classes",
    "one_line",
]
