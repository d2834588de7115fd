"""Several processes on one image, and the Trainer's deterministic mode."""

import re

import attrs
import processes
import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate, load_results
from lit_certattr.certification import Futility
from lit_certattr.certification.share import Share
from lit_certattr.data import SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.modules import CertificationModule
from lit_certattr.smoothing import GaussianNoise

PROGRAM = """
import sys, torch
from torch import distributed, nn
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate, save_results
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise
from lit_certattr.certification import Futility

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)

def certifier(sync=True, noise=GaussianNoise(0.25), attribution=Gradient("sum"), alpha=0.05, only=None, **settings):
    certificates = [
        PixelCertificate(top_k=[0.5, 0.25], alpha=alpha, sync_on_compute=True),
        TopKOverlapCertificate(0.5, alpha=0.05, num_selection=20, sync_on_compute=True),
        CosineCertificate(alpha=0.05, num_selection=9, sync_on_compute=sync),
    ]
    if only:
        certificates, settings = [one for one in certificates if one.name == only], {"stopping": []}
    defaults = {"num_samples": 1500, "batch_size": 64, "stopping": [Futility(0.3)]}
    return Certifier(attribution, noise, certificates, **defaults | settings)

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, 3))
image = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
(results,) = certifier()(network, image, [1], ids=["image"])
save_results(f"{folder}/{world}-{rank}", results)
second = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, 3))
second.load_state_dict(network.state_dict())
if rank:
    with torch.no_grad():
        second[1].bias[3] += 1e-3
other = nn.Sequential(network[0], network[1], nn.Tanh() if rank else network[2], network[3])

class Fails(nn.Module):
    def forward(self, images):
        if rank:
            raise RuntimeError("out of luck")
        return network(images)

for run in (
    lambda: certifier()(network, image * (1 - rank / 2), [1], ids=["image"]),
    lambda: certifier()(network, image, [rank], ids=["image"]),
    lambda: certifier(sync=False)(network, image, [1]),
    lambda: certifier()(second, image, [1]),
    lambda: certifier()(other, image, [1]),
    lambda: certifier(noise=GaussianNoise(0.25 + rank / 4))(network, image, [1]),
    lambda: certifier(noise=[GaussianNoise(0.25), UniformBallNoise(0.25)][rank], only="cosine")(network, image, [1]),
    lambda: certifier(attribution=Gradient("sum" if rank else "l2"))(network, image, [1]),
    lambda: certifier(alpha=0.05 + rank / 100)(network, image, [1]),
    lambda: certifier(num_samples=1500 + rank)(network, image, [1]),
    lambda: certifier(seed=rank)(network, image, [1]),
    lambda: certifier()(network.double() if rank else network, image.double() if rank else image, [1]),
    lambda: certifier()(network.float(), image.expand(1 + rank, -1, -1, -1), [1] * (1 + rank), ["a", "b"][:1 + rank]),
    lambda: certifier()(network, image * (1 + rank), [1]),
    lambda: certifier(num_samples=1 if rank else 1500)(network, image, [1]),
    lambda: certifier()(Fails(), image, [1]),
) if world > 1 else ():
    try:
        run()
        print("no complaint")
    except (InputError, RuntimeError) as error:
        print(str(error).splitlines()[0])
(results,) = certifier()(network, image, [1], ids=["image"])  # still in step
print(results["pixel"].num_samples)
"""

COMPLAINTS = (
    "but they have different values of image: image-",
    "but they have different values of target: 0, 1",
    "^pixel adds the samples of all processes and cosine does not",
    "different values of weights of the network: [0-9a-f]{64}, [0-9a-f]{64}$",
    "different values of structure of the network: Sequential [0-9a-f]{16}, Sequential [0-9a-f]{16}$",
    r"different values of noise: GaussianNoise\(sigma=0.25\), GaussianNoise\(sigma=0.5\)$",
    r"different values of noise: GaussianNoise\(sigma=0.25\), UniformBallNoise\(sigma=0.25\)$",
    "different values of attribution: Gradient",
    "different values of alpha of pixel: 0.05, 0.06",
    "different values of num_samples: 1500, 1501",
    "different values of seed: 0, 1",
    "different values of precision: float32, float64$",
    "different values of number of images: 1, 2",
    "pixels must lie in",  # also on the process whose image is as it should be
    "num_samples=1 certifies nothing",
    "out of luck",
)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_share_the_samples_of_an_image_and_stop_together(tmp_path):
    said = []
    for world in (1, 2):
        ended = processes.run(tmp_path, PROGRAM, *[(rank, world, tmp_path) for rank in range(world)])
        assert [one.status for one in ended] == [0] * world, ended
        said = [one.stdout for one in ended]
    for lines in said:  # both processes refuse, and neither waits for the other
        *complaints, again = lines.splitlines()
        assert len(complaints) == len(COMPLAINTS)
        for complaint, expected in zip(complaints, COMPLAINTS, strict=True):
            assert re.search(expected, complaint), complaint
        assert again == said[0].splitlines()[-1]
    one, two, other = (load_results(tmp_path / name) for name in ("1-0", "2-0", "2-1"))
    assert one["pixel"].num_samples in one["pixel"].sampling["looks"][1:-1]  # it stopped early, at a later look
    for name in ("pixel", "topk_overlap"):
        assert two[name].sampling == one[name].sampling
        for field in attrs.fields(type(one[name])):
            values = [getattr(results[name], field.name) for results in (one, two, other)]
            if isinstance(values[0], torch.Tensor):
                # Another size of the blocks may round a near-tie differently.
                close = torch.isclose(values[0].double(), values[1].double(), atol=0.01)
                assert close.sum() >= 0.97 * close.numel()
                assert torch.equal(values[1], values[2])
            elif field.name not in ("flags", "tied"):
                assert values[0] == values[1] == values[2]
        assert one[name].votes.sum() == two[name].votes.sum()  # each sample once
    cosine = two["cosine"]
    assert cosine.num_samples == one["cosine"].num_samples
    assert len(cosine.projections) == cosine.num_samples - 2 * 9  # a direction each
    torch.testing.assert_close(cosine.mean, one["cosine"].mean, atol=1e-6, rtol=0)
    assert torch.equal(cosine.projections, other["cosine"].projections)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_sample_is_drawn_by_one_process(world):
    for start, end in ((0, 64), (64, 128), (128, 1000), (5, 6)):
        drawn = [i for rank in range(world) for i in range(*Share(rank, world).of(start, end))]
        assert drawn == list(range(start, end))


def test_certificates_that_add_are_refused_where_processes_have_images_of_their_own():
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate(sync_on_compute=True)])
    with pytest.raises(InputError, match="'pixel' has sync_on_compute=True, which would add the votes of different"):
        CertificationModule(nn.Flatten(), certifier)


# The Trainer's deterministic mode: operations without a deterministic implementation raise.


def _predict(accelerator, deterministic):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    certificates = [
        PixelCertificate(top_k=[0.5, 0.2], alpha=0.05, ties="positive"),
        TopKOverlapCertificate(0.25, alpha=0.05, num_selection=20),
        CosineCertificate(alpha=0.05, nonnegative=True, num_selection=20),
    ]
    named = {certificate.name: certificate for certificate in certificates}
    named["ranked"] = TopKOverlapCertificate(0.25, alpha=0.05, map_kind="ranked")
    named["relaxed"] = TopKOverlapCertificate(0.25, alpha=0.05, map_kind="relaxed")
    certifier = Certifier(Gradient(), GaussianNoise(0.25), named, 300, 50, stopping=[Futility(0.5)])
    images = (torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 4).round() / 4
    data = DataLoader(SampleSet(images, [0, 1], ["a", "b"]), batch_size=2, collate_fn=collate)
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        deterministic=deterministic,
        logger=False,
        enable_progress_bar=False,
        inference_mode=False,
    )
    try:
        (found,) = trainer.predict(CertificationModule(network, certifier), data)
    finally:
        torch.use_deterministic_algorithms(False)
    return dict(found)


def _equal(one, two):
    for name, result in one.items():
        for field in attrs.fields(type(result)):
            first, second = getattr(result, field.name), getattr(two[name], field.name)
            assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second, field.name


def test_deterministic_mode_changes_nothing_and_forbids_nothing():
    strict, free = _predict("cpu", True), _predict("cpu", False)
    for image_id, results in strict.items():
        _equal(results, free[image_id])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_deterministic_mode_works_on_an_accelerator(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    first, second = _predict("gpu", True), _predict("gpu", True)
    for image_id, results in first.items():
        _equal(results, second[image_id])
