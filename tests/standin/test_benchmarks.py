"""The measurements of benchmarks/gpu.py work where tensors lie on a device."""

from argparse import Namespace

import pytest
from standin.device import NAME

from benchmarks import statistics_cost, timing, waits
from benchmarks.throughput import Setting, time_cases
from benchmarks.timing import interleaved
from lit_certattr.attribution import Gradient

SMALL = {"network": "small_cnn", "batch": 16, "samples": 160, "repetitions": 1, "only": "", "what": "time"}


@pytest.fixture
def on_device(device, monkeypatch):
    """The command line for the device, which cannot be waited for."""
    monkeypatch.setattr(timing, "wall_seconds", timing.cpu_seconds)
    return Namespace(**SMALL, device=f"{NAME}:0")


@pytest.mark.slow
def test_sampling_beside_the_bare_loop(on_device):
    setting = Setting(on_device, Gradient())
    assert {setting.image.device.type, setting.maps.device.type} == {NAME}
    assert min(map(min, interleaved(time_cases(setting), 1, NAME).values())) > 0


@pytest.mark.slow
def test_the_statistics_of_every_certificate(on_device):
    sample, costs = statistics_cost.measure(on_device)
    assert sample > 0
    assert list(costs) == [*statistics_cost.CERTIFICATES, *statistics_cost.REGIONS]
    assert all(cost.count > 0 for cost in costs.values())


def test_a_block_takes_as_many_operations_there(on_device):
    there = waits.measure(on_device)
    assert there.operations > 50
