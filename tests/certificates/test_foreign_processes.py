"""A kind from outside the package in a real ``fit``, and over two processes (gloo)."""

import json
from pathlib import Path

import processes
import pytest
import torch

from lit_certattr.certificates import UnknownResult, load_results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

HERE = Path(__file__).parent
KIND = (HERE / "test_foreign_kind.py").read_text().partition("# --- what becomes of it")[0]
FIT = (HERE.parent / "callbacks" / "two_processes.py").read_text()

SHARE = """
from peak_kind import *
from torch import distributed

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, 3))
image = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
certificates = [PeakCertificate(sync_on_compute=True), PixelCertificate([0.25], sync_on_compute=True)]
settings = {"num_samples": 600, "batch_size": 64}
(results,) = Certifier(Gradient(), GaussianNoise(0.25), certificates, **settings)(network, image, [1], ids=["image"])
save_results(f"{folder}/{world}-{rank}", results)
"""


@pytest.fixture
def program(tmp_path):
    """Makes a program whose process finds the kind in a module of the user."""
    (tmp_path / "peak_kind.py").write_text(f"{KIND}\nCERTIFICATE = PeakCertificate(alpha=0.05)\n")
    return lambda text: f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{text}"


def test_it_is_certified_in_a_fit_and_two_processes_log_what_one_does(tmp_path, program):
    seen = {}
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        (done,) = processes.run(tmp_path, program(FIT), (devices, tmp_path / str(devices), "peak_kind"))
        assert done.status == 0, done.stderr[-3000:]
        seen[devices] = [json.loads((tmp_path / f"{devices}/{rank}.json").read_text()) for rank in range(devices)]
    (one,), (first, second) = seen[1], seen[2]
    assert (first["ids"], second["ids"]) == (["a", "c"], ["b"])
    assert first["metrics"] == second["metrics"] == one["metrics"]
    assert {"certified/peak_kept_r0_05", "certified/peak_kept_r0_10"} <= one["metrics"].keys()
    assert 0 < one["metrics"]["certified/peak_kept_r0_05"] <= 1
    assert first["rows"] == one["rows"] == sorted("abc" * 4)


def test_two_processes_share_its_samples(tmp_path, program):
    for world in (1, 2):
        ended = processes.run(tmp_path, program(SHARE), *[(rank, world, tmp_path) for rank in range(world)])
        assert [one.status for one in ended] == [0] * world, ended
    one, two, other = (load_results(tmp_path / name)["peak"] for name in ("1-0", "2-0", "2-1"))
    votes = [
        result.tensors["votes"] if isinstance(result, UnknownResult) else result.votes for result in (one, two, other)
    ]
    assert [result.num_samples for result in (one, two, other)] == [600] * 3
    assert [int(counts.sum()) for counts in votes] == [600] * 3, "each sample once"
    assert torch.equal(votes[1], votes[2])
    assert (votes[0] - votes[1]).abs().sum() <= 6  # another size of the blocks may round a near-tie differently
