"""Overlap of maps of different images against a loop over all pairs."""

import itertools
import pickle

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.pixel import top_k

from lit_certattr.errors import InputError
from lit_certattr.metrics import SameClassOverlap
from lit_certattr.metrics.functional import class_overlap


def reference(maps, predictions, size):
    """Mean overlap over all pairs with the same, and with different predictions; None where there is none."""
    found = {True: [], False: []}
    varied = [i for i in range(len(maps)) if maps[i].max() > maps[i].min()]
    for i, j in itertools.combinations(varied, 2):
        shared = (top_k(maps[i].numpy(), size) & top_k(maps[j].numpy(), size)).sum() / size
        found[bool(predictions[i] == predictions[j])].append(shared)
    return [sum(values) / len(values) if values else None for values in (found[True], found[False])]


def cases(seed, count):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, 6, (count, 4, 5), generator=generator).float()  # with ties
    maps[::5] = 1.0  # constant
    return maps, torch.randint(2, 5, (count,), generator=generator)


@given(st.integers(0, 2**31), st.integers(1, 12), st.sampled_from([1, 4, 0.3]))
def test_equals_a_loop_over_all_pairs(seed, count, top_k):
    maps, predictions = cases(seed, count)
    found = class_overlap(maps, predictions, top_k)
    size = 6 if top_k == 0.3 else top_k
    for value, expected in zip((found.same, found.different), reference(maps, predictions, size), strict=True):
        assert torch.isnan(value) if expected is None else float(value) == pytest.approx(expected, abs=1e-6)
    assert float(found.chance) == pytest.approx(size / 20)
    assert float(found.constant) == pytest.approx(-(-count // 5) / count)


def test_class_templates_show_and_random_maps_meet_chance():
    templates, predictions = torch.rand(3, 8, 8), torch.arange(60) % 3
    found = class_overlap(templates[predictions] + 1e-4 * torch.rand(60, 8, 8), predictions, top_k=0.25)
    assert found.same > 0.95
    assert found.different < 0.5
    found = class_overlap(torch.rand(400, 8, 8), torch.arange(400) % 3, top_k=0.25)
    assert float(found.same) == pytest.approx(0.25, abs=0.01)
    assert float(found.different) == pytest.approx(0.25, abs=0.01)
    centred = class_overlap(templates[:1] + 1e-4 * torch.rand(60, 8, 8), predictions, top_k=0.25)
    assert centred.different > 0.95  # one pattern for every image: no class template, and no information either


@pytest.mark.parametrize("sizes", [[13], [1] * 13, [4, 9]])
def test_batches_do_not_matter(sizes):
    maps, predictions = cases(3, 13)
    metric, expected = SameClassOverlap(num_classes=6, map_shape=(4, 5), top_k=4), class_overlap(maps, predictions, 4)
    for part, classes in zip(maps.split(sizes), predictions.split(sizes), strict=True):
        metric(part, classes)  # forward: merges states
    values = metric.compute()
    names = ["same_class_overlap", "different_class_overlap", "chance_overlap", "constant_maps"]
    assert list(values) == names
    assert [float(value) for value in values.values()] == pytest.approx([float(value) for value in expected], abs=1e-6)
    assert pickle.loads(pickle.dumps(metric)).compute() == values
    metric.plot()
    plt.close("all")


def test_works_after_a_reset_under_inference_mode():
    maps, predictions = cases(1, 9)
    metric = SameClassOverlap(num_classes=6, map_shape=(4, 5), top_k=4)
    with torch.inference_mode():
        metric.update(maps, predictions)
        metric.reset()
    metric.update(maps, predictions)
    assert float(metric.compute()["same_class_overlap"]) == pytest.approx(
        float(class_overlap(maps, predictions, 4).same), nan_ok=True
    )


def test_sums_do_not_overflow():
    metric = SameClassOverlap(num_classes=2, map_shape=(4, 5), top_k=4)
    metric.update(torch.rand(2, 4, 5), torch.tensor([0, 1]))
    metric.votes, metric.counts = metric.votes * 100_000, metric.counts * 100_000
    assert float(metric.compute()["same_class_overlap"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_overlap(torch.ones(2, 4, 5) * torch.nan, torch.tensor([0, 1])), "finite"),
        (lambda: class_overlap(torch.ones(2, 4, 5), torch.tensor([0])), "predictions must be 2 classes"),
        (lambda: class_overlap(torch.ones(2, 4, 5), torch.tensor([0.0, 1.0])), "predictions must be 2 classes"),
        (lambda: class_overlap(torch.ones(2, 4, 5), torch.tensor([0, 1]), top_k=20), "must select at least 1"),
        (lambda: SameClassOverlap(0, (4, 5)), "num_classes and map_shape"),
        (lambda: SameClassOverlap(2, (4, 5), top_k=0.01), "must select at least 1"),
        (lambda: SameClassOverlap(2, (4, 5)).update(torch.rand(1, 5, 4), torch.tensor([0])), r"maps must be \[B, 4, 5"),
        (lambda: SameClassOverlap(2, (4, 5)).update(torch.rand(1, 4, 5), torch.tensor([2])), "classes 0 to 1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
