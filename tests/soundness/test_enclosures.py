"""Certificates against interval bounds: what is provable about a smoothed map without sampling contradicts none.

The smoothed maps of tiny networks are enclosed at any point (oracles.enclosure), so there is no attack to be too weak
and no sampling error in the verdict.
"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from oracles.enclosure import Enclosure, Tiny
from scipy.stats import chi2, norm
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, RenyiCertificate, TopKOverlapCertificate
from lit_certattr.smoothing import GaussianNoise, noisy_images

SIGMA, IMAGE, SAMPLES = 0.25, torch.full((1, 1, 3), 0.5), 3000
SEEDS = range(4)


def certify(network, num_samples=SAMPLES, seed=0):
    certificates = {
        "pixel": PixelCertificate([1, 2]),
        "overlap": TopKOverlapCertificate(1),
        "one_number": TopKOverlapCertificate(1, bound="one_number", num_selection=100),
        "renyi": RenyiCertificate(1, scores="uniform"),
        "cosine": CosineCertificate(),
    }
    run = Certifier(Gradient("sum"), GaussianNoise(SIGMA), certificates, num_samples, num_samples, seed)
    return run(network, IMAGE[None], [0], ids=["image"])[0]


@cache
def case_of(seed):
    network = Tiny(seed)
    return network, Enclosure(network, IMAGE, SIGMA, depth=4), certify(network)


@pytest.fixture(params=SEEDS)
def case(request):
    return case_of(request.param)


def points(network):
    """Directions across the hyperplanes of the ReLUs, where maps change, and random ones."""
    rng = np.random.default_rng(0)
    normals = network.inner.weight.detach().double().numpy()
    for direction in (*normals, *-normals, *rng.standard_normal((2, 3))):
        yield torch.from_numpy(direction / np.linalg.norm(direction)).view(1, 1, 3)


def test_the_enclosure_encloses(case):
    """The control of the oracle: frequencies of many samples lie in it, and it is narrow."""
    network, enclosure, _ = case
    point, n = IMAGE + 0.1, 40_000
    block = next(noisy_images(point, GaussianNoise(SIGMA), image_id="a", num_samples=n, batch_size=n))
    maps = Gradient("sum")(network, block, torch.zeros(n, dtype=torch.long)).flatten(1).double()
    ranks = torch.sort(maps, dim=1, descending=True, stable=True).indices
    voting = maps.ne(0).any(1)  # a constant map is in no top K
    share = np.stack([np.bincount(ranks[voting, :size].numpy().ravel(), minlength=3) / n for size in (1, 2)])
    lower, upper = enclosure.votes(point)
    assert (lower - 4.5 / math.sqrt(4 * n) <= share).all()
    assert (share <= upper + 4.5 / math.sqrt(4 * n)).all()
    assert (upper - lower).max() < 0.1
    mean, error = enclosure.mean(point)
    found = (maps / maps.norm(dim=1, keepdim=True).clamp(min=1e-300)).mean(0).numpy()
    assert np.linalg.norm(found - mean) < error + 5 / math.sqrt(n)


def test_claims_at_the_image_lie_below_what_is_possible(case):
    _, enclosure, results = case
    least, most = enclosure.votes(IMAGE)
    important, unimportant = (claim.view(2, 3).numpy() for claim in results["pixel"].claims().values())
    assert (important <= most).all()
    assert (unimportant <= 1 - least).all()
    least, most = least[0], most[0]
    selected, left_out = (claim.view(-1).numpy() for claim in results["overlap"].claims().values())
    assert (selected <= most).all()
    assert (left_out <= 1 - least).all()
    (share,) = results["one_number"].claims().values()
    assert float(share) <= most[results["one_number"].inside.view(-1).numpy()].max()
    mean, error = enclosure.mean(IMAGE)
    assert results["cosine"].norm <= np.linalg.norm(mean) + error


def test_no_label_is_certified_beyond_the_distance_at_which_it_provably_flips(case):
    network, enclosure, results = case
    labels, radius = results["pixel"].labels.view(2, 3).numpy(), results["pixel"].radius.view(2, 3).double().numpy()
    assert (labels >= 0).sum() >= 2
    for direction in points(network):
        for distance in np.array([0.0, 0.2, 0.5, 1.0, 1.5, 2.5]) * SIGMA:
            least, most = enclosure.votes(IMAGE + distance * direction)
            own = np.where(labels == 1, most, 1 - least)[labels >= 0]  # what the label can have at most
            assert (radius[labels >= 0][own < 0.5] <= distance).all()
            # and no vote falls by more than the theorem allows at this distance.
            assert (own >= norm.cdf((radius[labels >= 0] - distance) / SIGMA) - 1e-9).all()


def test_overlap_and_cosine_hold_wherever_they_are_enclosed(case):
    network, enclosure, results = case
    here, slack = enclosure.mean(IMAGE)
    for direction in points(network):
        for distance in np.array([0.1, 0.3, 1.0, 2.0]) * SIGMA:
            point = IMAGE + distance * direction
            least, most = (bound[0] for bound in enclosure.votes(point))
            for name in ("overlap", "one_number", "renyi"):
                inside = results[name].inside.view(-1).numpy()
                possible = int(most[inside].max() >= least[~inside].max())
                assert results[name].overlap(distance) <= possible
            there, error = enclosure.mean(point)
            lengths = np.linalg.norm(here), np.linalg.norm(there)
            if slack < lengths[0] and error < lengths[1]:
                angle = math.acos(np.clip(here @ there / math.prod(lengths), -1, 1))
                turned = angle - math.asin(slack / lengths[0]) - math.asin(error / lengths[1])
                assert results["cosine"].at(distance) <= math.cos(max(turned, 0.0))


def test_some_labels_and_overlaps_do_flip_and_certificates_come_near():
    """The control: the checks above are not true for want of anything to find."""
    flips, overlaps, ratios = 0, 0, []
    for seed in SEEDS:
        network, enclosure, result = case_of(seed)
        labels, radius = result["pixel"].labels.view(2, 3).numpy(), result["pixel"].radius.view(2, 3).numpy()
        inside = result["overlap"].inside.view(-1).numpy()
        for direction in points(network):
            for distance in np.geomspace(0.2, 4, 8) * SIGMA:
                least, most = (bound[0] for bound in enclosure.votes(IMAGE + distance * direction))
                flipped = np.where(labels[0] == 1, most < 0.5, least > 0.5) & (labels[0] >= 0)
                overlaps += most[inside].max() < least[~inside].max()
                if flipped.any():
                    flips += 1
                    ratios.append(distance / radius[0][flipped].max())
                    break
    assert flips > 10
    assert overlaps > 10
    assert 1 <= min(ratios) < 2


class Kink(nn.Module):
    """One ReLU: gradient (3, 1, 0) on the side of the image, (0, 1, 0) beyond a hyperplane at this distance."""

    def __init__(self, distance):
        super().__init__()
        self.offset = distance - float(IMAGE.view(-1)[0])

    def forward(self, images):
        flat = images.flatten(1)
        score = 3 * torch.relu(flat[:, 0] + self.offset) + flat[:, 1] + 0.5
        return torch.stack([score, -score], 1)


def test_a_single_kink_is_certified_up_to_its_distance_and_no_further():
    """The map is constant on each side of a hyperplane, so the flip is at the distance to it, exactly."""
    for distance in (0.05, 0.2, 0.4):
        network = Kink(distance)
        result = certify(network, 20_000)["pixel"]
        label, radius = result.labels[0].view(-1), result.radius[0].view(-1)
        assert label.tolist() == [1, 0, 0]
        assert 0.85 * distance - 0.01 < float(radius[0]) <= distance
        assert 0.85 * distance - 0.01 < float(radius[1]) <= distance
        assert float(radius[2]) > 3 * SIGMA  # in the top 1 nowhere


def test_a_region_in_which_the_map_is_constant_is_certified():
    """No ReLU changes within a ball: the noise stays there with a chi-square probability, and so do all votes."""
    for seed in SEEDS:
        network = Tiny(seed)
        weight, bias = network.inner.weight.detach().double(), network.inner.bias.detach().double()
        x = IMAGE.double().view(-1)
        ball = float(((weight @ x + bias).abs() / weight.norm(dim=1)).min())
        stays = chi2.cdf((ball / 0.05) ** 2, 3)
        run = Certifier(Gradient("sum"), GaussianNoise(0.05), [PixelCertificate([1])], SAMPLES, SAMPLES)
        result = run(network, IMAGE[None], [0], ids=["image"])[0]["pixel"]
        gradient = Gradient("sum")(network, IMAGE[None], torch.tensor([0]))[0]
        if stays > 0.6:
            expected = torch.zeros(3, dtype=torch.int8)
            expected[int(gradient.argmax())] = 1
            assert torch.equal(result.labels.view(-1), expected)
            assert (result.votes.view(-1)[expected == 1] / SAMPLES > stays - 4.5 / math.sqrt(SAMPLES)).all()
