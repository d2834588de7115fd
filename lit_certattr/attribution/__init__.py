"""Attribution methods: networks and images to maps."""

from lit_certattr.attribution.ablation_cam import AblationCAM
from lit_certattr.attribution.any_method import as_method
from lit_certattr.attribution.base import Attribution, input_gradient, score_of
from lit_certattr.attribution.cam import CAM
from lit_certattr.attribution.captum_attribution import CaptumAttribution
from lit_certattr.attribution.function import FunctionAttribution
from lit_certattr.attribution.grad_cam import GradCAM
from lit_certattr.attribution.grad_cam_plus_plus import GradCAMPlusPlus
from lit_certattr.attribution.gradient import Gradient, InputXGradient
from lit_certattr.attribution.guided_backprop import GuidedBackprop
from lit_certattr.attribution.integrated_gradients import IntegratedGradients
from lit_certattr.attribution.layer_cam import LayerCAM
from lit_certattr.attribution.layers import ActivationMap, LayerAttribution, LayerPass, layer_gradient, layer_pass
from lit_certattr.attribution.lime import LIME
from lit_certattr.attribution.lrp import LRP
from lit_certattr.attribution.max_logit import MaxLogitGradient
from lit_certattr.attribution.moreau import MoreauGrad
from lit_certattr.attribution.occlusion import Occlusion
from lit_certattr.attribution.probability import ProbabilityGradient
from lit_certattr.attribution.region_map import RegionMap
from lit_certattr.attribution.rise import RISE
from lit_certattr.attribution.score_cam import ScoreCAM
from lit_certattr.attribution.smooth_grad import SmoothGrad
from lit_certattr.models.modes import eval_mode, frozen

__all__ = [
    "CAM",
    "LIME",
    "LRP",
    "RISE",
    "AblationCAM",
    "ActivationMap",
    "Attribution",
    "CaptumAttribution",
    "FunctionAttribution",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "LayerAttribution",
    "LayerCAM",
    "LayerPass",
    "MaxLogitGradient",
    "MoreauGrad",
    "Occlusion",
    "ProbabilityGradient",
    "RegionMap",
    "ScoreCAM",
    "SmoothGrad",
    "as_method",
    "eval_mode",
    "frozen",
    "input_gradient",
    "layer_gradient",
    "layer_pass",
    "score_of",
]
