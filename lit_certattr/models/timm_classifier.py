"""Any model of timm by name."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint import load_weights
from lit_certattr.models.layers import keep_inputs
from lit_certattr.models.names import suggestion
from lit_certattr.models.normalize import Normalize


class TimmClassifier(nn.Module):
    """A timm model that takes images in [0, 1].

    Args:
        name: A name of ``timm.list_models()``, optionally with a tag of weights: ``resnet50.a1_in1k``.
        pretrained: Download timm's weights (once; they need a network or timm's cache).
        weights: The path of a local file instead.
        num_classes: Number of logits; ``None`` takes the model's own. With ``pretrained`` another number
            gives a new, untrained last layer.
        mean: Channel means of the images in [0, 1]; ``None`` takes what timm's weights expect.
        std: Channel standard deviations, likewise.

    Raises:
        InputError: If the name does not exist, or the weights cannot be had or do not fit.

    Example:
        >>> import torch
        >>> TimmClassifier("resnet10t", num_classes=5)(torch.rand(1, 3, 64, 64)).shape
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
    ) -> None:
        super().__init__()
        import timm  # here, because it takes a second that other runs need not wait

        architecture = name.partition(".")[0]
        # Only names that timm itself defines: it would also take addresses of hubs and folders.
        if not timm.is_model(architecture):
            raise InputError(f"timm has no model {name!r}; {suggestion(architecture, timm.list_models())}")
        if pretrained and weights is not None:
            raise InputError(f"{name}: give either pretrained=true or a weights file, not both")
        options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
        try:
            network: Any = timm.create_model(name, pretrained=pretrained, **options)
        except Exception as error:  # timm and its hub raise what their transport raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if not pretrained:
                raise InputError(f"timm cannot build {name!r}: {reason}") from error
            raise InputError(
                f"the weights of {name} cannot be had ({reason}); "
                "on a machine without a network give weights=PATH of a local file"
            ) from error
        if weights is not None:
            load_weights(network, weights)
        keep_inputs(network)
        config = network.pretrained_cfg
        self.network: nn.Module = network
        self.num_classes = int(network.num_classes)
        self.input_size: tuple[int, int, int] | None = None
        if config.get("fixed_input_size", False):
            channels, height, width = config["input_size"]
            self.input_size = (channels, height, width)
        self.normalize = Normalize(mean or config["mean"], std or config["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        return self.network(self.normalize(images))  # type: ignore[no-any-return]
