"""The stand-in device of these tests, which draws its own normals and reads pageable memory at once, as CUDA does."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from standin.device import NAME, Held, Record, standin
from torch import Tensor

from lit_certattr.attribution import smooth_grad
from lit_certattr.devices import precision, transfer
from lit_certattr.smoothing import stream
from lit_certattr.smoothing.normals import CPUNormals, NormalStream, normal_stream


class _Normals(CPUNormals):
    """The normals of the CPU, drawn on the device."""

    def fill_(self, rows: Tensor, start: int) -> Tensor:
        assert isinstance(rows, Held)
        super().fill_(rows.held, start)
        return rows


def _normal_stream(seed: int, image_id: str, device: torch.device | str) -> NormalStream:
    if torch.device(device).type != NAME:
        return normal_stream(seed, image_id, device)
    made = _Normals(seed, image_id, torch.device("cpu"))
    made.device = torch.device(device)
    return made


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """The device is there; what happens on it."""
    monkeypatch.setattr(transfer, "COPIES_AT_ONCE", {*transfer.COPIES_AT_ONCE, NAME})
    for module in (stream, smooth_grad):
        monkeypatch.setattr(module, "normal_stream", _normal_stream)
    with standin() as record:
        yield record


@pytest.fixture
def no_float64(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The device has no float64."""
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", {*precision.WITHOUT_FLOAT64, NAME})
