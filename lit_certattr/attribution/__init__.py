"""Attribution methods: networks and images to maps."""

from lit_certattr.attribution.base import Attribution, eval_mode, frozen, input_gradient
from lit_certattr.attribution.gradient import Gradient, InputXGradient
from lit_certattr.attribution.integrated_gradients import IntegratedGradients
from lit_certattr.attribution.layers import LayerAttribution, LayerPass, layer_gradient, layer_pass
from lit_certattr.attribution.max_logit import MaxLogitGradient

__all__ = [
    "Attribution",
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "LayerAttribution",
    "LayerPass",
    "MaxLogitGradient",
    "eval_mode",
    "frozen",
    "input_gradient",
    "layer_gradient",
    "layer_pass",
]
