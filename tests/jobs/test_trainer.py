"""The Trainer of a job: what a machine does not have is refused with the remedy."""

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.jobs.trainer import TrainerOptions, make_trainer


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("gpu", "cuda"):
        with pytest.raises(InputError, match=r"; accelerator=auto takes what this machine has$"):
            make_trainer(TrainerOptions(name))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(InputError, match=r"\(CUDA_VISIBLE_DEVICES=3 decides which devices are seen\)$"):
        make_trainer(TrainerOptions("gpu"))


@pytest.mark.parametrize("count", [0, "0", 10_000])
def test_a_number_of_processes_that_no_machine_has(count):
    with pytest.raises(InputError, match=r"devices must be at (least 1|most)"):
        make_trainer(TrainerOptions("cpu", devices=count))
