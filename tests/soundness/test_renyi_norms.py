"""Renyi certificates in l_s and l-infinity, through the whole pipeline, on maps whose smoothed values are known.

The map of a noisy image is one of eight patterns, by which of three coordinates exceed a threshold, so the smoothed map
at any shift is a sum of products of distribution functions of the noise.
"""

import itertools

import numpy as np
import pytest
import torch
from oracles import overlap
from scipy.stats import binom, gennorm

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution
from lit_certattr.certificates import RenyiCertificate, renyi_bounds
from lit_certattr.certificates.renyi_bounds import renyi_displacement_radii
from lit_certattr.smoothing import GaussianNoise, GeneralisedNormalNoise

SIGMA, ALPHA, SIZE, REPEATS = 0.25, 0.05, 3, 100
CUTS = np.array([0.1, -0.6, 0.9])  # in units of sigma, at the image
IMAGE = torch.full((1, 1, 3), 0.5)
PATTERNS = torch.stack(
    [
        torch.tensor([9.0, 8, 7, 2, 1, 3, 0, 0.5]).roll(1 if one else 0)
        + torch.tensor([0.0, 0, 0, 6, 0, 0, 0, 4]) * two
        + torch.tensor([0.0, 0, -5, 0, 0, 5.5, 0, 0]) * three
        for one, two, three in itertools.product((0, 1), repeat=3)
    ]
).view(8, 2, 4)
CASES = [
    (GaussianNoise(SIGMA), "l2"),
    (GaussianNoise(SIGMA), "linf"),
    (GeneralisedNormalNoise(SIGMA, 4), "l4"),
    (GeneralisedNormalNoise(SIGMA, 4), "linf"),
    (GeneralisedNormalNoise(SIGMA, 8), "l8"),
]
IDS = [f"{noise!r}-{norm}" for noise, norm in CASES]
ALLOWED = int(binom.ppf(0.999, REPEATS, ALPHA))


class Cells(Attribution):
    def __init__(self):
        super().__init__("sum")

    def __call__(self, model, images, targets, create_graph=False):
        above = (images.flatten(1).double() - 0.5) / SIGMA > torch.from_numpy(CUTS)
        return PATTERNS[(above.long() * torch.tensor([4, 2, 1])).sum(1)]


class Network(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :2]


def smoothed(noise, shift=(0.0, 0.0, 0.0)):
    """The smoothed map of linear rank scores that add up to one, exact."""
    law = (
        gennorm(noise.s, scale=noise.scale)
        if isinstance(noise, GeneralisedNormalNoise)
        else gennorm(2, 0, 2**0.5 * SIGMA)
    )
    above = law.sf(CUTS * SIGMA - np.asarray(shift))
    weight = [np.prod(np.where(cell, above, 1 - above)) for cell in itertools.product((0, 1), repeat=3)]
    ranks = PATTERNS.flatten(1).argsort(1, descending=True).argsort(1).double().numpy()
    scores = np.maximum(0, 1 - ranks / SIZE)
    return np.array(weight) @ (scores / scores.sum(1, keepdims=True))


def certify(noise, norm, num_samples, seed=0):
    certificate = RenyiCertificate(SIZE, ALPHA, radius_norm=norm, uncovered=[0.0])
    run = Certifier(Cells(), noise, [certificate], num_samples, batch_size=num_samples, seed=seed)
    return run(Network(), IMAGE[None], [0], ids=["image"])[0]["renyi"]


def kept(noise, norm, inside, radius):
    """Smallest overlap over shifts of that length in the directions of {-1, 0, 1}^3, ties to the adversary."""
    least = SIZE
    for direction in itertools.product((-1, 0, 1), repeat=3):
        length = np.linalg.norm(direction, float(norm[1:]))
        if length:
            moved = smoothed(noise, radius * np.array(direction) / length) + 1e-12 * ~inside
            least = min(least, int((overlap.top_set(moved, SIZE) & inside).sum()))
    return least


@pytest.mark.parametrize(("noise", "norm"), CASES, ids=IDS)
def test_the_closed_form_is_the_closed_form(noise, norm):
    result = certify(noise, norm, 20_000)
    share, expected = result.votes.double().numpy().ravel() / 20_000, smoothed(noise) * (SIZE + 1) / 2
    assert (np.abs(share - expected) < 4.5 * np.sqrt(np.maximum(expected * (1 - expected), 1e-6) / 20_000)).all()


@pytest.mark.parametrize(("noise", "norm"), CASES, ids=IDS)
def test_radii_hold_against_the_attack_and_are_not_vacuous(noise, norm):
    result, broken, certified = certify(noise, norm, 20_000), False, 0
    inside = result.inside.numpy().ravel()
    for missing, radius in enumerate(result.displacement.double().tolist()):
        if 0 < radius < np.inf:
            certified += 1
            for part in (0.3, 0.999):
                assert kept(noise, norm, inside, part * radius) >= SIZE - missing
            broken |= kept(noise, norm, inside, 8 * radius) < SIZE - missing
    assert certified > 0
    assert broken


def failures(noise, norm):
    def reach(needed):
        return renyi_bounds.shortest_shift(needed, noise, float(norm[1:]), 3)

    wrong, h = 0, smoothed(noise)
    for seed in range(REPEATS):
        result = certify(noise, norm, 150, seed)
        true = renyi_displacement_radii(h, h, result.inside.numpy().ravel(), reach)
        wrong += bool((result.displacement.double().numpy() > true + 1e-9).any())
    return wrong


@pytest.mark.parametrize(("noise", "norm"), [CASES[1], CASES[4]], ids=[IDS[1], IDS[4]])
def test_family_wise_error_stays_below_alpha(noise, norm):
    assert failures(noise, norm) <= ALLOWED


def test_the_check_catches_l2_radii_that_are_called_l_infinity(monkeypatch):
    """The control: without the factor of the dimension the attack breaks what is promised."""
    noise, exact = GaussianNoise(SIGMA), renyi_bounds.shortest_shift
    monkeypatch.setattr(
        "lit_certattr.certificates.renyi.shortest_shift", lambda n, law, norm, dimension: exact(n, law, 2, 1) * 3
    )
    result = certify(noise, "linf", 20_000)
    inside = result.inside.numpy().ravel()
    promised = [(m, r) for m, r in enumerate(result.displacement.double().tolist()) if 0 < r < np.inf]
    assert any(kept(noise, "linf", inside, 0.999 * radius) < SIZE - missing for missing, radius in promised)
