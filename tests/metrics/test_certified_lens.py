"""Certified LENS against every set that a certificate allows."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedLENSPrecision, CertifiedLENSRecall
from lit_certattr.metrics.functional import (
    certified_lens_precision,
    certified_lens_recall,
    worst_lens_precision,
    worst_lens_recall,
)
from lit_certattr.metrics.functional.certified_lens import certified_sets
from lit_certattr.metrics.functional.windows import neighbourhood
from lit_certattr.smoothing import GaussianNoise


def near(pixel, pixels, window):
    return any(max(abs(pixel[0] - q[0]), abs(pixel[1] - q[1])) <= window for q in pixels)


def recall(chosen, reference, window):
    """An empty set locates nothing: 0/0 is 0."""
    return sum(near(p, reference, window) for p in chosen) / len(chosen) if chosen else 0.0


def precision(chosen, reference, window):
    return sum(near(p, chosen, window) for p in reference) / len(reference)


def mask(pixels, height, width):
    out = torch.zeros(height, width, dtype=torch.bool)
    for pixel in pixels:
        out[pixel] = True
    return out


@st.composite
def cases(draw):
    """A grid, S not empty, and each pixel certainly, possibly or never in T."""
    height, width = draw(st.sampled_from([(3, 3), (2, 4), (1, 6)]))
    grid = list(itertools.product(range(height), range(width)))
    reference = draw(st.lists(st.sampled_from(grid), min_size=1, max_size=4, unique=True))
    state = draw(st.lists(st.sampled_from("+?-"), min_size=len(grid), max_size=len(grid)))
    kept = [p for p, s in zip(grid, state, strict=True) if s == "+"]
    free = [p for p, s in zip(grid, state, strict=True) if s == "?"]
    sets = [kept + list(extra) for m in range(len(free) + 1) for extra in itertools.combinations(free, m)]
    return (height, width), reference, kept, free, sets, draw(st.integers(0, 2))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_recall_is_the_smallest_of_all_sets(case):
    shape, reference, kept, free, sets, window = case
    masks = mask(reference, *shape), mask(kept, *shape), mask(kept + free, *shape)
    shares = [recall(chosen, reference, window) for chosen in sets]
    assert worst_lens_recall(*masks, window) == pytest.approx(min(shares))
    for size in range(max(1, len(kept)), len(kept) + len(free) + 1):
        shares = [recall(chosen, reference, window) for chosen in sets if len(chosen) == size]
        assert worst_lens_recall(*masks, window, size) == pytest.approx(min(shares))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_precision_is_the_smallest_of_all_sets(case):
    shape, reference, kept, _, sets, window = case
    found = worst_lens_precision(mask(reference, *shape), mask(kept, *shape), window)
    assert found == pytest.approx(min(precision(chosen, reference, window) for chosen in sets))


def test_neighbourhoods_are_cut_at_the_border_and_do_not_wrap():
    one = mask([(1, 0)], 4, 4)
    assert neighbourhood(one, 1).sum() == 6
    assert not neighbourhood(one, 1)[:, 2:].any()
    assert torch.equal(neighbourhood(one, 0), one)
    assert neighbourhood(one, 9).all()


def certificate(votes, num_samples=400):
    counted = PixelCertificate(top_k=[3], alpha=0.01).start(GaussianNoise(0.5), (2, 4))
    counted.update(torch.arange(8.0).view(1, 2, 4))
    counted.votes.copy_(torch.tensor(votes).view(1, 2, 4))
    counted.num_samples.fill_(num_samples)
    return counted.compute()


VOTES = [400, 390, 210, 0, 190, 5, 0, 5]


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.8, 2.0])
@pytest.mark.parametrize("window", [0, 1, 2])
def test_the_metric_is_the_worst_majority_set(radius, window):
    result = certificate(VOTES)
    reference, kept, possible = certified_sets(result, radius, 0)
    assert reference.flatten().tolist() == [True, True, True] + 5 * [False]
    label, held = result.labels[0], result.radius[0] > radius
    assert torch.equal(kept, (label == 1) & held)
    assert torch.equal(possible, ~((label == 0) & held))
    pixels = [[tuple(p) for p in m.nonzero().tolist()] for m in (reference, kept, possible & ~kept)]
    sets = [pixels[1] + list(e) for m in range(len(pixels[2]) + 1) for e in itertools.combinations(pixels[2], m)]
    worst = min(recall(chosen, pixels[0], window) for chosen in sets)
    assert float(certified_lens_recall(result, radius, window)) == pytest.approx(worst)
    metric = CertifiedLENSRecall(radius, window)
    metric.update([result, result])
    assert float(metric.compute()) == pytest.approx(worst)
    worst = min(precision(chosen, pixels[0], window) for chosen in sets)
    assert float(certified_lens_precision([result], radius, window)) == pytest.approx(worst)
    metric = CertifiedLENSPrecision(radius, window)
    metric.update(result)
    assert float(metric.compute()) == pytest.approx(worst)


def test_more_room_helps_and_more_budget_hurts():
    result = certificate(VOTES)
    for value in (certified_lens_recall, certified_lens_precision):
        by_window = [float(value(result, 0.1, window)) for window in range(4)]
        by_radius = [float(value(result, radius, 0)) for radius in (0.0, 0.2, 0.6, 1.0, 5.0)]
        assert by_window == sorted(by_window)
        assert by_radius == sorted(by_radius, reverse=True)
        assert by_radius[0] > by_radius[-1]


def test_a_set_without_pixels():
    empty, full = torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)
    assert worst_lens_recall(full, empty, empty, 1) == 0.0
    assert worst_lens_recall(full, empty, full, 0) == 0.0
    assert worst_lens_recall(empty, empty, empty, 0) == 0.0
    assert worst_lens_recall(full, full, full, 0) == 1.0
    with pytest.raises(InputError, match="reference"):
        worst_lens_precision(empty, full, 1)
    assert float(certified_lens_precision(certificate([100] * 8))) == 0.0


@pytest.mark.parametrize("radius", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("window", [0, 1, 3])
def test_a_recall_is_certified_only_where_a_pixel_is_certified_important(radius, window):
    """A certificate that says nothing has no recall, and neither has noise, of which no pixel has a majority."""
    undecided, noise, beyond = certificate([210] * 8), certificate([150] * 8), certificate(VOTES)
    for result in (undecided, noise):
        assert float(certified_lens_recall(result, radius, window)) == 0.0
        metric = CertifiedLENSRecall(radius, window)
        metric.update(result)
        assert float(metric.compute()) == 0.0
    assert (float(certified_lens_recall(beyond, radius, window)) > 0) == (radius < 5)


@pytest.mark.parametrize("settings", [{"window": -1}, {"window": 1.5}, {"radius": -1.0}, {"level": -1}])
def test_arguments_out_of_range_are_refused(settings):
    for make in (CertifiedLENSRecall, CertifiedLENSPrecision):
        with pytest.raises(InputError):
            make(**settings)


def test_sets_that_cannot_be_are_refused():
    empty, full = torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="part of possible"):
        worst_lens_recall(full, full, empty, 1)
    with pytest.raises(InputError, match="sets have 4 to 4 pixels"):
        worst_lens_recall(full, full, full, 1, size=3)
