"""As many processes as the settings count on, or one line."""

import re

import pytest

from lit_certattr.errors import InputError
from lit_certattr.jobs import TrainerOptions
from lit_certattr.jobs.trainer import make_trainer

TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "GROUP_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "WORLD_SIZE": "4",
    "TORCHELASTIC_RUN_ID": "one",
}
SRUN = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "python",
    "SLURM_NODELIST": "localhost",
}


@pytest.fixture(params=[("torchrun", TORCHRUN), ("srun", SRUN)], ids=lambda launched: launched[0])
def launcher(request, monkeypatch):
    """Name of the launcher that has started this process, as its variables say."""
    for name, value in request.param[1].items():
        monkeypatch.setenv(name, value)
    return request.param[0]


def _options(**numbers):
    return TrainerOptions(accelerator="cpu", **numbers)


def test_the_processes_of_a_launcher_on_two_machines_are_those_of_the_settings(launcher):
    trainer = make_trainer(_options(devices=2, num_nodes=2))
    assert (trainer.world_size, trainer.num_nodes) == (4, 2)


@pytest.mark.parametrize("numbers", [{"devices": 2}, {"devices": 1}, {"devices": 4, "num_nodes": 2}])
def test_another_number_is_refused_in_one_line(launcher, numbers):
    total = numbers["devices"] * numbers.get("num_nodes", 1)
    expected = re.escape(f"{launcher} has started 4 processes, but --devices={numbers['devices']} and ")
    with pytest.raises(InputError, match=rf"{expected}.* make {total}: give --devices with"):
        make_trainer(_options(**numbers))


def test_a_batch_script_without_srun_is_one_process(monkeypatch):
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert make_trainer(_options(devices=1)).world_size == 1


def test_several_machines_need_a_launcher():
    with pytest.raises(InputError, match="--num_nodes=2, but no launcher has started this process: use torchrun or"):
        make_trainer(_options(devices=1, num_nodes=2))
    with pytest.raises(InputError, match=r"trainer\.num_nodes must be at least 1, got 0"):
        make_trainer(_options(devices=1, num_nodes=0))
