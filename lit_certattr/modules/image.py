"""What the modules have in common that spend minutes on one image, as the Trainer's predict step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from lightning import LightningModule
from torch import Tensor, nn


class ImageModule(LightningModule, ABC):
    """A predict step that works through images one by one, may skip some, and says how far it is.

    Args:
        network: Network from images in [0, 1] to logits; it is frozen and in evaluation mode here.
        skip_ids: Ids of images that are done already.

    Attributes:
        skip_ids: May be replaced before a run.
        on_block: Called with the number of samples of each finished block, for a progress bar; ``None`` at first.
    """

    doing: ClassVar[str]
    """What is done to images, for a progress bar: ``"certifying"``."""
    done: ClassVar[str]
    """The same when it is done: ``"certified"``."""
    blocks_to_forecast: ClassVar[int] = 2
    """After how many blocks the time can be foretold; the first one also pays for start-up."""

    def __init__(self, network: nn.Module, skip_ids: Collection[str] = ()) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.skip_ids = frozenset(skip_ids)
        self.on_block: Callable[[int], None] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        logits: Tensor = self.network(images)
        return logits

    @property
    @abstractmethod
    def samples_per_image(self) -> int:
        """Samples that an image gets, at most if :attr:`may_stop_early`."""

    @property
    def may_stop_early(self) -> bool:
        """Whether an image may need fewer samples than that."""
        return False

    def samples_of(self, outcome: Any) -> int:
        """Samples that an image got.

        Args:
            outcome: What the predict step returned for it, beside its id.
        """
        return self.samples_per_image
