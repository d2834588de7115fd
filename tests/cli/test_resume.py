"""What survives the end of a training: the last epoch, and a run that goes on as if it had never stopped."""

import copy
import csv
import errno
import os
import re
import shlex
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lit_certattr.cli.train import main
from lit_certattr.files.whole_file import whole_file
from lit_certattr.modules import RobustClassifier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUICK = [
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    *("--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.log_every_n_steps=1"),
]
RUN = Path("runs/digits")
LAST = RUN / "checkpoints/last.ckpt"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Goes into a new folder of a name."""
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def enter(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)

    enter("first")
    return enter


def arguments(epochs: int, *more: str, layers: tuple[str, ...] = ()) -> list[str]:
    files = [f"--config={ROOT}/configs/{layer}.yaml" for layer in ("train/digits", *layers)]
    return ["fit", *files, *QUICK, f"--trainer.max_epochs={epochs}", *more]


def fit(epochs: int, *more: str, **layers: tuple[str, ...]) -> None:
    main(arguments(epochs, *more, **layers))


def logged(name: str = "train/loss", run: Path = RUN) -> list[tuple[str, str]]:
    with (run / "metrics.csv").open() as lines:
        return [(row["step"], row[name]) for row in csv.DictReader(lines) if row.get(name)]


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


WATCHER = "lightning.pytorch.callbacks.ModelCheckpoint"
SETTINGS = {
    "noise": ([], ("objective/noise_gaussian",)),
    "perturbation handed on": (["--trainer.limit_train_batches=5"], ("objective/free_adversarial",)),
    "schedule by a metric": (
        [
            "--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau",
            "--model.scheduler.init_args.monitor=val/loss",
            "--model.scheduler.init_args.patience=0",
            "--model.scheduler.init_args.threshold=9",
        ],
        (),
    ),
    "validation now and then": (["--trainer.check_val_every_n_epoch=2"], ()),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_resumed_run_repeats_the_losses_of_an_uninterrupted_one(case, folder):
    more, layers = SETTINGS[case]
    fit(3, *more, layers=layers)
    whole, weights = logged(), load(LAST)["state_dict"]
    folder("second")
    fit(1, *more, layers=layers)
    fit(3, *more, f"--ckpt_path={LAST}", layers=layers)
    assert logged() + logged(run=RUN / "resumed") == whole
    assert all(torch.equal(value, weights[name]) for name, value in load(LAST)["state_dict"].items())


@pytest.mark.xdist_group("processes")
def test_workers_repeat_their_numbers(folder):
    workers = ["--data.init_args.num_workers=2"]
    fit(3, *workers, layers=("objective/noise_gaussian",))
    whole = logged()
    folder("second")
    fit(1, *workers, layers=("objective/noise_gaussian",))
    fit(3, *workers, f"--ckpt_path={LAST}", layers=("objective/noise_gaussian",))
    assert logged() + logged(run=RUN / "resumed") == whole


@pytest.fixture
def signalled(monkeypatch):
    """Sends one signal to the process in the middle of a training step."""
    step, waiting = RobustClassifier.training_step, []

    def training_step(self, batch, batch_idx):
        if waiting and self.trainer.global_step == waiting[0][1]:
            signal.raise_signal(waiting.pop()[0])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(RobustClassifier, "training_step", training_step)
    return lambda signum, at_step: waiting.append((signum, at_step))


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drops_the_epoch_and_says_how_to_resume(signum, status, folder, signalled, capsys):
    fit(3)
    whole = logged()
    folder("second")
    signalled(signum, at_step=4)  # in the second epoch, which has steps 3 to 5
    with pytest.raises(SystemExit) as stopped:
        fit(3)
    assert stopped.value.code == status
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if "stopped by" in line]
    assert line.startswith(f"train.py: stopped by {signum.name}. All finished epochs are kept, the unfinished one is")
    assert load(LAST)["epoch"] == 0
    command = shlex.split(line.partition("run: ")[2])
    assert command[:3] == ["python", "train.py", "fit"]
    main(command[2:])
    assert logged()[:3] + logged(run=RUN / "resumed") == whole


def test_a_full_disk_says_how_to_resume(folder, capsys, monkeypatch):
    fit(3)
    whole = logged()
    folder("second")
    saved = []

    @contextmanager
    def full(path):
        saved.append(path.name)
        with whole_file(path) as file:
            yield file
            if path.name == "last.ckpt" and saved.count(path.name) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lit_certattr.callbacks.whole_checkpoint_io.whole_file", full)
    with pytest.raises(SystemExit) as stopped:
        fit(3)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    place = re.escape(str(LAST.absolute()))
    assert re.search(
        rf"^train\.py: error: {place} cannot be written: No space left on device; free some space\. ", line
    )
    said, _, command = line.partition("; to resume, run: python train.py ")
    assert said.endswith(". All finished epochs are kept, the unfinished one is discarded")
    main(shlex.split(command))
    assert logged()[:3] + logged(run=RUN / "resumed") == whole


def test_a_signal_in_the_first_epoch_has_nothing_to_resume(folder, signalled, capsys):
    signalled(signal.SIGTERM, at_step=1)
    with pytest.raises(SystemExit) as stopped:
        fit(2)
    assert stopped.value.code == 143
    assert re.search(r"No epoch was finished, so nothing new is saved; to start again, run: ", capsys.readouterr().err)
    assert not LAST.exists()


def test_the_last_checkpoint_is_the_last_epoch_when_the_metric_gets_worse(folder):
    worse = ["monitor=val/loss", "mode=max", "filename=best", "save_last=true"]
    fit(3, f"--trainer.callbacks={WATCHER}", *[f"--trainer.callbacks.{setting}" for setting in worse])
    losses = [float(value) for _, value in logged("val/loss")]
    assert losses == sorted(losses, reverse=True), "the first epoch must be the best one"
    assert load(RUN / "checkpoints/best.ckpt")["epoch"] == 0
    last = load(LAST)
    assert (last["epoch"], last["global_step"]) == (2, 9)


def test_the_last_epoch_is_saved_without_any_callback(folder):
    fit(2, "--trainer.callbacks=null")
    assert load(LAST)["epoch"] == 1
    assert [path.name for path in LAST.parent.iterdir()] == ["last.ckpt"]


def test_resumed_runs_keep_checkpoints_and_logs_of_all_before(folder):
    fit(1)
    best = load(RUN / "checkpoints/best.ckpt")["callbacks"]
    for epochs in (2, 3):
        fit(epochs, f"--ckpt_path={LAST}")
    assert {path.parent.name for path in RUN.rglob("metrics.csv")} == {"digits", "resumed", "resumed_2"}
    assert {path.name for path in RUN.rglob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert load(LAST)["epoch"] == 2
    (before,) = [state for name, state in best.items() if "monitor" in name]
    (after,) = [state for name, state in load(LAST)["callbacks"].items() if "'monitor': 'val/accuracy'" in name]
    assert after["best_model_score"] >= before["best_model_score"]


def test_short_epochs_are_logged_unless_the_user_says_otherwise(folder):
    usual = [argument for argument in QUICK if "log_every" not in argument]
    files = [f"--config={ROOT}/configs/train/digits.yaml", "--trainer.max_epochs=1"]
    main(["fit", *files, *usual])
    assert len(logged()) == 3


DIVERGE = ["--model.optimizer=SGD", "--model.optimizer.init_args.lr=1e30", "--model.scheduler=null"]


@pytest.mark.parametrize("validation", ["--trainer.limit_val_batches=1", "--trainer.limit_val_batches=0"])
def test_a_training_that_diverges_stops_with_one_line(validation, folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        fit(3, *DIVERGE, validation, "--trainer.callbacks=null")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"error: the training loss is (nan|inf) in epoch 0, step \d .*smaller learning rate", line)


def test_weights_that_the_last_step_has_spoilt_do_not_replace_a_checkpoint(folder, capsys, monkeypatch):
    def spoil(self, *_):
        if self.trainer.global_step == 6:  # the last step of the second epoch
            self.net.classifier.bias.data[0] = torch.nan

    monkeypatch.setattr(RobustClassifier, "on_train_batch_end", spoil)
    with pytest.raises(SystemExit) as stopped:
        fit(4, "--trainer.check_val_every_n_epoch=4")
    assert stopped.value.code == 2
    assert re.search(
        r"weight classifier\.bias holds NaN or infinity after epoch 1, step 6: .*kept in .*last\.ckpt",
        capsys.readouterr().err,
    )
    assert load(LAST)["epoch"] == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The checkpoint of a run of one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        patch.setattr(sys, "argv", ["train.py"])
        fit(1)
        return load(LAST)


def without(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def damaged(key, value):
    return lambda content: content["lit_certattr"].update({key: value})


CANNOT_GO_ON = {
    "another width": (None, ["--model.net.init_args.width=8"], r"another network: it has another shape for net\."),
    "another optimizer": (
        None,
        ["--model.optimizer=SGD", "--model.optimizer.init_args.lr=0.1"],
        "another optimizer than SGD .*resume with the same",
    ),
    "no progress": (without("loops", "fit_loop"), [], "lacks the optimizer or the progress"),
    "no optimizer": (lambda content: content.update(optimizer_states=[]), [], "lacks the optimizer or the progress"),
    "missing weight": (without("state_dict", "net.classifier.bias"), [], r"it lacks net\.classifier\.bias"),
    "random states": (damaged("random", [{}]), [], "random states cannot be read"),
    "state": (lambda content: content.update(lit_certattr=3), [], "'lit_certattr' cannot be read"),
    "best": (None, ["--ckpt_path=best"], r"give the file, runs/NAME/checkpoints/best\.ckpt"),
    "NaN": (lambda content: content["state_dict"]["net.classifier.bias"].fill_(torch.nan), [], "holds NaN"),
}


@pytest.mark.parametrize("case", CANNOT_GO_ON)
def test_a_checkpoint_from_which_training_cannot_go_on(case, finished, folder, capsys):
    change, more, message = CANNOT_GO_ON[case]
    content = copy.deepcopy(finished)
    if change:
        change(content)
    torch.save(content, "given.ckpt")
    with pytest.raises(SystemExit) as stopped:
        fit(2, "--ckpt_path=given.ckpt", *more)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train.py: ")]
    assert re.search(message, line), line


def test_a_checkpoint_of_an_older_version_goes_on(finished, folder):
    torch.save({key: value for key, value in finished.items() if key != "lit_certattr"}, "given.ckpt")
    fit(2, "--ckpt_path=given.ckpt")
    assert load(LAST)["epoch"] == 1


@pytest.mark.filterwarnings("default:.* has finished 1 epochs")
def test_a_finished_run_says_that_there_is_nothing_to_do(finished, folder, capsys):
    torch.save(finished, "given.ckpt")
    fit(1, "--ckpt_path=given.ckpt")
    said = capsys.readouterr().err
    assert re.search(r"warning: .*nothing is trained; to continue, raise --trainer\.max_epochs", said)


def test_nothing_to_train_on(folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        fit(1, "--trainer.limit_train_batches=0")
    assert stopped.value.code == 2
    assert "there is no batch to train on" in capsys.readouterr().err
    assert not RUN.exists()
