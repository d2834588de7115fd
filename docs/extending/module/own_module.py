"""A LightningModule of one's own: it knows nothing of this package, and is certified while it is trained."""

import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn


class OwnClassifier(LightningModule):
    """A small network with a training loop of its own.

    What ``CertificationCallback`` needs is ``forward``: logits of images in [0, 1]. So the normalisation is here, and
    not in the data.

    Args:
        num_classes: Number of classes.
        learning_rate: Learning rate of Adam.
    """

    def __init__(self, num_classes: int = 10, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU())
        self.head = nn.Linear(32 * 36, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, 1, 8, 8]`` in [0, 1]."""
        return self.head(self.backbone((images - 0.3) / 0.4).flatten(1))

    def training_step(self, batch: tuple, batch_idx: int) -> Tensor:
        """Cross-entropy on noisy copies: a network that is certified under noise should see through it."""
        images, labels, *_ = batch
        return nn.functional.cross_entropy(self(images + 0.25 * torch.randn_like(images)), labels)

    def validation_step(self, batch: tuple, batch_idx: int) -> None:
        """Accuracy on clean images."""
        images, labels, *_ = batch
        self.log("val/accuracy", (self(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.hparams.learning_rate)


if __name__ == "__main__":
    LightningCLI(OwnClassifier, LightningDataModule, subclass_mode_data=True, save_config_callback=None)
