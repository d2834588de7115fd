"""Of several processes, only the first one reads all images before it begins."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.jobs import TrainerOptions, running
from lit_certattr.records import provenance
from lit_certattr.smoothing import GaussianNoise


class Few(ImageDataModule):
    """Seven random images."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes, self.class_names, self.image_shape = 3, ["a", "b", "c"], (1, 4, 4)

    def setup(self, stage: str) -> None:
        """Draw them."""
        images = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        self.test_set = SampleSet(images, [-1] * 7, [f"image-{number}" for number in range(7)])


@pytest.mark.parametrize(("first", "devices", "hashes"), [(True, 2, 1), (False, 2, 0), (False, 1, 1)])
def test_only_the_first_process_hashes_the_images(tmp_path, monkeypatch, first, devices, hashes):
    calls, writers = [], []
    original = provenance.data_hash
    monkeypatch.setattr(provenance, "data_hash", lambda samples: calls.append(1) or original(samples))
    monkeypatch.setattr(running, "is_first_process", lambda: first)
    monkeypatch.setattr(running, "tell_noisy_accuracy", lambda *args: None)
    monkeypatch.setattr(running, "predict", lambda *args, **kwargs: writers.extend(args[3]))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=60)
    options = TrainerOptions("cpu", devices=devices, threads=1)
    jobs.run(certifier, Few(), network, output=tmp_path / "run", trainer=options, progress=False)
    assert len(calls) == hashes
    assert (writers[0].settings["images"] is None) == (not hashes)
    assert (len(writers[0].samples.digests()) == 7) == bool(hashes)
