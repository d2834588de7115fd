"""The samples of one image, drawn by two processes and added."""

import processes
import pytest
import torch

from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate, save_results
from lit_certattr.smoothing import GaussianNoise

PROGRAM = """
import sys, torch
from torch import distributed
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate, save_results
from lit_certattr.smoothing import GaussianNoise

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
maps = torch.load(f"{folder}/maps", weights_only=True)
results = {}
for kind, top_k in ((PixelCertificate, [0.5, 0.2]), (TopKOverlapCertificate, 0.2)):
    certificate = kind(top_k=top_k, alpha=0.05, sync_on_compute=True)
    accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
    accumulator.update(maps[:130] if rank == 0 else maps[130:])
    results[certificate.name] = accumulator.compute()
    assert int(accumulator.num_samples) == (130, 170)[rank]  # back to its own samples
save_results(f"{folder}/rank{rank}", results)
distributed.destroy_process_group()
"""


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_add_up_to_one(tmp_path):
    maps = torch.linspace(-1, 1, 30).view(5, 6) + 0.3 * torch.randn(300, 5, 6)
    torch.save(maps, tmp_path / "maps")
    results = {}
    for certificate in (PixelCertificate(top_k=[0.5, 0.2], alpha=0.05), TopKOverlapCertificate(top_k=0.2, alpha=0.05)):
        accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
        accumulator.update(maps)
        results[certificate.name] = accumulator.compute()
    save_results(tmp_path / "alone", results)

    ended = processes.run(tmp_path, PROGRAM, (0, tmp_path), (1, tmp_path))
    assert [one.status for one in ended] == [0, 0], ended
    for rank in (0, 1):
        assert (tmp_path / f"rank{rank}").read_bytes() == (tmp_path / "alone").read_bytes()
