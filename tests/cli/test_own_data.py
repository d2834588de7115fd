"""Data from outside the package on the command line: certified, attacked and audited, trained on, or refused."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from lit_certattr.cli import certify, train

MODULE = """
import torch
from lightning import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Softplus(), nn.Linear(8, 4))

    def forward(self, images):
        return self.layers(images)

class Faces(LightningDataModule):
    def __init__(self, count: int = 5):
        super().__init__()
        self.count = count

    def setup(self, stage):
        self.images = FakeData(self.count, (3, 8, 8), 4, transform=ToTensor())

    def train_dataloader(self):
        return DataLoader(self.images, batch_size=2, shuffle=True)

    val_dataloader = test_dataloader = train_dataloader

class Marked(Dataset):
    def __init__(self, shift: float = 0.0):
        self.shift = shift

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"pixels": torch.full((3, 8, 8), 0.5 + index / 10) - self.shift, "y": index, "name": f"face {index}"}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_own.py").write_text(MODULE)
    sys.modules.pop("their_own", None)
    import their_own

    torch.manual_seed(0)
    torch.save({"state_dict": {f"model.{k}": v for k, v in their_own.Net().state_dict().items()}}, "net.ckpt")
    certificate = {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5]}}
    config = {
        "network": {"class_path": "their_own.Net"},
        "checkpoint": "net.ckpt",
        "certifier": {
            "attribution": {"class_path": "lit_certattr.attribution.Gradient"},
            "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
            "certificates": [certificate],
            "num_samples": 100,
            "batch_size": 50,
        },
        "max_panels": 0,
        "trainer": {"accelerator": "cpu", "threads": 1},
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))
    yield tmp_path
    sys.modules.pop("their_own", None)


def line_of(capsys, main, *arguments):
    """The one line with which a command is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_module_of_the_user_is_certified_and_tested_again_if_its_package_is_allowed(folder, capsys):
    certify.main(["run", "--config=run.yaml", "--data=their_own.Faces", "--data.count=4", "--max_images=1"])
    assert len(list(Path("runs/certify/run/images").iterdir())) == 1
    assert yaml.safe_load(Path("runs/certify/run/config.yaml").read_text())["max_images"] == 1
    certify.main(["audit", "runs/certify/run", "--fresh", "--import=their_own"])
    assert "No claim is contradicted" in capsys.readouterr().out
    capsys.readouterr()
    with pytest.raises(SystemExit):
        certify.main(["audit", "runs/certify/run", "--fresh"])
    assert "their_own.Faces is no network" in capsys.readouterr().err


def test_a_data_set_of_the_user_needs_no_module_and_may_give_mappings(folder, capsys):
    data = ["--data=FromDatasets", "--data.test=their_own.Marked", "--data.fields=[pixels,y,name]"]
    certify.main(["run", "--config=run.yaml", *data])
    names = sorted(path.name for path in Path("runs/certify/run/images").iterdir())
    assert [name.partition("-")[0] for name in names] == ["face_0", "face_1"]
    said = line_of(capsys, certify.main, "run", "--config=run.yaml", *data[:2], "--output=other")
    assert "is a mapping with pixels, y, name" in said
    said = line_of(capsys, certify.main, "run", "--config=run.yaml", *data, "--data.test.shift=1", "--output=other")
    assert "leave Normalize out of the transforms" in said
    assert not Path("other").exists()


def test_a_module_of_the_user_is_trained_on(folder, capsys):
    settings = ["--model.net=their_own.Net", "--model.objective=CrossEntropy", "--trainer.max_epochs=1"]
    quiet = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    train.main(["fit", *settings, *quiet, "--data=their_own.Faces"])
    assert list(Path("checkpoints").glob("*.ckpt"))
    wide = ["--model.net=SmallCNN", "--model.net.image_size=8", *settings[1:], *quiet]
    assert "has images of (3, 8, 8), but" in line_of(capsys, train.main, "fit", *wide, "--data=their_own.Faces")
