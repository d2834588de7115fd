"""Attribution methods: networks and images to maps."""

from lit_certattr.attribution.base import Attribution, frozen, input_gradient
from lit_certattr.attribution.gradient import Gradient, InputXGradient
from lit_certattr.attribution.integrated_gradients import IntegratedGradients
from lit_certattr.attribution.max_logit import MaxLogitGradient

__all__ = [
    "Attribution",
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "MaxLogitGradient",
    "frozen",
    "input_gradient",
]
