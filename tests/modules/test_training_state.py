"""Random generators go on where a checkpoint left them."""

import io
import random

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.modules.training_state import random_states, restore_random_states

CPU = torch.device("cpu")


def draw() -> tuple:
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1).item()  # noqa: NPY002


def test_generators_repeat_after_a_round_trip_through_a_file():
    random.gauss(0, 1)  # leaves a spare number, which is part of the state
    np.random.randn()  # noqa: NPY002
    file = io.BytesIO()
    torch.save(random_states(CPU), file)
    expected = draw()
    file.seek(0)
    assert restore_random_states(torch.load(file, weights_only=True), CPU, 0, 1)
    assert draw() == expected


def test_another_number_of_processes_is_no_exact_repetition():
    assert not restore_random_states(random_states(CPU), CPU, 0, world_size=2)


@pytest.mark.parametrize("damage", [{}, {"torch": torch.ones(3)}, {"python": [3, torch.ones(2), None]}, {"numpy": "x"}])
def test_damaged_states_are_refused(damage):
    states = [{**random_states(CPU)[0], **damage} if damage else {}]
    with pytest.raises(InputError, match="random states cannot be read"):
        restore_random_states(states, CPU, 0, 1)
