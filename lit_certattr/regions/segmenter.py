"""Regions of a segmentation network."""

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.models import load_network, network_hash, pixel_scores, structure_hash
from lit_certattr.models.modes import frozen
from lit_certattr.partitions import Regions

_IDENTITY = re.compile(r"\w+; structure [0-9a-f]{64}; weights [0-9a-f]{64}")


class Segmenter(Regions):
    """The classes that a segmentation network sees in the *clean* image, a region each.

    A pixel belongs to the class with the largest score. Scores of a lower resolution than the image are interpolated.
    A record holds structure and weights of the network as hashes; a changed network is another partition.

    Args:
        network: From images ``[B, C, H, W]`` in [0, 1] to scores ``[B, classes, h, w]``, or to a mapping that holds
            them as ``"out"``, as torchvision's networks do. A string is the path of a checkpoint of ``train.py fit``.
            The mode and flags of the network stay unchanged.

    Raises:
        InputError: If it is no network; when called, if it gives no scores, or NaN.

    Example:
        >>> network = nn.Conv2d(1, 2, 1)
        >>> _ = network.weight.data.copy_(torch.tensor([[[[0.0]]], [[[1.0]]]]))
        >>> _ = network.bias.data.copy_(torch.tensor([0.5, 0.0]))
        >>> Segmenter(network)(torch.tensor([[[0.2, 0.9, 0.7]]]), "three pixels").tolist()
        [[0, 1, 1]]
    """

    unrecorded = frozenset({"network"})  # a record has its hashes

    def __init__(self, network: nn.Module | str) -> None:
        self._network: nn.Module | None = None
        if isinstance(network, str) and is_identity(network):
            self.network = network
            return
        self._network = load_network(network) if isinstance(network, str) else network
        if not isinstance(self._network, nn.Module):
            raise InputError(f"network must be a torch.nn.Module or the path of a checkpoint, got {network!r:.80}")
        name = type(self._network).__name__
        self.network = f"{name}; structure {structure_hash(self._network)}; weights {network_hash(self._network)}"

    @override
    def init_args(self) -> dict[str, Any]:
        """The network itself, or its hashes where only these are known."""
        return {"network": self.network if self._network is None else self._network}

    @override
    def settings(self) -> dict[str, Any]:
        """The hashes of the network, which is too large for a record."""
        return {"network": self.network}

    @override
    def __repr__(self) -> str:
        return f"Segmenter(network={self.network!r})"

    @override
    def in_words(self) -> str:
        return f"the segmentation network {self.network.partition(';')[0]}"

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        return self.numbered(image, image_id)[0]

    @override
    def numbered(self, image: Tensor, image_id: str) -> tuple[Tensor, list[int]]:
        """The regions with their classes, the indices of the network's scores."""
        if self._network is None:
            raise InputError(f"only the hashes of the network are known here ({self.network}): give the network itself")
        place = next(self._network.parameters(), image)
        with torch.inference_mode(False), torch.no_grad(), frozen(self._network):
            try:
                scores = pixel_scores(self._network, image.detach().clone()[None].to(place.device, place.dtype))
            except InputError as error:
                raise InputError(f"image {image_id}: {error}") from None
        if bool(torch.isnan(scores).any()):
            raise InputError(f"image {image_id}: the segmentation network gives NaN")
        classes, labels = np.unique(scores[0].argmax(0).cpu().numpy(), return_inverse=True)
        return torch.from_numpy(labels.reshape(tuple(image.shape[-2:])).astype(np.int64)), classes.tolist()


def is_identity(text: object) -> bool:
    """Whether a text is what a record holds of the network of a :class:`Segmenter`.

    Args:
        text: Any setting.

    Example:
        >>> is_identity("runs/segmenter/best.ckpt")
        False
    """
    return isinstance(text, str) and _IDENTITY.fullmatch(text) is not None
