"""Runs in loggers are called after their configuration, unless the user calls them otherwise."""

import re
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from lit_certattr.cli.run_names import RunLabel, job_label, name_loggers, training_label

ROOT = Path(__file__).parents[2]
LABEL = RunLabel("digits-s0.25-seed3", "digits-s0.25", "train", ("digits", "small_cnn"))


def read(name):
    return yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())


def logger(kind, **arguments):
    empty = {"name": None, "group": None, "job_type": None, "tags": None, "id": None, "version": None, "project": None}
    arguments = {**empty, "resume": None, "run_name": None} | arguments
    return Namespace(class_path=f"lightning.pytorch.loggers.{kind}", init_args=Namespace(**arguments))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/digits", "digits-cross_entropy-seed0"),
        ("train/mnist5k_noise", "mnist5k-noise_augmentation-s0.25-seed0"),
        ("train/digits_denoiser", "digits-denoiser-s0.05to0.5-seed0"),
    ],
)
def test_a_training_is_called_after_data_objective_noise_and_seed(name, expected):
    label = training_label(read(name))
    assert label.name.startswith(expected)
    assert re.sub(r"-seed\d+$", "", label.name) == label.group
    assert label.job_type == "train"
    assert label.tags[0] == expected.partition("-")[0]


def test_a_certification_is_called_after_the_training_of_its_checkpoint():
    label = job_label(read("certify/mnist5k"), "certify")
    assert label == RunLabel(
        "mnist5k_noise-gradient-s0.25-n2000-seed0",
        "mnist5k_noise-gradient-s0.25-n2000",
        "certify",
        ("mnist5k", "mnist5k_noise", "gradient", "gaussian_noise"),
    )
    assert job_label(read("certify/photographs"), "certify").name.startswith("photographs-efficient_net_lite0-")
    assert job_label(read("protocol/mnist5k"), "evaluate").job_type == "evaluate"


def test_open_settings_are_filled_and_the_users_stay(monkeypatch):
    for variable in (
        "WANDB_NAME",
        "WANDB_RUN_GROUP",
        "WANDB_JOB_TYPE",
        "WANDB_TAGS",
        "WANDB_PROJECT",
        "WANDB_SWEEP_ID",
    ):
        monkeypatch.delenv(variable, raising=False)
    one, two = logger("WandbLogger"), logger("WandbLogger", name="mine", group="g", tags=["x"], id="old", project="p")
    name_loggers([one, two], LABEL, "earlier")
    found = one.init_args
    assert (found.name, found.group, found.job_type, found.id) == (LABEL.name, LABEL.group, "train", "earlier")
    assert (found.tags, found.resume, found.project) == (["digits", "small_cnn"], "allow", "lit-certattr")
    own = two.init_args
    assert (own.name, own.group, own.tags, own.id, own.project) == ("mine", "g", ["x"], "old", "p")
    assert own.job_type == "train"


def test_environment_variables_and_sweeps_have_their_way(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    one = logger("WandbLogger")
    name_loggers(one, LABEL)
    assert (one.init_args.name, one.init_args.group, one.init_args.job_type) == (None, None, "train")
    assert one.init_args.id is None


def test_other_loggers():
    mlflow, board, named = logger("MLFlowLogger"), logger("TensorBoardLogger", name="lightning_logs"), Namespace()
    named = logger("TensorBoardLogger", name="mine")
    files = logger("CSVLogger", name="lightning_logs")
    name_loggers([mlflow, board, named, files], LABEL)
    assert mlflow.init_args.run_name == LABEL.name
    assert mlflow.init_args.tags == {"job_type": "train", "group": LABEL.group, "digits": "", "small_cnn": ""}
    assert (board.init_args.name, named.init_args.name, files.init_args.name) == (LABEL.name, "mine", "lightning_logs")
    name_loggers(None, LABEL)
    name_loggers(True, LABEL)
