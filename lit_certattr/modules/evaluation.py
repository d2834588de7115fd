"""The LightningModule that evaluates the robustness of plain attributions."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from lit_certattr.data import Sample
from lit_certattr.modules.image import ImageModule
from lit_certattr.robustness.protocol import RobustnessProtocol


class EvaluationModule(ImageModule):
    """Evaluates batches in the predict step of the Trainer, which provides devices, precision and progress.

    Args:
        network: Network from images in [0, 1] to logits; it is frozen and set to eval mode.
        protocol: What is searched and compared.
        skip_ids: Ids of images that are done already; a batch is skipped if all its images are.
    """

    doing, done = "evaluating", "evaluated"
    blocks_to_forecast = 4  # the searches of a batch differ: some of each

    def __init__(self, network: nn.Module, protocol: RobustnessProtocol, skip_ids: Collection[str] = ()) -> None:
        super().__init__(network, skip_ids)
        self.protocol = protocol

    @property
    @override
    def samples_per_image(self) -> int:
        return self.protocol.points_per_image

    def predict_step(self, batch: Sample, batch_idx: int) -> list[tuple[str, dict[str, Any]]]:
        """Evaluate a batch, unless all its images are done.

        Returns:
            For each image its id and its row.
        """
        if all(image_id in self.skip_ids for image_id in batch.id):
            return []
        labels = torch.as_tensor(batch.target)
        rows = self.protocol(self.network, batch.image, labels, self.on_block, batch.id)
        facts = [{"label": label} for label in labels.tolist()]
        return [(str(name), fact | row) for name, fact, row in zip(batch.id, facts, rows, strict=True)]
