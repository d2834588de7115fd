"""In a job of SLURM, Lightning neither submits the job again nor loads what another job has left."""

import signal

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lit_certattr.cli.signals import QUEUE_SIGNALS, stop_on_signals
from lit_certattr.jobs import TrainerOptions
from lit_certattr.jobs.trainer import make_trainer

TASK = {
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "certify",
    "SLURM_NODELIST": "localhost",
}


class Module(LightningModule):
    """Calls a function for each batch."""

    def __init__(self, weight=1.0, work=lambda: None):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.layer.weight, weight)
        self._work = work

    def predict_step(self, batch, batch_idx):
        self._work()
        return self.layer.weight.item()


@pytest.fixture(autouse=True)
def task(monkeypatch, tmp_path):
    """This process is a task of SLURM, in an empty folder."""
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def _trainer():
    return make_trainer(TrainerOptions(accelerator="cpu", devices=1))


def test_a_checkpoint_that_another_job_has_left_is_not_loaded(tmp_path):
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    other = Trainer(accelerator="cpu", enable_checkpointing=False, **silent)
    other.predict(Module(weight=2.0), DataLoader([0]))
    other.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    assert other.predict(Module(), DataLoader([0])) == [2.0], "as Lightning alone does"
    assert _trainer().predict(Module(), DataLoader([0])) == [1.0]


@pytest.mark.parametrize(("name", "status"), [("SIGUSR1", 138), ("SIGUSR2", 140), ("SIGTERM", 143)])
def test_a_signal_of_the_queue_ends_the_command_in_one_line(tmp_path, capsys, name, status):
    module = Module(work=lambda: signal.raise_signal(getattr(signal, name)))
    kept = [signal.getsignal(number) for number in QUEUE_SIGNALS]
    with (
        pytest.raises(SystemExit) as stopped,
        stop_on_signals("certify.py", lambda: "Images are kept.", also=QUEUE_SIGNALS),
    ):
        _trainer().predict(module, DataLoader([0]))
    assert stopped.value.code == status
    assert capsys.readouterr().err == f"certify.py: stopped by {name}. Images are kept.\n"
    assert list(tmp_path.iterdir()) == [], "no checkpoint, which the next job would load"
    assert [signal.getsignal(number) for number in QUEUE_SIGNALS] == kept


def test_from_python_the_job_is_not_submitted_again():
    heard = []
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    module = Module(work=lambda: heard.append(signal.getsignal(signal.SIGUSR1)))
    try:
        _trainer().predict(module, DataLoader([0]))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIG_DFL]
