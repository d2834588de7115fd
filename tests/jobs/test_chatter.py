"""Lightning's messages about devices are no output of a job."""

import logging

import pytest
from lightning import Trainer

from lit_certattr.jobs.trainer import TrainerOptions, make_trainer


@pytest.fixture
def said():
    """What Lightning's loggers say."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_trainer_of_a_job_is_made_in_silence(said):
    make_trainer(TrainerOptions("cpu", threads=1))
    assert not said
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert any("GPU available" in one.getMessage() for one in said), "and outside of jobs nothing has changed"
