"""Certified grid pointing game on labels whose shares are counted by hand."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedGridPG
from lit_certattr.metrics.functional import certified_gridpg
from lit_certattr.smoothing import GaussianNoise


def result_with(labels, radius=None):
    """The result of a real certificate of two levels, with the labels of the second replaced."""
    labels = torch.as_tensor(labels, dtype=torch.int8)
    certificate = PixelCertificate(top_k=(0.5, 0.25), alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), labels.shape)
    accumulator.update(torch.rand(100, *labels.shape))
    found = accumulator.compute()
    radius = torch.where(labels >= 0, 0.1, 0.0) if radius is None else radius
    both = torch.zeros_like(found.labels)
    both[1] = labels
    return attrs.evolve(found, labels=both, radius=torch.stack([torch.zeros_like(radius), radius]))


KNOWN = [[1, 1, 0, -1], [1, -1, 0, 1], [0, 0, 0, 0], [-1, 1, -1, -1]]


def test_all_four_cells_of_a_known_map():
    found = certified_gridpg([result_with(KNOWN)] * 4, [0, 1, 2, 3], level=1)
    assert found.map.tolist() == pytest.approx([0.6, 0.2, 0.2, 0])
    assert found.support.tolist() == [5] * 4
    assert found.no_support.tolist() == [0] * 4
    assert found.uniform.tolist() == found.centre.tolist() == [0.25] * 4
    assert float(found.map.sum()) == pytest.approx(1)  # a map that favours nobody: the four cells share it


def test_an_empty_map_is_zero_and_is_said():
    found = certified_gridpg(result_with(torch.zeros(4, 4)), [0], level=1)
    assert (found.map.tolist(), found.no_support.tolist(), found.support.tolist()) == ([0], [1], [0])
    assert certified_gridpg(result_with(KNOWN), [0], radius=0.1, level=1).no_support == 1  # radii must be larger


@given(st.integers(0, 2**31), st.integers(0, 3), st.floats(0, 1))
def test_equals_a_count(seed, cell, budget):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (6, 4), generator=generator)
    radius = torch.where(labels >= 0, torch.rand(6, 4, generator=generator), 0.0)
    found = certified_gridpg(result_with(labels, radius), [cell], radius=budget, level=1)
    inside = total = 0
    for i in range(6):
        for j in range(4):
            counts = labels[i, j] == 1 and radius[i, j] > budget
            total += counts
            inside += counts and 2 * (i >= 3) + (j >= 2) == cell
    assert int(found.support) == total
    assert float(found.map) == pytest.approx(inside / total if total else 0)


def test_the_metric_is_the_mean():
    metric = CertifiedGridPG(level=1)
    metric.update([result_with(KNOWN), result_with(torch.zeros(4, 4))], torch.tensor([0, 0]))
    metric.update(result_with(KNOWN), [1])
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(
        {
            "certified_gridpg": 0.8 / 3,
            "certified_gridpg_centre": 0.25,
            "certified_gridpg_uniform": 0.25,
            "certified_gridpg_no_support": 1 / 3,
            "certified_gridpg_support": 10 / 3,
        }
    )


def overlap():
    certificate = TopKOverlapCertificate(top_k=0.5, alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (2, 2))
    accumulator.update(torch.rand(100, 2, 2))
    return accumulator.compute()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: certified_gridpg([], []), "one cell per result"),
        (lambda: certified_gridpg(result_with(KNOWN), [0, 1]), "one cell per result"),
        (lambda: certified_gridpg(result_with(KNOWN), [4]), "cells must be 0, 1, 2 or 3"),
        (lambda: certified_gridpg(result_with(KNOWN), [0], level=2), "level 2 is unknown"),
        (lambda: certified_gridpg(result_with(KNOWN), [0], radius=-1), "radius must be"),
        (lambda: certified_gridpg(overlap(), [0]), "needs a PixelResult"),
        (lambda: certified_gridpg(result_with(torch.zeros(3, 4)), [0]), "even sides"),
        (lambda: CertifiedGridPG(level=-1), "level must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
