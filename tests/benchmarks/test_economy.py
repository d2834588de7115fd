"""What the economy tables are made of: the certificates that the first samples of a run would have given."""

import numpy as np
import pytest
import torch

from benchmarks import counts, economy
from benchmarks.networks import SIGMA
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.smoothing import GaussianNoise, MapBlock, top_k_size

SHAPE, SAMPLES = (10, 10), 512


@pytest.fixture
def maps():
    pattern = torch.linspace(0, 4, 100).view(SHAPE)
    return pattern + torch.randn(SAMPLES, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def image(maps):
    sizes = [top_k_size(level, 100) for level in counts.LEVELS]
    steps = np.cumsum([MapBlock(part).count(sizes)[0].numpy() for part in maps.split(counts.EVERY)], 0)
    return counts.Counts(steps.astype(np.int16), 0)


def certify(certificate, maps):
    accumulator = certificate.start(GaussianNoise(SIGMA), SHAPE)
    accumulator.update(MapBlock(maps, 0))
    return accumulator.compute()


@pytest.mark.parametrize("num_samples", [192, 512])
def test_results_of_the_first_samples_are_those_of_the_certificates(maps, image, num_samples):
    first = maps[:num_samples]
    for settings in ({}, {"num_selection": 128}, {"uncovered": [0.0, 0.05]}):
        expected = certify(TopKOverlapCertificate(economy.TOP_K, economy.ALPHA, 0.1, **settings), first)
        assert torch.equal(economy.overlap(image, num_samples, 0.1, **settings).displacement, expected.displacement)
    for correction in ("bonferroni", "holm"):
        expected = certify(PixelCertificate([0.5, 0.1], economy.ALPHA, 0.75, correction), first)
        found = economy.pixels(image, num_samples, [0.5, 0.1], 0.75, correction)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.radius, expected.radius)


def test_the_smallest_number_is_the_smallest(image):
    def read(result):
        return result.overlap(0.0)

    goal = read(economy.overlap(image, 384, economy.TOP_K))
    found = economy._smallest([image], SAMPLES, economy.TOP_K, {}, read, goal)
    says = [n for n in range(64, SAMPLES + 1, 64) if read(economy.overlap(image, n, economy.TOP_K)) >= goal]
    assert found == str(says[0])
    assert economy._smallest([image], SAMPLES, economy.TOP_K, {}, read, 101) == "more than 512"


def test_all_tables_are_printed(image, capsys):
    economy.print_overlap([image], SAMPLES, [0.2])
    economy.print_labels([image], SAMPLES)
    economy.print_stopping("maps", [image], SAMPLES)
    out = capsys.readouterr().out
    for name in (*economy.BOUNDS, "Futility(gain=0.05, radius=0.0)", "all samples test both labels"):
        assert name in out
    with pytest.raises(ValueError, match="multiple of 64"):
        image.at(100, 0.2)


def test_votes_are_drawn_once(tmp_path, monkeypatch):
    """And are those of the pipeline: of samples 0, 1, 2, ... of the seed 0."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(100, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))

    class Module:
        predict_set = ((torch.linspace(0, 1, 100).view(1, 10, 10), 0, "image"),)

        def setup(self, stage):
            pass

    monkeypatch.setattr(counts, "network_and_data", lambda name: (network, Module(), 50))
    (found,) = counts.counts("digits", 1, 128, tmp_path)
    monkeypatch.setattr(counts, "network_and_data", None)  # not asked again
    (again,) = counts.counts("digits", 1, 128, tmp_path)
    assert np.array_equal(found.votes, again.votes)
    certifier = Certifier(Gradient(), GaussianNoise(SIGMA), [PixelCertificate(counts.LEVELS)], 128)
    (results,) = certifier(network, Module.predict_set[0][0][None], None, ["image"])
    assert np.array_equal(found.votes[-1], results["pixel"].votes.numpy())
