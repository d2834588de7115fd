"""Every objective config, through the real command, on the digits."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from lit_certattr.cli.train import main
from lit_certattr.modules import RobustClassifier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OBJECTIVES = sorted(path.stem for path in (ROOT / "configs/objective").glob("*.yaml"))
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
STEPS = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
SMALL = ["--data.init_args.batch_size=8", "--trainer.log_every_n_steps=1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and the command line of nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return tmp_path


def fit(*args: str) -> None:
    main(["fit", f"--config={ROOT}/configs/train/digits.yaml", *QUICK, *SMALL, *args])


# Plain, with adversarial images, with attributions, and with a state of its own; all others run for two steps below.
@pytest.mark.parametrize("name", ["cross_entropy", "adversarial", "noise_consistency", "free_adversarial"])
def test_fast_dev_run_writes_nothing(name, here):
    fit(f"--config={ROOT}/configs/objective/{name}.yaml", "--trainer.fast_dev_run=1")
    assert [path for path in here.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", OBJECTIVES)
class TestObjective:
    def test_two_steps_give_a_checkpoint_that_rebuilds_the_objective(self, name, here):
        fit(f"--config={ROOT}/configs/objective/{name}.yaml", f"--trainer.logger.init_args.name={name}", *STEPS)
        run = here / "runs" / name
        wanted = yaml.safe_load((ROOT / f"configs/objective/{name}.yaml").read_text())["model"]["objective"]
        found = yaml.safe_load((run / "config.yaml").read_text())["model"]["objective"]
        assert found["class_path"] == wanted["class_path"]
        assert contains(found["init_args"], wanted["init_args"])
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)
        module = RobustClassifier.load_from_checkpoint(run / "checkpoints/last.ckpt", weights_only=True)
        assert type(module.objective).__name__ == wanted["class_path"].rpartition(".")[2]
        assert "train/loss" in (run / "metrics.csv").read_text()


def contains(found: object, wanted: object) -> bool:
    """Whether every setting of ``wanted`` is in ``found``, which also has defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    return found == wanted
