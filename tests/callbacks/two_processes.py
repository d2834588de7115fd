"""Run by tests: certification of three images in a fit on ``sys.argv[1]`` CPU processes; writes what it saw.

Modules named by further arguments hold a ``CERTIFICATE`` each, which is certified too.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import CertificationCallback
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification import Certifier
from lit_certattr.data import SampleSet, collate
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy
from lit_certattr.smoothing import GaussianNoise


class Witness(CertificationCallback):
    """Writes down which images this process certified, the table, and the weights afterwards."""

    def __init__(self, certifier: Certifier, path: str) -> None:
        super().__init__(certifier, num_images=3, radii=[0.05, 0.1])
        self.path = path

    def _certify(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        certified = super()._certify(trainer, pl_module)
        self.ids = [sample.id for sample, _ in certified]
        return certified

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = {key: float(v) for key, v in trainer.callback_metrics.items() if key.startswith("certified/")}
        seen = {
            "ids": self.ids,
            "metrics": logged,
            "rows": sorted(row["id"] for row in self._rows),
            "weights": [float(p.detach().double().sum()) for p in pl_module.parameters()],
        }
        Path(self.path, f"{trainer.global_rank}.json").write_text(json.dumps(seen))


class SameWeights(Callback):
    """Sets the weights before each validation, so that one and two processes certify the same network."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    devices, path = int(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    images = torch.rand(4, 1, 6, 6)
    data = DataLoader(SampleSet(images, [0, 1, 2, 0], ["a", "b", "c", "d"]), batch_size=2, collate_fn=collate)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3))
    certificates = [PixelCertificate(top_k=[0.5, 0.25], alpha=0.05), TopKOverlapCertificate(top_k=0.25, alpha=0.05)]
    certificates += [importlib.import_module(name).CERTIFICATE for name in sys.argv[3:]]
    certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=100)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=[SameWeights(), Witness(certifier, path)],
    )
    trainer.fit(RobustClassifier(net, CrossEntropy()), data, data)
