"""Any classifier of torchvision by name."""

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import VisionTransformer, WeightsEnum
from torchvision.models.vision_transformer import interpolate_embeddings

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint import check_weights_key, load_weights
from lit_certattr.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lit_certattr.models.layers import check_num_classes, keep_inputs, replace_head
from lit_certattr.models.names import suggestion
from lit_certattr.models.normalize import Normalize, channel_statistics

# Their auxiliary classifiers serve training only, and their ported weights expect another scaling.
_INCEPTIONS = ("googlenet", "inception_v3")


class TorchvisionClassifier(nn.Module):
    """A torchvision classifier that takes images in [0, 1].

    Args:
        name: A name of ``torchvision.models.list_models(module=torchvision.models)``, e.g. ``resnet50``.
        weights: ``None`` for random weights, a member of torchvision's enum (``DEFAULT``, ``IMAGENET1K_V1``,
            downloaded once), or the path of a local file; see :func:`~lit_certattr.models.load_weights`.
        num_classes: Number of logits, at least 1. With torchvision's weights, another number than theirs gives a new,
            untrained last layer.
        mean: Channel means of the images in [0, 1]; ``None`` for the values that the weights expect, else ImageNet's.
        std: Channel standard deviations, positive; ``None`` as for ``mean``.
        image_size: Height and width of the images, for networks of a fixed size (``vit_b_16``, ``maxvit_t``); ``None``
            for their own. The position embeddings of torchvision's ViT weights are interpolated; a local file must
            hold weights for exactly that size.
        weights_key: Which set of weights to load, if the file holds several.

    Raises:
        InputError: If the name or the weights do not exist, the weights cannot be loaded or do not fit, or
            ``image_size`` is given for a network that takes images of any size.

    Example:
        >>> network = TorchvisionClassifier("squeezenet1_1", num_classes=7)
        >>> network(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        num_classes: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        image_size: int | None = None,
        weights_key: str | None = None,
    ) -> None:
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise InputError(f"torchvision has no classifier {name!r}; {suggestion(name, known)}")
        check_num_classes(name, num_classes)
        _size_option(name, image_size)
        members = torchvision.models.get_model_weights(name).__members__
        check_weights_key(None if weights in members else weights, weights_key)
        default_mean, default_std = IMAGENET_MEAN, IMAGENET_STD
        if weights in members:
            chosen = members[weights]
            _fetch(name, chosen)
            self.network = torchvision.models.get_model(name, weights=chosen, progress=False)
            if image_size is not None:
                self.network = _resized(name, self.network, image_size)
            self.num_classes = len(chosen.meta["categories"])
            if num_classes is not None and num_classes != self.num_classes:
                replace_head(self.network, self.num_classes, num_classes)
                self.num_classes = num_classes
            preset = chosen.transforms()
            default_mean, default_std = tuple(preset.mean), tuple(preset.std)
            if name in _INCEPTIONS:
                # torchvision rescales inside the network; the same function belongs in our first layer.
                self.network.transform_input = False
                self.network.aux_logits, self.network.AuxLogits = False, None
                default_mean = default_std = (0.5, 0.5, 0.5)
        else:
            self.num_classes = num_classes or 1000
            options = (
                {"aux_logits": False, "init_weights": True} if name in _INCEPTIONS else _size_option(name, image_size)
            )
            self.network = _build(name, num_classes=self.num_classes, **options)
            if weights is not None:
                if not Path(weights).exists():
                    raise InputError(
                        f"weights {weights!r} of {name} are neither a file nor one of {', '.join(members)}"
                    )
                load_weights(self.network, weights, weights_key)
        keep_inputs(self.network)
        self.normalize = Normalize(*channel_statistics(mean, std, (default_mean, default_std), channels=3))
        fixed = (image_size or 224) if name.startswith("maxvit") else getattr(self.network, "image_size", None)
        self.input_size: tuple[int, int, int] | None = None if fixed is None else (3, fixed, fixed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, 3, H, W]`` in [0, 1]."""
        return self.network(self.normalize(images))  # type: ignore[no-any-return]


def _size_option(name: str, image_size: int | None) -> dict[str, object]:
    """The argument of torchvision's builder that sets the size of the images."""
    if image_size is None:
        return {}
    if image_size < 1:
        raise InputError(f"image_size must be at least 1, got {image_size}")
    if name.startswith("vit"):
        return {"image_size": image_size}
    if name.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    raise InputError(f"{name} takes images of any size: leave image_size out")


def _resized(name: str, network: nn.Module, image_size: int) -> nn.Module:
    """The same network for images of another size; what depends on the size is interpolated."""
    other = _build(name, num_classes=1000, **_size_option(name, image_size))
    state = network.state_dict()
    if isinstance(network, VisionTransformer):
        state = interpolate_embeddings(image_size, network.patch_size, OrderedDict(state))
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{name}: its weights fit no other image_size than their own") from error
    return other


def _build(name: str, **options: object) -> nn.Module:
    """A network with random weights."""
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    except Exception as error:  # its builders check with assertions, torch._assert and ValueError
        raise InputError(f"torchvision cannot build {name}: {_first_line(error)}") from error
    return network


def _fetch(name: str, weights: WeightsEnum) -> None:
    """Put the weights into torch's cache, and make sure that the file holds nothing but tensors.

    torchvision's builders read the cached file with a full unpickler; a file that the restricted one accepts
    cannot run code there either.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", maxsplit=1)[-1]
    try:
        weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{file} is not a plain state dict; delete it and download it again") from error
    except (OSError, HTTPException, RuntimeError, EOFError) as error:
        raise InputError(
            f"the weights {weights.name} of {name} cannot be downloaded ({_first_line(error)}); "
            f"fetch {weights.url} on a machine with a network and put it at {file}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
