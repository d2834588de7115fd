"""Shared by all tests: one thread (two cost more on small networks), and no run ever asks for a network."""

import os
import sys

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no failure. CI runs the same examples every time; everyone else looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_wandb_run_outlives_its_test():
    """An open run would be reused by the next logger, and the service keeps the folder in which it started."""
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.finish()
        wandb.teardown()
