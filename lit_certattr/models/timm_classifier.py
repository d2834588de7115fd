"""Any model of timm by name."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint import check_weights_key, load_weights
from lit_certattr.models.layers import check_num_classes, keep_inputs
from lit_certattr.models.names import suggestion
from lit_certattr.models.normalize import Normalize, channel_statistics
from lit_certattr.settings.extras import extra


class TimmClassifier(nn.Module):
    """A timm model that takes images in [0, 1].

    Args:
        name: A name of ``timm.list_models()``, optionally with a tag of weights: ``resnet50.a1_in1k``.
        pretrained: Download timm's weights (once; needs internet access or timm's cache).
        weights: Path of a local file of weights instead; see :func:`~lit_certattr.models.load_weights`.
        num_classes: Number of logits, at least 1; ``None`` for the model's own. With ``pretrained``, another number
            gives a new, untrained last layer.
        mean: Channel means of the images in [0, 1]; ``None`` for the values that timm's weights expect. With another
            number of channels these are not known, and images are not normalised.
        std: Channel standard deviations, positive; ``None`` as for ``mean``.
        in_chans: Channels of the images; ``None`` for the model's own, 3. With ``pretrained`` timm sums or repeats
            the weights of the first layer.
        img_size: Height and width of the images, or one number for both, for models of a fixed size (ViT, Swin);
            ``None`` for the model's own. With ``pretrained``, timm interpolates the position embeddings.
        weights_key: Which set of weights to load, if the file holds several.

    Raises:
        InputError: If the name does not exist, the weights cannot be loaded or do not fit, or the model has no
            classifier.

    Example:
        >>> import torch
        >>> TimmClassifier("resnet10t", num_classes=5, in_chans=1)(torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 5])
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | None = None,
        num_classes: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        in_chans: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        weights_key: str | None = None,
    ) -> None:
        super().__init__()
        with extra("timm", "TimmClassifier"):
            import timm  # here, because it takes a second that other runs need not wait

        architecture = name.partition(".")[0]
        # Only names that timm itself defines: it would also take addresses of hubs and folders.
        if not timm.is_model(architecture):
            raise InputError(f"timm has no model {name!r}; {suggestion(architecture, timm.list_models())}")
        if pretrained and weights is not None:
            raise InputError(f"{name}: give either pretrained=true or a weights file, not both")
        check_num_classes(name, num_classes)
        check_weights_key(weights, weights_key)
        for option, value in (("in_chans", in_chans), ("img_size", img_size)):
            if value is not None and min(value if isinstance(value, Sequence) else [value]) < 1:
                raise InputError(f"{name}: {option} must be at least 1, got {value}")
        size = (img_size, img_size) if isinstance(img_size, int) else img_size
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans, "img_size": size}
        options = {option: value for option, value in options.items() if value is not None}
        try:
            network: Any = timm.create_model(name, pretrained=pretrained, **options)
        except Exception as error:  # timm and its hub raise what their transport raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            unknown = next((option for option in options if f"'{option}'" in reason), None)
            if isinstance(error, TypeError) and unknown is not None:
                advice = "it takes images of any size" if unknown == "img_size" else "its own is fixed"
                raise InputError(f"{name} has no setting {unknown}: leave it out, {advice}") from error
            if not pretrained:
                raise InputError(f"timm cannot build {name!r}: {reason}") from error
            raise InputError(
                f"the weights of {name} cannot be downloaded ({reason}); "
                "on a machine without a network give weights=PATH of a local file"
            ) from error
        if network.num_classes < 1:
            raise InputError(f"timm's {name} has no classifier, so it gives no logits: set num_classes")
        if weights is not None:
            load_weights(network, weights, weights_key)
        keep_inputs(network)
        config = network.pretrained_cfg
        channels, height, width = config["input_size"]
        self.network: nn.Module = network
        self.num_classes = int(network.num_classes)
        self.input_size: tuple[int, int, int] | None = None
        if size is not None or config.get("fixed_input_size", False):
            self.input_size = (in_chans or channels, *(size or (height, width)))
        default_mean, default_std = config["mean"], config["std"]
        if (in_chans or channels) != channels:
            default_mean, default_std = (0.0,), (1.0,)
            if mean is None and (pretrained or weights is not None):
                warnings.warn(
                    f"{name}: no normalisation is known for {in_chans} channels, so images in [0, 1] are not "
                    "normalised; give mean and std, one number for each channel",
                    UserWarning,
                    stacklevel=2,
                )
        self.normalize = Normalize(*channel_statistics(mean, std, (default_mean, default_std), in_chans or channels))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        return self.network(self.normalize(images))  # type: ignore[no-any-return]
