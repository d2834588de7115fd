"""Networks that take images in [0, 1] and give logits, and the safe loading of their weights."""

from lit_certattr.models.binary_head import BinaryHead
from lit_certattr.models.checkpoint import load_network, load_state_dict, load_weights, network_hash, tensor_digests
from lit_certattr.models.cifar_resnet import CifarResNet
from lit_certattr.models.denoised import Denoised, explained_part, without_denoiser
from lit_certattr.models.denoiser_adapter import DenoiserAdapter
from lit_certattr.models.efficientnet_lite import EfficientNetLite0
from lit_certattr.models.final_layer import FinalLayer, final_layer
from lit_certattr.models.fold import fold_batch_norm
from lit_certattr.models.huggingface_classifier import HuggingFaceClassifier
from lit_certattr.models.identity import probe, same_answers, structure_hash
from lit_certattr.models.imagenet import IMAGENET_MEAN, IMAGENET_STD, imagenet_classes
from lit_certattr.models.normalize import Normalize, Normalized
from lit_certattr.models.segmentation_score import SegmentationScore, pixel_scores
from lit_certattr.models.small_cnn import SmallCNN
from lit_certattr.models.smooth import SmoothActivations
from lit_certattr.models.timm_classifier import TimmClassifier
from lit_certattr.models.torchvision_classifier import TorchvisionClassifier
from lit_certattr.models.unet import UNetDenoiser

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "BinaryHead",
    "CifarResNet",
    "Denoised",
    "DenoiserAdapter",
    "EfficientNetLite0",
    "FinalLayer",
    "HuggingFaceClassifier",
    "Normalize",
    "Normalized",
    "SegmentationScore",
    "SmallCNN",
    "SmoothActivations",
    "TimmClassifier",
    "TorchvisionClassifier",
    "UNetDenoiser",
    "explained_part",
    "final_layer",
    "fold_batch_norm",
    "imagenet_classes",
    "load_network",
    "load_state_dict",
    "load_weights",
    "network_hash",
    "pixel_scores",
    "probe",
    "same_answers",
    "structure_hash",
    "tensor_digests",
    "without_denoiser",
]
