"""A change of a family and an l2 rest: majorities of closed-form models stand whenever the length says so."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from lit_certattr.budgets import AffineBudget, BlurBudget, FieldBudget, PatchBudget
from lit_certattr.budgets.affine_votes import Law
from lit_certattr.budgets.exposure_rest import length_for_majorities, needed_vote
from lit_certattr.budgets.modes import Group, low_frequencies, uniform
from lit_certattr.certificates import Claim, ClaimCertificate, PixelCertificate, PredictionCertificate
from lit_certattr.numbers import Gini
from lit_certattr.smoothing import BlurNoise, ExposureNoise

NODES = np.linspace(-8, 8, 1001)
WEIGHTS = np.exp(-(NODES**2) / 2)
WEIGHTS /= WEIGHTS.sum()
EXPOSURE = FieldBudget((Group("exposure", 0.5, uniform),), sigma=0.25)


def half_space(points, weights, level, sigma):
    """Vote of {w . z <= t} under pixel noise, for points [..., d] that a transformation gives."""
    return ndtr((level - points @ weights) / (sigma * np.linalg.norm(weights)))


def exposed_vote(x, weights, level, spread, sigma):
    """Vote of a half-space under random exposure."""
    points = x * 2.0 ** (spread * NODES)[:, None]
    return float(WEIGHTS @ half_space(points, weights, level, sigma))


def test_without_a_rest_it_is_the_gaussian_bound_and_without_an_exposure_more_than_it():
    assert needed_vote(0.5, 0.5, 0.0) == pytest.approx(ndtr(1.0), abs=1e-12)
    assert length_for_majorities(0.5, 0.3, 0.0) == pytest.approx(0.3, rel=1e-9)
    # The gain of the noise multiplies a rest: on average it is longer than without, so more votes are needed.
    assert ndtr(1.0) < needed_vote(0.3, 0.0, 1.0) < ndtr(1.1)


@pytest.mark.parametrize(
    ("spread", "stops", "rest"), [(0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (1.0, 0.3, 0.5), (0.5, 0.0, 2.5)]
)
def test_the_needed_vote_is_that_of_the_likelihood_ratio_test(spread, stops, rest):
    # Exact test on a dense grid of (C, y), by its definition.
    gain, y = np.meshgrid(np.linspace(-6, 6, 1201) * spread + stops / 2, np.linspace(-8, 12, 2001), indexing="ij")
    shift = 2.0 ** (gain - stops) * rest
    p = np.exp(-((gain / spread) ** 2) / 2 - y**2 / 2).ravel()
    q = np.exp(-(((gain - stops) / spread) ** 2) / 2 - (y - shift) ** 2 / 2).ravel()
    p, q = p / p.sum(), q / q.sum()
    order = np.argsort(q / np.maximum(p, 1e-300))
    exact = p[order][: np.searchsorted(np.cumsum(q[order]), 0.5)].sum()
    assert exact - 5e-3 < needed_vote(spread, stops, rest) < exact + 5e-3


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    stops=st.floats(-1, 1),
    rest=st.floats(0, 0.5),
    level=st.floats(-1, 2),
    spread=st.floats(0.1, 1),
)
def test_majorities_of_half_spaces_stand_under_exposure_and_rest(seed, stops, rest, level, spread):
    rng = np.random.default_rng(seed)
    x, weights, direction = rng.uniform(size=6), rng.normal(size=6), rng.normal(size=6)
    sigma = 0.25
    changed = x * 2.0**stops + rest * direction / np.linalg.norm(direction)
    vote = exposed_vote(x, weights, level, spread, sigma)
    if vote > needed_vote(spread, stops, rest / sigma):
        assert exposed_vote(changed, weights, level, spread, sigma) > 0.5 - 1e-9
    budget = FieldBudget((Group("exposure", spread, uniform),), sigma=sigma)
    pair = (torch.from_numpy(one).view(1, 2, 3) for one in (x, changed))
    if budget.votes.radius(vote) > budget.majority_length(*pair):
        assert exposed_vote(changed, weights, level, spread, sigma) > 0.5 - 1e-9


def test_a_rest_that_is_thought_away_would_be_seen():
    # Positive control: a half-space along the rest loses its majority, which the exposure alone would leave.
    sigma, x, weights = 0.25, np.full(6, 0.4), np.ones(6)
    rest = 1.5 * sigma
    level = float(weights @ x) + sigma * np.linalg.norm(weights)
    vote = exposed_vote(x, weights, level, 0.01, sigma)
    assert needed_vote(0.01, 0.0, 0.0) < 0.8 < vote < needed_vote(0.01, 0.0, rest / sigma)
    assert exposed_vote(x + rest / math.sqrt(6), weights, level, 0.01, sigma) < 0.4


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    blur=st.floats(0, 2),
    rest=st.floats(0, 0.5),
    level=st.floats(-0.5, 1),
    rate=st.floats(0.3, 3),
)
def test_majorities_stand_under_blur_and_rest(seed, blur, rest, level, rate):
    rng = np.random.default_rng(seed)
    budget, sigma = BlurBudget(rate, sigma=0.25), 0.25
    image = torch.from_numpy(rng.uniform(size=(1, 4, 5)))
    direction = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=20)), dim=0).view(1, 4, 5)
    changed = budget.change(image, torch.tensor([blur]).double()) + rest * direction
    weights = rng.normal(size=20)
    times = -np.log((np.arange(400) + 0.5) / 400) / rate

    def vote(one):
        points = [budget.change(one, torch.tensor([math.sqrt(2 * time)]).double()).numpy().ravel() for time in times]
        return float(half_space(np.stack(points), weights, level, sigma).mean())

    # 400 strata of the time carry an error of up to 1/400.
    if budget.votes.radius(vote(image) - 1 / 400) > budget.majority_length(image, changed):
        assert vote(changed) > 0.5 - 1 / 400


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    patches=st.integers(0, 3),
    rest=st.floats(0, 0.5),
    level=st.floats(-0.5, 1.5),
    keep=st.floats(0.05, 0.6),
)
def test_majorities_stand_under_patches_and_rest(seed, patches, rest, level, keep):
    rng = np.random.default_rng(seed)
    budget, sigma = PatchBudget(keep, 2, sigma=0.25), 0.25
    image, weights = rng.uniform(size=4), rng.normal(size=4)
    direction = rng.normal(size=4)
    changed = image + rest * direction / np.linalg.norm(direction)
    touched = rng.permutation(4)[:patches]
    image[touched] = np.where(rng.uniform(size=patches) < 0.3, 0.5, image[touched])  # some are uncovered,
    changed[touched] = np.where(rng.uniform(size=patches) < 0.4, 0.5, rng.uniform(size=patches))  # some hidden

    def vote(one):
        total = 0.0
        for mask in itertools.product((0, 1), repeat=4):
            seen = np.where(mask, one, 0.5)
            chance = math.prod(keep if kept else 1 - keep for kept in mask)
            total += chance * float(half_space(seen, weights, level, sigma))
        return total

    pair = (torch.from_numpy(one).view(1, 2, 2) for one in (image, changed))
    length = budget.majority_length(*pair)
    assert length == math.inf or length == int(length)
    if budget.votes.radius(vote(image)) > length:
        assert vote(changed) > 0.5


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    contrast=st.floats(-0.3, 0.3),
    light=st.floats(-0.2, 0.2),
    rest=st.floats(0, 0.4),
    level=st.floats(-1, 2),
)
def test_majorities_stand_under_contrast_brightness_and_rest(seed, contrast, light, rest, level):
    rng = np.random.default_rng(seed)
    law, sigma = Law(0.2, 0.3), 0.25
    budget = AffineBudget(law, sigma)
    image = rng.uniform(size=6)
    direction, weights = rng.normal(size=6), rng.normal(size=6)
    changed = math.exp(contrast) * (image + light) + rest * direction / np.linalg.norm(direction)

    def vote(one):
        coarse, mass = NODES[::5], WEIGHTS[::5] / WEIGHTS[::5].sum()
        points = np.exp(law.log_contrast * coarse)[:, None, None] * (one + law.brightness * coarse[None, :, None])
        return float(mass @ half_space(points, weights, level, sigma) @ mass)

    pair = (torch.from_numpy(one).view(1, 2, 3) for one in (image, changed))
    if budget.votes.radius(vote(image) - 1e-6) > budget.majority_length(*pair):
        assert vote(changed) > 0.5 - 1e-6


def eight_bits(image):
    return (image.clamp(0, 1) * 255).round() / 255


def test_a_real_exposure_is_covered_for_majorities_only_with_pixel_noise():
    image = eight_bits(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.6)
    brighter = eight_bits(image * 2**0.25)
    assert EXPOSURE.length(image, brighter) == math.inf
    assert 0.25 < EXPOSURE.majority_length(image, brighter) < 0.35
    assert FieldBudget(EXPOSURE.groups).majority_length(image, brighter) == math.inf
    # What is clipped is a rest, too; more of it is longer.
    assert EXPOSURE.majority_length(image, eight_bits(image * 2.0)) > 1
    # An exact exposure has its own length; an image with another field none.
    assert EXPOSURE.majority_length(image, image * 2**0.25) == pytest.approx(0.25, rel=1e-4)
    shaded = FieldBudget(
        (Group("exposure", 0.5, uniform), Group("shading", 0.5, lambda shape: low_frequencies(shape, 1))), 0.25
    )
    assert shaded.majority_length(image, brighter) == math.inf


def test_rounding_is_covered_under_blur_contrast_and_patches():
    image = eight_bits(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))
    blur, affine, patches = BlurBudget(1.0, 0.25), AffineBudget(Law(0.2, 0.3), 0.25), PatchBudget(0.1, 8, 0.25)
    blurred = eight_bits(blur.change(image, torch.tensor([1.0]).double()))
    assert 1 < blur.majority_length(image, blurred) < 1.5 < blur.length(image, blurred)
    darker = eight_bits(0.9 * image)
    assert 0.05 < affine.majority_length(image, darker) < 1 < affine.length(image, darker)
    repainted = image.clone()
    repainted[:, :4, :4] = 1
    assert patches.majority_length(image, repainted) == 1
    nudged = (repainted + 1e-3).clamp(max=1)
    assert 1 < patches.majority_length(image, nudged) <= 4 < patches.length(image, nudged) == 64
    assert PatchBudget(0.1, 8).majority_length(image, nudged) == 64


def test_results_about_majorities_use_it_and_others_do_not():
    image = eight_bits(torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6)
    brighter = eight_bits(image * 2**0.25)
    maps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(1)).expand(400, -1, -1)
    for law in (ExposureNoise(exposure=0.5, sigma=0.25), BlurNoise(rate=1.0, sigma=0.25)):
        accumulator = PixelCertificate(top_k=[0.25], alpha=0.05).start(law, (4, 4))
        accumulator.update(maps)
        pixels = accumulator.compute()
        claims = ClaimCertificate([Claim("gini", Gini(), at_least=0.01)], alpha=0.05).start(law, (4, 4))
        claims.update(maps)
        changed = brighter if isinstance(law, ExposureNoise) else eight_bits(law.budget.change(image, torch.ones(1)))
        covered = pixels.holds_for(image, changed)
        assert math.isfinite(covered.length)
        assert covered.certified == covered.total
        assert claims.compute().holds_for(image, changed) == (math.inf, 0, 1)
    assert PredictionCertificate.result.majorities


def test_nothing_is_proved_for_absurd_changes():
    for stops, rest in ((1e6, 0.1), (0.1, 1e6), (math.nan, 0.1), (0.1, math.nan)):
        assert needed_vote(0.5, stops, rest) == 1.0
        assert length_for_majorities(0.5, stops, rest) == math.inf
    assert ndtri(needed_vote(0.5, 3.0, 3.0)) >= math.hypot(6, 3) * 0.99


def test_hidden_patches_cost_less_than_repainted_ones():
    # The reference: lambda = .25 and a vote of .985 stand 2 repainted or 12 hidden patches.
    budget, vote = PatchBudget(0.25, 14), 0.985
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    radius = float(budget.votes.radius(vote))
    assert budget.whole(radius) == 2
    hidden, painted, uncovered = image.clone(), image.clone(), image.clone()
    for patch in range(5):
        hidden[:, :2, 2 * patch : 2 * patch + 2] = 0.5
        painted[:, :2, 2 * patch : 2 * patch + 2] = 0.2
    assert budget.majority_length(image, painted) == math.inf or budget.majority_length(image, painted) >= 5
    assert budget.majority_length(image, hidden) == 2 < radius
    uncovered[:, :2, :4] = 0.5
    assert budget.majority_length(uncovered, image) == 2
    assert budget.length(image, hidden) == 5
    words = budget.in_words(radius, majorities=True)
    assert "any new content of up to 2 of the 196 patches; up to 7 patches filled with the grey" in words
    # What the words say is true of the smallest vote with that radius.
    least = 1.5 - 0.75**2
    assert 1 - (1 - least) / 0.75**7 >= 0.5 > 1 - (1 - least) / 0.75**8


def test_a_radius_of_patches_is_found_for_every_probability():
    for keep in (1e-6, 0.25, 0.999999):
        votes = PatchBudget(keep, 4).votes
        found = votes.radius([0.3, 0.5, 0.75, 0.999])
        assert found[:2].tolist() == [0.0, 0.0]
        for vote, radius in zip((0.75, 0.999), found[2:], strict=True):
            assert votes.lower(vote, radius) > 0.5 >= votes.lower(vote, radius + 1)
