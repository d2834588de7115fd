"""The forecast of an attack: what it says, and when it proposes a shorter one."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lit_certattr.data import SampleSet
from lit_certattr.jobs.attack_effort import tell_forecast


class Planned:
    """An attack of so many passes, one per second."""

    def __init__(self, passes):
        self.passes = passes

    def num_passes(self, results):
        return self.passes

    def passes_per_second(self, model, image, results, image_id):
        assert image_id == "one"
        return 1.0


@pytest.mark.parametrize(
    ("preset", "passes", "said"),
    [
        ("standard", 7200, "2 images x about 7,200 passes, 1 passes/s: about 4 h 0 min with the preset standard, "
                           "about 3 min 20 s with quick\n"),
        ("standard", 120, "2 images x about 120 passes, 1 passes/s: about 4 min 0 s with the preset standard\n"),
        ("quick", 7200, "2 images x about 7,200 passes, 1 passes/s: about 4 h 0 min with the preset quick\n"),
    ],
)  # fmt: skip
def test_a_long_attack_is_told_with_the_time_of_a_quick_one(capsys, preset, passes, said):
    samples, first = SampleSet(torch.zeros(1, 1, 2, 2), [0], ["one"]), SimpleNamespace(results={})
    tell_forecast(
        preset, Planned(passes), Planned(100), nn.Identity(), samples, first, 2, torch.device("cpu"), processes=1
    )
    assert capsys.readouterr().err == said
