"""The certificate of SmoothGrad through the whole pipeline, on a network whose smoothed gradient is known exactly.

The probability is a mixture of ridges, ``sum_k a_k Phi(w_k . x + c_k)``, so its smoothing and the gradient of that are
closed forms. The pixels of each ridge gain and lose weight as the image moves along it, and the top K changes.
"""

import numpy as np
import pytest
import torch
from oracles import overlap
from scipy.stats import binom, norm
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import ProbabilityGradient
from lit_certattr.certificates import SmoothGradCertificate, smoothgrad_bounds
from lit_certattr.smoothing import GaussianNoise

SIGMA, ALPHA, SIZE, REPEATS = 0.5, 0.1, 4, 150
SHAPE = (2, 2, 4)  # channels, height, width
IMAGE = torch.full(SHAPE, 0.5, dtype=torch.float64)


class Ridges(nn.Module):
    def __init__(self, seed=0, count=3, steep=4.0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.directions = rng.normal(size=(count, 16)) * steep / 4
        self.offsets = rng.normal(size=count) * 0.3
        self.weights = rng.dirichlet(np.full(count, 5.0))

    def forward(self, images):
        at = (images.flatten(1).double() - 0.5) @ torch.from_numpy(self.directions).T + torch.from_numpy(self.offsets)
        p = (torch.special.ndtr(at) @ torch.from_numpy(self.weights)).clamp(1e-12, 1 - 1e-12)
        return torch.stack([p.log(), (-p).log1p()], 1)

    def gradient(self, shift):
        """Gradient of the smoothed probability at the image plus a shift, ``[2, 2, 4]``."""
        scale = np.sqrt(1 + SIGMA**2 * (self.directions**2).sum(1))
        at = (self.directions @ shift.ravel() + self.offsets) / scale
        return ((self.weights * norm.pdf(at) / scale) @ self.directions).reshape(SHAPE)

    def smoothed(self, shift):
        return np.linalg.norm(self.gradient(shift), axis=0).ravel()


def certify(network, num_samples, seed=0):
    certificate = SmoothGradCertificate(SIZE, ALPHA, num_selection=50)
    run = Certifier(ProbabilityGradient(), GaussianNoise(SIGMA), [certificate], num_samples, num_samples, seed=seed)
    return run(network, IMAGE[None], [0], ids=["image"])[0]["smoothgrad"]


def kept(network, inside, radius, trials=60):
    """Smallest overlap over shifts of that length: along the ridges, at random, and by a few greedy steps."""
    rng, least = np.random.default_rng(0), SIZE
    directions = [*network.directions, *-network.directions, *rng.normal(size=(trials, 16))]
    for start in directions:
        delta = radius * start / np.linalg.norm(start)
        for _ in range(3):
            moved = network.smoothed(delta)
            least = min(least, int((overlap.top_set(moved + 1e-12 * ~inside, SIZE) & inside).sum()))
            step = rng.normal(size=16) * radius
            nearer = delta + step * radius / np.linalg.norm(step)
            nearer *= radius / np.linalg.norm(nearer)
            if network.smoothed(nearer)[inside].min() < moved[inside].min():
                delta = nearer
    return least


def test_the_closed_form_is_the_closed_form():
    network = Ridges()
    result = certify(network, 400_000)
    exact = network.gradient(np.zeros(16))
    error = np.abs(result.gradient.numpy() - exact)
    assert (error < 5 * np.sqrt(result.square.numpy() / 400_000) / 400_000**0.5 / SIGMA).all()
    assert (error <= result.margins().numpy()).all()


@pytest.mark.parametrize("seed", range(4))
def test_radii_hold_against_the_attack_and_are_not_vacuous(seed):
    network = Ridges(seed)
    result = certify(network, 400_000)
    inside, certified, broken = result.inside.numpy().ravel(), 0, False
    for missing, radius in enumerate(result.displacement.double().tolist()):
        if 0 < radius < np.inf:
            certified += 1
            assert kept(network, inside, 0.999 * radius) >= SIZE - missing
            broken |= any(kept(network, inside, factor * radius) < SIZE - missing for factor in (5, 20, 60))
    assert certified > 0
    assert broken


def true_radii(network, result):
    """What the population allows: the smallest distances over the constant of every smoothed probability."""
    s, inside = network.smoothed(np.zeros(16)), result.inside.numpy().ravel()
    return smoothgrad_bounds.swap_distances(s, s, inside)


def failures(runs=REPEATS, num_samples=500):
    """Runs in which any margin misses, or any distance behind a radius exceeds the true one."""
    network, wrong = Ridges(), 0
    exact = network.gradient(np.zeros(16))
    for seed in range(runs):
        result = certify(network, num_samples, seed)
        misses = (np.abs(result.gradient.numpy() - exact) > result.margins().numpy()).any()
        true, inside = true_radii(network, result), result.inside.numpy().ravel()
        margins = np.linalg.norm(result.margins().numpy(), axis=0).ravel()
        s = result.smoothed.numpy().ravel()
        claimed = smoothgrad_bounds.swap_distances(np.maximum(s - margins, 0), s + margins, inside)
        wrong += bool(misses or (claimed > true + 1e-9).any())
    return wrong


def test_family_wise_error_stays_below_alpha():
    assert failures() <= binom.ppf(0.999, REPEATS, ALPHA)


def test_the_check_catches_margins_without_correction(monkeypatch):
    """The control: a sixth of the margin."""
    exact = smoothgrad_bounds.raw_moment_margin
    monkeypatch.setattr(smoothgrad_bounds, "raw_moment_margin", lambda *settings: exact(*settings) / 6)
    assert failures() > binom.ppf(0.999, REPEATS, ALPHA)


def test_the_check_catches_a_lipschitz_constant_that_is_too_small(monkeypatch):
    """The control: with a hundredth of the constant the attack breaks what is promised."""
    exact = smoothgrad_bounds.curvature
    monkeypatch.setattr(smoothgrad_bounds, "curvature", lambda *settings: exact(*settings) / 100)
    monkeypatch.setattr(smoothgrad_bounds, "LARGEST_CURVATURE", smoothgrad_bounds.LARGEST_CURVATURE / 100)
    network = Ridges(1)
    result = certify(network, 400_000)
    inside = result.inside.numpy().ravel()
    promised = [(m, r) for m, r in enumerate(result.displacement.double().tolist()) if 0 < r < np.inf]
    assert any(kept(network, inside, 0.999 * radius) < SIZE - missing for missing, radius in promised)


def test_the_steepest_probability_moves_as_fast_as_the_constant_says():
    """p = 1 outside a slab: at its centre the smoothed gradient moves along the normal at the full rate."""
    step = 1e-3
    moved = (norm.pdf(1 - step / SIGMA) - norm.pdf(1 + step / SIGMA)) / SIGMA
    assert moved == pytest.approx(smoothgrad_bounds.LARGEST_CURVATURE * step / SIGMA**2, rel=1e-4)
    assert float(smoothgrad_bounds.reach(moved, 1.0, 1.0, SIGMA)) == pytest.approx(step, rel=1e-4)
