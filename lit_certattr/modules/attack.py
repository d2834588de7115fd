"""The LightningModule that attacks the certificates of a run."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.data import Sample
from lit_certattr.modules.image import ImageModule
from lit_certattr.robustness import ImageSandwich, SandwichAttack


class AttackModule(ImageModule):
    """Attacks certified images in the predict step of the Trainer, which provides devices, precision and progress.

    Args:
        network: Network from images in [0, 1] to logits; it is frozen and set to eval mode.
        attack: What is attacked, and how.
        stored: Gives the certificates of an image by its id.
        error: Family-wise error rate of all statements about the perturbed images of one image.
        samples_per_image: Approximate number of passes per image, for a progress bar.
        skip_ids: Ids of images that are done already.
    """

    doing, done = "attacking", "attacked"
    blocks_to_forecast = 0  # the job measures the speed before it starts

    def __init__(
        self,
        network: nn.Module,
        attack: SandwichAttack,
        stored: Callable[[str], Mapping[str, Result]],
        error: float,
        samples_per_image: int,
        skip_ids: Collection[str] = (),
    ) -> None:
        super().__init__(network, skip_ids)
        self.attack, self.stored, self.error = attack, stored, error
        self._samples_per_image = samples_per_image

    def setup(self, stage: str) -> None:
        """Convert the weights to the memory layout of the run."""
        if self.attack.certifier.memory_format == "channels_last":
            self.network.to(memory_format=torch.channels_last)

    @property
    @override
    def samples_per_image(self) -> int:
        return self._samples_per_image

    def predict_step(self, batch: Sample, batch_idx: int) -> list[tuple[str, ImageSandwich]]:
        """Attack the images of a batch that are not in ``skip_ids``.

        Returns:
            The id and the outcome of each of them.
        """
        found = []
        for image, image_id in zip(batch.image, batch.id, strict=True):
            if image_id not in self.skip_ids:
                results = self.stored(image_id)
                found.append((image_id, self.attack(self.network, image, results, image_id, self.error, self.on_block)))
        return found
