"""Several processes work on one image together, and end with the bits of one."""

import re

import processes
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, load_results
from lit_certattr.certification import Futility, Seconds
from lit_certattr.certification.rounds import check_together
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise

PROGRAM = """
import sys, torch
from torch import distributed, nn
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, IntegratedGradients, ProbabilityGradient
from lit_certattr.certificates import *
from lit_certattr.certification import Futility
from lit_certattr.errors import SharedError
from lit_certattr.numbers import Box, EnergyInside
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Softplus(), nn.Linear(16, 3))
images = torch.linspace(0, 1, 72).view(2, 1, 6, 6)
claim = Claim("upper half", EnergyInside(Box(0.0, 0.0, 0.5, 1.0)), at_least=0.5)
everything = {
    "pixel": PixelCertificate([0.5, 0.2], alpha=0.05),
    "positive": PixelCertificate([0.5], alpha=0.05, ties="positive"),
    "overlap": TopKOverlapCertificate(0.5, alpha=0.05, num_selection=70),
    "ranked": TopKOverlapCertificate(0.25, alpha=0.05, map_kind="ranked"),
    "relaxed": TopKOverlapCertificate(0.25, alpha=0.05, map_kind="relaxed"),
    "pairs": TopKOverlapCertificate(0.5, alpha=0.05, num_selection=40, pairs=3),
    "renyi": RenyiCertificate(0.5, alpha=0.05),
    "cosine": CosineCertificate(alpha=0.05, num_selection=50),
    "prediction": PredictionCertificate(alpha=0.05),
    "claims": ClaimCertificate([claim], alpha=0.05),
    "percentile": PercentileCertificate([claim], alpha=0.05),
}
steep = {"smoothgrad": SmoothGradCertificate(0.5, alpha=0.05, num_selection=100), "pixel": everything["pixel"]}
gradient, gaussian = Gradient("sum"), GaussianNoise(0.3)
early = {"num_samples": 3000, "stopping": [Futility(0.3)]}
cases = {
    "fixed": (gradient, gaussian, everything, {"num_samples": 700}),
    "early": (gradient, gaussian, everything, early),
    "few": (gradient, gaussian, {"pixel": everything["pixel"]}, {"num_samples": 60}),  # fewer blocks than processes
    "path": (IntegratedGradients(steps=3), gaussian, everything, {"num_samples": 300}),  # passes that give no logits
    "smoothgrad": (ProbabilityGradient(), gaussian, steep, {"num_samples": 100_000, "batch_size": 5000}),
    "ball": (gradient, UniformBallNoise(0.3), {"cosine": everything["cosine"]}, {"num_samples": 500}),
}
for name, (method, noise, certificates, settings) in cases.items():
    certifier = Certifier(method, noise, certificates, **{"batch_size": 64} | settings)
    seen = []
    found = certifier(network, images, [1, 0], ["one", "two"], seen.append, together=True)
    for index, results in enumerate(found):
        save_results(f"{folder}/{world}-{rank}-{name}-{index}", results)
    print(name, sum(seen))

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, images):
        if rank == world - 1 and len(images) == 64:
            raise RuntimeError("out of luck")
        return network(images)

certifier = Certifier(gradient, gaussian, {"pixel": everything["pixel"]}, num_samples=700, batch_size=64, seed=0)
for run in (
    lambda: certifier(Fails(), images[:1], [1], ["one"], together=True),
    lambda: certifier(network, images[:1] * (1 - rank / 8), [1], ["one"], together=True),
) if world > 1 else ():
    try:
        run()
        print("no complaint")
    except SharedError as error:  # so that a command prints it once
        print(error)
"""


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_any_number_of_processes_ends_with_the_bits_of_one(tmp_path):
    for world in (1, 2, 3, 4):
        ended = processes.run(tmp_path, PROGRAM, *[(rank, world, tmp_path) for rank in range(world)])
        assert [one.status for one in ended] == [0] * world, ended
        for rank, one in enumerate(ended):
            lines = one.stdout.splitlines()
            if world > 1:
                *lines, failed, differs = lines
                last = (
                    "out of luck"
                    if rank == world - 1
                    else f"process {world - 1} of {world} has stopped: after 0 of 700"
                )
                assert re.search(last, failed), failed
                assert re.search("but they have different values of image: image-", differs), differs
            assert lines == [line for line in lines if int(line.split()[1]) > 0]
    alone = sorted(path.name.removeprefix("1-0-") for path in tmp_path.glob("1-0-*"))
    assert len(alone) == 2 * 6
    for world in (2, 3, 4):
        for rank in range(world):
            for name in alone:
                content = (tmp_path / f"{world}-{rank}-{name}").read_bytes()
                assert content == (tmp_path / f"1-0-{name}").read_bytes(), f"{name}, {rank} of {world}"
    early = [load_results(tmp_path / f"1-0-early-{index}")["pixel"] for index in (0, 1)]
    assert min(one.num_samples for one in early) < 3000, "one of the images was to stop early"


def test_what_cannot_have_the_bits_of_one_process_is_refused():
    pixel = PixelCertificate([0.5], alpha=0.05)
    for certifier, words in (
        (
            Certifier(Gradient(), GaussianNoise(0.3), [pixel], stopping=[Futility(), Seconds(1)]),
            "^Seconds stops by a clock, so several processes on one image do not end with the result of one: use",
        ),
        (
            Certifier(Gradient(), GaussianNoise(0.3), [PixelCertificate([0.5], sync_on_compute=True)]),
            "^certificate 'pixel' has sync_on_compute=True, but processes that share an image count all its samples",
        ),
    ):
        with pytest.raises(InputError, match=words):
            certifier(nn.Flatten(), torch.rand(1, 1, 4, 4), together=True)
        with pytest.raises(InputError, match=words):
            check_together(certifier.certificates, certifier.stopping)
    check_together({"pixel": pixel}, [Futility()])


def test_one_process_alone_makes_no_difference():
    certifier = Certifier(Gradient(), GaussianNoise(0.3), [PixelCertificate([0.5], alpha=0.05)], 100, 32)
    network, image = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(1, 1, 4, 4)
    one, two = (certifier(network, image, together=together)[0]["pixel"] for together in (False, True))
    assert torch.equal(one.votes, two.votes)
    assert one.sampling == two.sampling
