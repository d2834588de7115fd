"""Every bound of the overlap certificate, at its advertised error, on maps whose smoothed values are known exactly.

Two models. ``Pairs`` (test_closed_form) moves every vote as fast as any function can. ``half_spaces`` gives one of four
patterns by where ``u . z`` falls between three thresholds, so the smoothed map of any kind (relaxed, scaled, quadratic)
is a sum of four normal probabilities at every point, and ``+-u`` are the directions in which it moves fastest.
"""

from functools import cache

import numpy as np
import pytest
import torch
from oracles import overlap
from scipy.stats import binom, norm

from lit_certattr.certificates import (
    RenyiCertificate,
    TopKOverlapCertificate,
    displacement_radii,
    overlap_bounds,
    pair_bounds,
)
from lit_certattr.smoothing import (
    GaussianNoise,
    MapBlock,
    quadratic_map,
    relaxed_top_k,
    scaled_map,
    top_k_mask,
    uniform_levels,
)

SIGMA, ALPHA, SIZE, SAMPLES, REPEATS = 0.25, 0.05, 4, 150, 200
CUTS = np.array([-1.0, 0.1, 0.9])  # in units of sigma, at the image
PATTERNS = torch.tensor(
    [
        [0.1, 0.2, 0.9, 0.3, 1.0, 0.7, 0.5, 0.4, 0.05, 0.6, 0.15, 0.25],
        [1.0, 0.9, 0.8, 0.7, 0.3, 0.2, 0.6, 0.1, 0.05, 0.15, 0.02, 0.5],
        [0.9, 1.0, 0.6, 0.8, 0.2, 0.7, 0.1, 0.3, 0.15, 0.05, 0.25, 0.02],
        [0.5, 0.8, 0.7, 0.9, 0.6, 0.1, 0.2, 1.0, 0.3, 0.4, 0.05, 0.15],
    ]
).view(4, 3, 4)
KINDS = {
    "ranked": lambda maps: torch.relu(1 - maps.flatten(1).argsort(1, descending=True).argsort(1) / SIZE).view(
        maps.shape
    ),
    "sparsified": lambda maps: top_k_mask(maps, SIZE).float(),
    "relaxed": lambda maps: relaxed_top_k(maps, SIZE, 2),
    "scaled": scaled_map,
    "quadratic": quadratic_map,
}
BOUNDS = {
    "exact": {"uncovered": [0.0]},
    "split": {"uncovered": [0.0], "num_selection": 30},
    "failures": {"uncovered": [0.3]},
    "failures of fresh samples": {"uncovered": [0.3], "num_selection": 30},
    "one number": {"bound": "one_number", "num_selection": 30},
    "pairs": {"uncovered": [0.0], "num_selection": 30, "pairs": 4},
    "pairs and failures": {"uncovered": [0.3], "num_selection": 30, "pairs": 4},
    "published": {"bound": "published_hoeffding"},
    "renyi": {"uncovered": [0.0]},
}
ALLOWED = int(binom.ppf(0.999, REPEATS, ALPHA))


@cache
def smoothed(kind, step=0.0):
    """The smoothed map at the image plus ``step * sigma * u``, exact."""
    weight = np.diff(np.r_[0.0, norm.cdf(CUTS - step), 1.0])
    values = KINDS[kind](PATTERNS).double().numpy().reshape(4, -1)
    return weight @ values


@cache
def certificate_of(kind, bound):
    if bound == "renyi":
        scores = "linear" if kind == "ranked" else "uniform"
        certificate = RenyiCertificate(SIZE, ALPHA, scores=scores, **BOUNDS[bound])
    else:
        saturation = 2 if kind == "relaxed" else 0.01
        certificate = TopKOverlapCertificate(SIZE, ALPHA, map_kind=kind, saturation=saturation, **BOUNDS[bound])
    return certificate


def certify(kind, bound, seed, num_samples=SAMPLES, levels=None):
    accumulator = certificate_of(kind, bound).start(GaussianNoise(SIGMA), (3, 4))
    z = np.random.default_rng(seed).normal(size=num_samples)
    maps = PATTERNS[torch.from_numpy(np.searchsorted(CUTS, z))]
    levels = uniform_levels(seed, "image", 0, num_samples) if levels is None else levels
    accumulator.update(MapBlock(maps, 0, levels))
    return accumulator.compute()


def true_radii(kind, result):
    h, inside = smoothed(kind), result.inside.numpy().ravel()
    if not result.pairs:
        return displacement_radii(h, h, inside, SIGMA)
    weight = np.diff(np.r_[0.0, norm.cdf(CUTS), 1.0])
    masks = KINDS[kind](PATTERNS).double().numpy().reshape(4, -1)  # 0/1: sparsified
    band = [side.numpy() for side in result.band()]
    first, second = (masks[:, side] for side in band)
    alone = np.einsum("w,wi,wj->ij", weight, first, 1 - second), np.einsum("w,wi,wj->ij", weight, 1 - first, second)
    radii = pair_bounds.pair_radii(*alone, SIGMA)
    return pair_bounds.displacement_radii_with_pairs(h, h, inside, SIGMA, band, radii)


def true_overlap(kind, result, radius):
    """Smallest overlap along +-u up to a radius, ties to the adversary."""
    inside, steps = result.inside.numpy().ravel(), np.linspace(-radius, radius, 9) / SIGMA
    kept = [int((overlap.top_set(smoothed(kind, s) + 1e-12 * ~inside, SIZE) & inside).sum()) for s in steps]
    return min(kept)


def failures(kind, bound, **settings):
    wrong = 0
    for seed in range(REPEATS):
        result = certify(kind, bound, seed, **settings)
        wrong += any(true_overlap(kind, result, r) < result.overlap(r) for r in (0.0, 0.05, 0.2))
        if bound in (
            "exact",
            "split",
            "published",
            "renyi",
            "pairs",
        ):  # every bound is claimed, so no radius may exceed the true one
            wrong += bool((result.displacement.double().numpy() > true_radii(kind, result) + 1e-9).any())
    return wrong


CASES = [(kind, bound) for kind in KINDS for bound in BOUNDS if kind == "sparsified" or bound == "exact"]
CASES.append(("ranked", "renyi"))


@pytest.mark.parametrize(("kind", "bound"), CASES)
def test_family_wise_error_stays_below_alpha(kind, bound):
    assert failures(kind, bound) <= ALLOWED


def test_the_check_catches_bounds_without_correction(monkeypatch):
    """The control: bounds that each fail every other time."""
    exact = overlap_bounds.bound_tables
    monkeypatch.setattr(overlap_bounds, "bound_tables", lambda n, level, bound: exact(n, 0.3, bound))
    assert failures("sparsified", "exact") > ALLOWED


def test_the_check_catches_pairs_without_correction(monkeypatch):
    """The control: exact bounds of pixels, bounds of pairs that each fail every third time."""
    monkeypatch.setattr(pair_bounds, "bound_tables", lambda n, level, bound: overlap_bounds.bound_tables(n, 0.3, bound))
    assert failures("sparsified", "pairs") > ALLOWED


@pytest.mark.parametrize(("first", "second"), [(0.4, 0.1), (0.25, 0.02), (0.03, 0.001)])
def test_the_radius_of_a_pair_is_attained(first, second):
    """The insider alone on one half-space, the outsider alone on the other: along u both move as fast as they can."""
    radius = float(pair_bounds.pair_radii(first, second, SIGMA))

    def difference(step):
        """h_i - h_j where u . z has moved by ``step``; what both choose or neither does cancels."""
        return norm.cdf(norm.ppf(first) - step / SIGMA) - norm.cdf(norm.ppf(second) + step / SIGMA)

    assert difference(0.999 * radius) > 0 > difference(1.001 * radius)
    for both in np.linspace(0, 1 - first - second, 7):
        single = displacement_radii([first + both, 0], [0, second + both], [True, False], SIGMA)
        assert radius >= single[0] - 1e-12


def test_the_check_catches_one_level_for_all_samples():
    """The control of the dithering: with a level that is not drawn anew, counts estimate another map."""
    assert failures("scaled", "exact", levels=torch.full((SAMPLES,), 0.45)) > ALLOWED


@pytest.mark.parametrize(("kind", "bound"), CASES)
def test_radii_are_not_vacuous_and_break_where_they_must(kind, bound):
    """Nothing falls within the certified radius; four times further something does."""
    result, broken, certified = certify(kind, bound, 0, 4000), False, 0
    for missing, radius in enumerate(result.displacement.double().tolist()):
        if 0 < radius < np.inf:
            certified += 1
            assert true_overlap(kind, result, 0.999 * radius) >= SIZE - missing
            broken |= true_overlap(kind, result, 4 * radius) < SIZE - missing
    assert certified > 0
    assert broken
