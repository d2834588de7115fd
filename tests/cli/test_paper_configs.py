"""Every published preset, configs/paper, by its own name alone, on data that need no download."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lit_certattr.cli.layers import stack
from lit_certattr.cli.train import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAPER = sorted(path.stem for path in (ROOT / "configs/paper").glob("*.yaml"))
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
LOADER = ["--data.init_args.batch_size=8", "--data.init_args.num_workers=0"]
STEPS = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
SMALLER = {
    "cifar_resnet20": ["--model.net.init_args.depth=8"],
    "torchvision_resnet50": ["--model.net.init_args.name=shufflenet_v2_x0_5", "--model.net.init_args.weights=null"],
}
"""The same kinds of networks, but smaller."""


def preset(name: str) -> str:
    return str(ROOT / f"configs/paper/{name}.yaml")


def below(name: str, folder: str) -> str:
    """The layer of a folder that a preset goes over."""
    (file,) = {Path(file).stem for file, _ in stack(preset(name)) if Path(file).parent.name == folder}
    return file


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """Colour images of three classes, the smallest data that every network takes."""
    root, generator = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 1)):
        for label in "abc":
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    return root


@pytest.fixture
def run(tmp_path, monkeypatch, colours):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def run(name: str, *args: str) -> None:
        data = ["--data=lit_certattr.data.MNIST5k"]
        if "mnist" not in name:
            data = ["--data=lit_certattr.data.ImageFolder", f"--data.init_args.root={colours}"]
            data += ["--data.init_args.size=32"]
        smaller = SMALLER.get(below(name, "model"), [])
        main(["fit", "--config", preset(name), *data, *LOADER, *smaller, *QUICK, *args])

    return run


def test_fast_dev_run_writes_nothing(run):
    run("mnist_adversarial", "--trainer.fast_dev_run=1")  # each network is trained below
    assert [path for path in Path().rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", PAPER)
class TestLayers:
    def test_two_steps_fill_the_run_directory_of_that_name(self, name, run):
        run(name, *STEPS, "--trainer.log_every_n_steps=1")
        assert [path.name for path in Path("runs").iterdir()] == [name]
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)
        wanted = yaml.safe_load(Path(preset(name)).read_text()).get("model", {})
        found = yaml.safe_load(Path(f"runs/{name}/config.yaml").read_text())["model"]
        wanted.pop("net", None)  # a smaller one was trained
        assert contains(found, wanted)
        objective = yaml.safe_load((ROOT / f"configs/objective/{below(name, 'objective')}.yaml").read_text())
        assert found["objective"]["class_path"] == objective["model"]["objective"]["class_path"]

    def test_name_begins_with_the_data_set(self, name):
        assert name.startswith(f"{below(name, 'data')}_")


def contains(found: object, wanted: object) -> bool:
    """Whether every setting of ``wanted`` is in ``found``, which also has defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    return found == wanted
