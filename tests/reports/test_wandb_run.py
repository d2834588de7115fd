"""Best values in the summary of a run, and the lineage of checkpoints."""

import shutil
from types import SimpleNamespace

import pytest
import torch
import wandb
from wandb_files import only_run

from lit_certattr.reports.wandb_run import KEY, checkpoint_artifact, define_best, run_id, use_checkpoint


def defined(**attributes):
    calls = {}
    run = SimpleNamespace(define_metric=lambda name, **how: calls.update({name: how["summary"]}), **attributes)
    define_best(run, {"val/loss": "min", "val/accuracy": "max"})
    return calls


def test_the_summary_has_best_and_last():
    assert defined(sweep_id=None) == {"val/loss": "min,last", "val/accuracy": "max,last"}
    assert defined(sweep_id="abc") == {}, "a sweep reads the plain value"


@pytest.mark.parametrize("odd", ["", "../x", "a b", "x" * 65, 3, None, ["a"]])
def test_an_id_from_a_file_is_an_id(odd):
    assert run_id(odd) is None


def test_equal_content_is_one_version_wherever_the_file_lies(tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    (tmp_path / "a b#c").mkdir()
    moved = shutil.copy(tmp_path / "best.ckpt", tmp_path / "a b#c" / "other.pt")
    (tmp_path / "last.ckpt").write_bytes(b"other weights")
    one, two, three = (
        checkpoint_artifact(path, "id") for path in (tmp_path / "best.ckpt", moved, tmp_path / "last.ckpt")
    )
    assert one.digest == two.digest != three.digest
    assert [entry.ref is not None for entry in one.manifest.entries.values()] == [True], "a reference, no copy"


@pytest.mark.parametrize(
    ("content", "owner"), [({KEY: "train1", "state_dict": {}}, "train1"), ({KEY: "../x"}, "weights")]
)
def test_a_run_uses_its_checkpoint_offline(tmp_path, content, owner):
    torch.save(content, tmp_path / "weights.ckpt")
    run = wandb.init(project="test", dir=str(tmp_path), mode="offline")
    use_checkpoint(run, tmp_path / "weights.ckpt")
    run.finish()
    found = only_run(tmp_path)
    (artifact,) = found.artifacts
    assert artifact.name == f"checkpoint-{owner}"
    assert artifact.use_after_commit, "an input of the run, no output"
    assert found.config["checkpoint_artifact"] == f"{artifact.name}@{artifact.digest}"
