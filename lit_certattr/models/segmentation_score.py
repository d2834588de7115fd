"""A segmentation network as a classifier: the mean logit of each class inside a region."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_certattr.errors import InputError
from lit_certattr.models.modes import frozen
from lit_certattr.settings import instance


class SegmentationScore(nn.Module):
    r"""A segmentation network as a classifier: the mean logit of each class inside a fixed region.

    With region R, the logit of class c is :math:`\frac{1}{|R|} \sum_{p \in R} s_c(x)_p`, of the scores :math:`s(x)` of
    the pixels. So a map explains why the network sees a class *there*, and the predicted class is the one with
    the largest mean score in the region.

    The region is a constant of the function that is certified. :meth:`predicted` chooses it by the clean image, once,
    before anything is sampled: for a noisy or perturbed image it stays what it was, so certificates hold as they are.
    Such a network belongs to its image; make one for each image.

    Args:
        network: From images ``[B, C, H, W]`` in [0, 1] to scores ``[B, classes, h, w]``, or to a mapping that holds
            them as ``"out"``, as torchvision's networks do. Scores of a lower resolution are interpolated.
        region: The pixels of the region, boolean ``[H, W]``: a tensor, or nested lists.

    Raises:
        InputError: If the region is no mask or is empty; when called, if the images are not of its size, or the network
            gives no scores.

    Example:
        >>> network = nn.Conv2d(1, 2, 1)
        >>> classifier = SegmentationScore(network, [[True, True], [False, False]])
        >>> images = torch.rand(3, 1, 2, 2)
        >>> torch.allclose(classifier(images), network(images)[:, :, 0].mean(2))
        True

    Reference: Vinogradova, Dibrov and Myers, "Towards interpretable semantic segmentation via gradient-weighted class
    activation mapping", AAAI 2020 (there the sum over the region).
    """

    region: Tensor

    def __init__(self, network: nn.Module, region: Tensor | Sequence[Sequence[bool]]) -> None:
        super().__init__()
        instance("network", network, nn.Module, "deeplabv3_resnet50()")
        mask = torch.as_tensor(region).clone()  # later changes of the caller's mask change nothing here
        if mask.dtype != torch.bool or mask.ndim != 2:
            raise InputError(
                f"region must be a boolean mask [H, W], got {mask.dtype} {list(mask.shape)}: e.g. mask > 0"
            )
        if not bool(mask.any()):
            raise InputError("region holds no pixel: give a mask with at least one")
        self.network = network
        self.register_buffer("region", mask)

    @classmethod
    def predicted(cls, network: nn.Module, image: Tensor, target: int) -> Self:
        """The score in the region that the network predicts as a class in one clean image.

        Args:
            network: The segmentation network; its mode and flags stay unchanged.
            image: The clean image ``[C, H, W]`` in [0, 1].
            target: The class.

        Raises:
            InputError: If the network gives no scores, or predicts the class for no pixel.
        """
        weight = next(network.parameters(), image)
        with torch.inference_mode(False), torch.no_grad(), frozen(network):
            scores = pixel_scores(network, image.detach().clone()[None].to(weight.device, weight.dtype))[0]
        region = scores.argmax(0) == target
        if not bool(region.any()):
            seen = ", ".join(map(str, scores.argmax(0).unique().tolist()[:8]))
            raise InputError(f"{type(network).__name__} predicts class {target} for no pixel; it predicts {seen}")
        return cls(network, region)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]``: mean scores inside the region, of images ``[B, C, H, W]``.

        Raises:
            InputError: If the images are not of the size of the region, or the network gives no scores.
        """
        if images.shape[-2:] != self.region.shape:
            raise InputError(
                f"the region has {list(self.region.shape)} pixels, the images have {list(images.shape[-2:])}: give a "
                "mask of the size of the images"
            )
        return pixel_scores(self.network, images)[:, :, self.region].mean(2)

    def extra_repr(self) -> str:
        """Show the size of the region when the network is printed."""
        return f"region of {int(self.region.sum())} pixels"


def pixel_scores(network: nn.Module, images: Tensor) -> Tensor:
    """Scores of a segmentation network for every pixel of its input, ``[B, classes, H, W]``.

    Args:
        network: See :class:`SegmentationScore`.
        images: Images ``[B, C, H, W]``.

    Raises:
        InputError: If the network gives no scores.
    """
    output: Any = network(images)
    scores = output.get("out") if isinstance(output, Mapping) else output
    if not isinstance(scores, Tensor) or scores.ndim != 4 or len(scores) != len(images):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            f"the segmentation network must give scores [{len(images)}, classes, h, w], got {got}: wrap it in a module "
            "that returns them alone"
        )
    size = tuple(images.shape[-2:])
    if scores.shape[-2:] == size:
        return scores
    wide = scores if scores.dtype == torch.float64 else scores.float()
    return F.interpolate(wide, size=size, mode="bilinear", align_corners=False)
