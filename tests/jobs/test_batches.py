"""How many images share a turn of the Trainer's loop."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import ResultWriter
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import FromDatasets
from lit_certattr.jobs.predict import images_per_batch
from lit_certattr.smoothing import GaussianNoise


def test_tiny_images_share_a_turn_of_the_loop(monkeypatch, tmp_path):
    found, write = [], ResultWriter.write
    monkeypatch.setattr(
        ResultWriter, "write", lambda self, *rest: (found.append(len(rest[2].id)), write(self, *rest))[1]
    )
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate()], num_samples=20)
    data = FromDatasets(test=TensorDataset(torch.rand(20, 1, 8, 8)))
    options = jobs.TrainerOptions("cpu", devices=1)
    jobs.run(certifier, data, network, output=tmp_path / "tiny", trainer=options, progress=False, max_panels=0)
    assert found == [16, 4]


@pytest.mark.parametrize(
    ("shape", "num_samples", "images"),
    [((1, 8, 8), 40, 16), ((1, 8, 8), 1000, 2), ((1, 8, 8), 2000, 1), ((3, 2000, 2000), 10**6, 1)],
)
def test_more_work_per_image_means_fewer_images(shape, num_samples, images):
    assert images_per_batch(torch.empty(1).expand(shape), num_samples) == images
