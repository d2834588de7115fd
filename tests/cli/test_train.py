import csv
import re
import sys
from pathlib import Path

import processes
import pytest
import torch
import yaml

from lit_certattr.cli.train import main
from lit_certattr.modules import RobustClassifier

ROOT = Path(__file__).parents[2]
FOLDERS = ("denoiser", "fine_tune")  # need a folder of images; tested with one elsewhere
TRAIN = sorted(
    path.stem for path in (ROOT / "configs/train").glob("*.yaml") if not any(name in path.stem for name in FOLDERS)
)
NO_DOWNLOAD = [name for name in TRAIN if not name.startswith("cifar")]
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
STEPS = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.log_every_n_steps=1"]


def config(name: str) -> str:
    return f"--config={ROOT / 'configs' / name}.yaml"


SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "train",
    "SLURM_NODELIST": "localhost",
}
"""What a task of SLURM finds in its environment."""


class Writes:
    """Writes a file when it is unpickled as code."""

    def __reduce__(self):
        return Path.touch, (Path("written"),)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and the command line of nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return tmp_path


def fit(name: str, *args: str) -> None:
    main(["fit", config(f"train/{name}"), *QUICK, *args])


def digits(*args: str) -> None:
    """Two steps on the digits."""
    fit("digits_noise", *STEPS, "--trainer.max_epochs=1", *args)


class TestConfigurations:
    @pytest.mark.parametrize("name", NO_DOWNLOAD)
    def test_fast_dev_run_writes_nothing(self, name, here):
        fit(name, "--trainer.fast_dev_run=1")
        assert [path for path in here.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("name", NO_DOWNLOAD)
    def test_two_real_steps_fill_the_run_directory(self, name, here):
        fit(name, *STEPS, "--trainer.max_epochs=1")
        run = here / "runs" / name
        assert [path.name for path in (here / "runs").iterdir()] == [name]
        assert {path.name for path in run.iterdir()} == {"checkpoints", "config.yaml", "hparams.yaml", "metrics.csv"}
        assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    @pytest.mark.parametrize("name", sorted(set(TRAIN) - set(NO_DOWNLOAD)))
    def test_data_that_are_not_there_are_named(self, name, here, capsys):
        with pytest.raises(SystemExit) as stopped:
            fit(name, "--data.init_args.download=false")
        assert stopped.value.code == 2
        assert re.fullmatch(r"train\.py: error: CIFAR10 is not in data, .*\n", capsys.readouterr().err)
        assert list(here.iterdir()) == []

    @pytest.mark.parametrize("name", ["cpu", "debug"])
    def test_trainer_layers(self, name, here):
        digits(config(f"trainer/{name}"), *STEPS)

    def test_gpu_layer_without_a_gpu_says_so(self, here, capsys):
        if torch.accelerator.is_available():
            pytest.skip("there is an accelerator")
        with pytest.raises(SystemExit):
            main(["fit", config("train/digits_noise"), config("trainer/gpu")])
        assert re.fullmatch(r"train\.py: error: trainer: No supported gpu backend found!\n", capsys.readouterr().err)

    def test_logger_layer_adds_a_logger(self, here, capsys):
        with pytest.raises(SystemExit):
            main(["fit", config("train/digits_noise"), config("logger/wandb_offline"), "--print_config"])
        loggers = yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]
        assert [logger["class_path"].rsplit(".")[-1] for logger in loggers] == ["CSVLogger", "WandbLogger"]
        assert loggers[1]["init_args"]["offline"] is True

    @pytest.mark.slow
    def test_wandb_offline_beside_the_csv_file(self, here):
        digits(config("logger/wandb_offline"))
        assert list((here / "runs/wandb").glob("offline-run-*/run-*.wandb"))
        assert (here / "runs/digits_noise/metrics.csv").exists()
        resolved = yaml.safe_load((here / "runs/digits_noise/hparams.yaml").read_text())
        assert resolved["data"]["class_path"] == "lit_certattr.data.Digits"  # every logger gets the whole config


class TestRun:
    def test_checkpoint_is_plain_and_rebuilds_the_module(self, here):
        digits()
        path = here / "runs/digits_noise/checkpoints/last.ckpt"
        content = torch.load(path, weights_only=True)
        wanted = yaml.safe_load((here / "runs/digits_noise/config.yaml").read_text())["model"]
        assert {key: content["hyper_parameters"][key] for key in wanted} == wanted
        module = RobustClassifier.load_from_checkpoint(path, weights_only=True)
        assert module.objective.noise.sigma == wanted["objective"]["init_args"]["noise"]["init_args"]["sigma"]
        assert torch.equal(module.net.classifier.weight.cpu(), content["state_dict"]["net.classifier.weight"])

    def test_optimizer_of_the_yaml_is_the_one_that_is_used(self, here):
        digits("--model.optimizer=SGD", "--model.optimizer.init_args.lr=0.25", "--model.scheduler=null")
        state = torch.load(here / "runs/digits_noise/checkpoints/last.ckpt", weights_only=True)
        (group,) = state["optimizer_states"][0]["param_groups"]
        assert group["lr"] == 0.25
        assert "momentum" in group
        assert state["lr_schedulers"] == []

    def test_model_checkpoint_sees_the_accuracy(self, here):
        digits()
        state = torch.load(here / "runs/digits_noise/checkpoints/best.ckpt", weights_only=True)
        (watching,) = [state for name, state in state["callbacks"].items() if name.startswith("ModelCheckpoint")]
        assert watching["monitor"] == "val/accuracy"
        assert 0 <= watching["best_model_score"] <= 1

    def test_resumes_where_it_stopped_and_keeps_the_first_log(self, here):
        digits()
        first = (here / "runs/digits_noise/metrics.csv").read_text()
        last = "runs/digits_noise/checkpoints/last.ckpt"
        digits("--trainer.max_epochs=3", f"--ckpt_path={last}")
        state = torch.load(last, weights_only=True)
        assert state["global_step"] == 6
        assert (here / "runs/digits_noise/metrics.csv").read_text() == first
        assert (here / "runs/digits_noise/resumed/metrics.csv").exists()

    @pytest.mark.filterwarnings("ignore:.* exists and is not empty")
    def test_a_checkpoint_of_the_queue_is_data_and_never_code(self, here, monkeypatch, capsys):
        """In a job of SLURM, Lightning resumes from whatever has this name in the folder."""
        digits()
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
        content = torch.load(here / "runs/digits_noise/checkpoints/last.ckpt", weights_only=True)
        torch.save(content, here / "runs/digits_noise/hpc_ckpt_1.ckpt")
        before = (here / "runs/digits_noise/metrics.csv").read_text()
        digits("--trainer.max_epochs=2")
        with (here / "runs/digits_noise/resumed/metrics.csv").open() as log:
            assert {row["epoch"] for row in csv.DictReader(log)} == {"1"}, "it was resumed"
        assert (here / "runs/digits_noise/metrics.csv").read_text() == before, "the earlier rows are kept"
        assert torch.load(here / "runs/digits_noise/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
        torch.save(content | {"more": Writes()}, here / "runs/digits_noise/hpc_ckpt_2.ckpt")
        with pytest.raises(SystemExit) as stopped:
            digits("--trainer.max_epochs=2")
        assert stopped.value.code == 2
        assert "train.py: error: the checkpoint that is to be resumed (hpc_ckpt_*.ckpt" in capsys.readouterr().err
        assert not (here / "written").exists()

    def test_testing_a_run_keeps_its_log(self, here, capsys):
        digits()
        run = here / "runs/digits_noise"
        before = {name: (run / name).read_text() for name in ("metrics.csv", "config.yaml")}
        main(["test", f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'checkpoints/best.ckpt'}", *QUICK])
        assert {name: (run / name).read_text() for name in before} == before
        assert "test/accuracy" in (run / "test/metrics.csv").read_text()

    def test_configuration_decides_what_a_checkpoint_is_loaded_into(self, here):
        digits("--model.optimizer.init_args.lr=0.25")
        last = "runs/digits_noise/checkpoints/last.ckpt"
        digits(config("objective/cross_entropy"), "--trainer.max_epochs=2", f"--ckpt_path={last}")
        resolved = yaml.safe_load((here / "runs/digits_noise/resumed/config.yaml").read_text())
        assert resolved["model"]["objective"]["class_path"].endswith("CrossEntropy")

    def test_equal_seeds_give_equal_weights(self, here, monkeypatch):
        weights = []
        for seed, folder in ((1, "a"), (1, "b"), (2, "c")):
            (here / folder).mkdir()
            monkeypatch.chdir(here / folder)
            digits(f"--seed_everything={seed}")
            weights.append(torch.load("runs/digits_noise/checkpoints/last.ckpt", weights_only=True)["state_dict"])
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert not torch.equal(weights[0]["net.classifier.weight"], weights[2]["net.classifier.weight"])

    def test_needs_no_callback(self, here):
        digits("--trainer.callbacks=null", "--trainer.fast_dev_run=1", "--trainer.logger=false")

    @pytest.mark.slow
    def test_learns_the_digits(self, here):
        fit("digits_noise", "--trainer.max_epochs=8")
        state = torch.load(here / "runs/digits_noise/checkpoints/best.ckpt", weights_only=True)
        (watching,) = [state for name, state in state["callbacks"].items() if name.startswith("ModelCheckpoint")]
        assert watching["best_model_score"] > 0.9


NOISE = "--model.objective.init_args.noise"
MISTAKES = {
    "unknown option": (["--trainer.max_epoch=3"], r"--trainer\.max_epoch=3 \(did you mean trainer\.max_epochs\?\)"),
    "unknown argument": (["--model.net.init_args.widht=3"], r"model\.net: .*SmallCNN: Option 'widht'"),
    "misspelt class": (["--model.net=SmalCNN"], r"no class 'SmalCNN' \(did you mean SmallCNN\?\)"),
    "class elsewhere": (["--model.net=lit_certattr.models.SmalCNN"], r"has no attribute 'SmalCNN'"),
    "wrong class": (["--model.objective=lit_certattr.models.SmallCNN"], r"model\.objective: .*SmallCNN"),
    "wrong type": (["--data.init_args.batch_size=many"], r"batch_size: Expected int\. Got value: many"),
    "missing config": (
        ["--config=nowhere.yaml"],
        r"config nowhere\.yaml: there is no such file",
    ),
    "config is a folder": (["--config=."], r"config: "),
    "bad yaml": (["--config=bad.yaml"], r"config .*bad\.yaml: .*line 2"),
    "not yaml": (["--config=binary.yaml"], r"config .*binary\.yaml cannot be read"),
    "a list": (["--config=list.yaml"], r"config .*list\.yaml: it must hold settings"),
    "unknown key": (["--config=key.yaml"], r"'trainer\.max_epoch' \(did you mean trainer\.max_epochs\?\)"),
    "negative sigma": ([f"{NOISE}.init_args.sigma=-1"], r"sigma must be a positive number, got -1\.0"),
    "no draws": (["--model.objective.init_args.draws=0"], r"draws must be at least 1, got 0"),
    "negative rate": (["--model.optimizer.init_args.lr=-1"], r"Invalid learning rate: -1\.0"),
    "batch size": (["--data.init_args.batch_size=0"], r"batch_size must be at least 1, got 0"),
    "accelerator": (["--trainer.accelerator=abacus"], r"trainer: .*abacus"),
    "image size": (["--model.net.init_args.image_size=28"], r"Digits has images of \(1, 8, 8\), but SmallCNN"),
    "classes": (["--model.net.init_args.num_classes=3"], r"Digits has 10 classes"),
    "missing checkpoint": (["--ckpt_path=nowhere.ckpt"], r"checkpoint nowhere\.ckpt: there is no such file"),
    "damaged checkpoint": (["--ckpt_path=binary.yaml"], r"binary\.yaml is not a PyTorch checkpoint"),
    "weights alone": (["--ckpt_path=weights.pth"], r"not a checkpoint of train\.py \(it has no 'loops'\)"),
    "pickled checkpoint": (["--ckpt_path=pickled.ckpt"], r"pickled\.ckpt .*could run code"),
}


class TestMistakes:
    @pytest.fixture
    def files(self, here):
        (here / "bad.yaml").write_text("trainer: {max_epochs: 3\nmodel: [")
        (here / "binary.yaml").write_bytes(bytes([0xFF, 0x00]) * 100)
        (here / "list.yaml").write_text("- 3\n")
        (here / "key.yaml").write_text("trainer:\n  max_epoch: 3\n")
        torch.save({"state_dict": {}, "evil": Path()}, here / "pickled.ckpt")
        torch.save({"state_dict": {}}, here / "weights.pth")
        return here

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_is_one_line_and_leaves_nothing(self, mistake, files, capsys):
        args, pattern = MISTAKES[mistake]
        before = sorted(files.rglob("*"))
        with pytest.raises(SystemExit) as stopped:
            digits(*args)
        assert stopped.value.code == 2
        out, err = capsys.readouterr()
        assert err.startswith("train.py: error: ")
        assert err.count("\n") == 1
        assert re.search(pattern, err), err
        assert out == ""
        assert sorted(files.rglob("*")) == before

    @pytest.mark.parametrize(
        ("args", "pattern"),
        [
            ([], "subcommand"),
            (["fitt"], "fitt"),
            (["fit"], r"required.*model\.net"),
            (["fit", "--model.net=SmallCNN", "--model.objective=CrossEntropy"], "required.*data"),
        ],
    )
    def test_something_left_out(self, args, pattern, here, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(args)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert re.search(pattern, err), err

    @pytest.mark.xdist_group("processes")
    @pytest.mark.slow
    @pytest.mark.parametrize("mistake", ["unknown option", "negative sigma", "pickled checkpoint"])
    def test_in_a_process_of_its_own(self, mistake, files, tmp_path_factory):
        args, pattern = MISTAKES[mistake]
        before = sorted(files.rglob("*"))
        program = f"import os; os.chdir({str(files)!r})\n{(ROOT / 'train.py').read_text()}"
        (done,) = processes.run(
            tmp_path_factory.mktemp("output"), program, ("fit", config("train/digits_noise"), *args)
        )
        assert done.status == 2
        assert done.stdout == ""
        assert re.fullmatch(rf"train\.py: error: .*{pattern}.*\n", done.stderr), done.stderr
        assert sorted(files.rglob("*")) == before


def test_help_teaches(here, capsys):
    for args in (["--help"], ["fit", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(args)
        assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "\n  train.py fit --config configs/train/mnist5k_noise.yaml\n" in out
    assert "lit_certattr.models.SmallCNN" in out
    assert "torch.nn.Linear" not in out
    assert "The training loss." in out
