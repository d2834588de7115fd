"""Base class of modules that work on images in the predict step of the Trainer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from lightning import LightningModule
from torch import Tensor, nn

from lit_certattr.models.modes import put_in_eval_mode


class ImageModule(LightningModule, ABC):
    """Base of modules whose predict step works on images one by one, skips those that are done, and reports progress.

    Args:
        network: Network from images in [0, 1] to logits; it is frozen and set to eval mode.
        skip_ids: Ids of images that are done already.

    Attributes:
        skip_ids: Ids of images that are skipped; may be replaced before a run.
        on_block: Called with the number of samples of each finished block, for a progress bar; ``None`` at first.
        together: Whether all processes work on each image together; otherwise each has images of its own.
    """

    doing: ClassVar[str]
    """Verb for the progress bar: ``"certifying"``."""
    done: ClassVar[str]
    """The past participle of it: ``"certified"``."""
    blocks_to_forecast: ClassVar[int] = 2
    """Number of blocks after which the time left can be estimated; the first block includes the start-up time.
    With 0 nothing is estimated."""

    def __init__(self, network: nn.Module, skip_ids: Collection[str] = ()) -> None:
        super().__init__()
        put_in_eval_mode(network)
        for parameter in network.parameters():  # network.requires_grad_ does not exist for scripted networks
            parameter.requires_grad_(False)
        self.network = network
        self.skip_ids = frozenset(skip_ids)
        self.on_block: Callable[[int], None] | None = None
        self.together = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        logits: Tensor = self.network(images)
        return logits

    @property
    @abstractmethod
    def samples_per_image(self) -> int:
        """Samples per image; the upper limit if :attr:`may_stop_early`."""

    @property
    def may_stop_early(self) -> bool:
        """Whether sampling may stop before :attr:`samples_per_image`."""
        return False

    def samples_of(self, outcome: Any) -> int:
        """Number of samples that were drawn for an image.

        Args:
            outcome: What the predict step returned for the image, without its id.
        """
        return self.samples_per_image
