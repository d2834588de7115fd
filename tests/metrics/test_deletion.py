"""Deletion, insertion and certified deletion against loops over pixels, and on networks whose curves are known."""

import itertools
import math
import pickle
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedDeletion, Deletion, Insertion
from lit_certattr.metrics.functional import (
    centre_map,
    certified_deletion,
    deletion,
    fill_images,
    insertion,
    random_maps,
)
from lit_certattr.smoothing import GaussianNoise


class Sigmoid(nn.Module):
    """Class 0 against class 1 by a weighted sum: the probability of class 0 is sigmoid(w . x)."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        score = (images * self.weights).flatten(1).sum(1)
        return torch.stack([score, torch.zeros_like(score)], dim=1)


class Counting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.batches = network, []

    def forward(self, images):
        self.batches.append(len(images))
        return self.network(images)


def case(seed=0, count=3, height=6, width=7, channels=2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, height, width, generator=generator)
    maps = torch.randn(count, height, width, generator=generator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3))
    return network, images, maps, torch.arange(count) % 3


def reference(network, start, end, order, counts, target):
    """One image at a time, one pixel at a time."""
    probabilities, image, done = [], start.clone(), 0
    for count in counts:
        while done < count:
            row, column = divmod(order[done], image.shape[2])
            image[:, row, column] = end[:, row, column]
            done += 1
        with torch.no_grad():
            probabilities.append(float(network(image[None]).softmax(1)[0, target]))
    return probabilities


def order_of(values):
    flat = values.flatten().tolist()
    return sorted(range(len(flat)), key=lambda place: (-flat[place], place))


@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 5, 42]),
    st.sampled_from([0.0, 0.3, "mean", "blur"]),
    st.sampled_from([1, 4, 100]),
)
@settings(max_examples=25)
def test_curves_equal_the_reference(seed, steps, fill, max_batch):
    network, images, maps, targets = case(seed)
    maps[0] = maps[0].round()  # ties
    ids = ["a", "b", "c"]
    filled = fill_images(images, fill)
    counts = [int(Fraction(step * 42, steps) + Fraction(1, 2)) for step in range(steps + 1)]
    for removes, call in ((True, deletion), (False, insertion)):
        curves = call(network, images, maps, targets, steps=steps, fill=fill, max_batch=max_batch, ids=ids, seed=5)
        start, end = (images, filled) if removes else (filled, images)
        rankings = {"map": maps, "centre": centre_map(6, 7).expand(3, 6, 7), "random": random_maps(6, 7, ids, seed=5)}
        for name, values in rankings.items():
            for i in range(3):
                expected = reference(network, start[i], end[i], order_of(values[i]), counts, targets[i])
                assert getattr(curves, name)[i].tolist() == pytest.approx(expected, abs=1e-5)
        assert curves.position.tolist() == pytest.approx([count / 42 for count in counts])
        assert torch.equal(curves.removed, curves.position.expand(3, -1))


def test_a_sigmoid_of_a_sum_falls_as_it_should():
    """Ones, weights 1 .. 16: deletion in the order of the weights has a curve in closed form."""
    weights = torch.arange(1.0, 17).reshape(1, 4, 4) / 40
    curves = deletion(
        Sigmoid(weights), torch.ones(1, 1, 4, 4), weights, torch.tensor([0]), steps=16, fill=0.0, ids=["x"]
    )
    left = [sum(range(1, 17 - removed)) / 40 for removed in range(17)]
    expected = [1 / (1 + math.exp(-score)) for score in left]
    assert curves.map[0].tolist() == pytest.approx(expected, abs=1e-6)
    area = sum((a + b) / 2 / 16 for a, b in itertools.pairwise(expected))
    assert float(curves.areas().map) == pytest.approx(area, abs=1e-6)
    assert curves.areas().map < min(curves.areas().centre, curves.areas().random)
    # No order removes more of the score at any point, and the reverse order removes least.
    worst = deletion(
        Sigmoid(weights), torch.ones(1, 1, 4, 4), -weights, torch.tensor([0]), steps=16, fill=0.0, ids=["x"]
    )
    for curve in (curves.centre, curves.random):
        assert (curves.map <= curve + 1e-6).all()
        assert (curve <= worst.map + 1e-6).all()


def test_ends_of_the_curves():
    network, images, maps, targets = case()
    whole = network(images).softmax(1).gather(1, targets[:, None])[:, 0]
    gone = network(fill_images(images, "mean")).softmax(1).gather(1, targets[:, None])[:, 0]
    removed, inserted = (call(network, images, maps, targets, steps=7, fill="mean") for call in (deletion, insertion))
    for name in ("map", "centre", "random"):
        assert torch.allclose(getattr(removed, name)[:, 0], whole)
        assert torch.allclose(getattr(removed, name)[:, -1], gone)
        assert torch.allclose(getattr(inserted, name)[:, 0], gone)
        assert torch.allclose(getattr(inserted, name)[:, -1], whole)


def test_all_steps_go_through_in_full_batches():
    network, images, maps, targets = case()
    counting = Counting(network)
    deletion(counting, images, maps, targets, steps=10, max_batch=16)
    assert counting.batches == [1, 1, 5] + 3 * [16, 16, 1]  # checks, then 3 x 11 images for each of three rankings
    assert counting.training


def test_nothing_of_the_model_or_the_generator_changes():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(80, 3))
    _, images, maps, targets = case()
    network(images).sum().backward()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grads, state = [p.grad.clone() for p in network.parameters()], torch.get_rng_state()
    with torch.inference_mode():
        first = deletion(network, images, maps, targets, steps=3)
    second = deletion(network, images, maps, targets, steps=3)
    assert torch.equal(first.map, second.map)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(network.parameters(), grads, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.map.requires_grad


def test_fills():
    images = torch.rand(2, 3, 12, 9)
    assert torch.equal(fill_images(images, 0.25), torch.full_like(images, 0.25))
    assert torch.allclose(fill_images(images, "mean")[1, 2], images[1, 2].mean())
    # Blur by a loop over the kernel, mirrored at the border.
    kernel = torch.exp(-torch.arange(-5.0, 6).square() / 50)
    kernel /= kernel.sum()
    padded = F.pad(images, (5, 5, 5, 5), mode="reflect")
    expected = torch.zeros_like(images)
    for i, a in enumerate(kernel.tolist()):
        for j, b in enumerate(kernel.tolist()):
            expected += a * b * padded[:, :, i : i + 12, j : j + 9]
    assert torch.allclose(fill_images(images, "blur"), expected, atol=1e-6)


def pixel_result(labels, top_k, radius=0.1) -> PixelResult:
    """A result with these labels [K, H, W], all of one radius."""
    labels = torch.as_tensor(labels, dtype=torch.int8)
    return PixelResult(
        labels=labels,
        radius=torch.where(labels >= 0, radius, 0.0).float(),
        votes=torch.zeros(labels.shape, dtype=torch.int32),
        top_k=top_k,
        sizes=[max(1, int(share * labels[0].numel())) for share in top_k],
        tau=0.5,
        threshold=90,
        level=1e-6,
        num_constant=0,
        tied=[0.0] * len(top_k),
        num_samples=100,
        alpha=0.001,
        sigma=0.25,
        noise="GaussianNoise",
    )


def test_certified_deletion_of_known_labels():
    """Probabilities and area worked out by hand: 136, 105 and 36 fortieths are left at K = 0, 10 % and 50 %."""
    weights, images = torch.arange(1.0, 17).reshape(1, 4, 4) / 40, torch.ones(1, 1, 4, 4)
    small, large = torch.zeros(4, 4, dtype=torch.int8), torch.zeros(4, 4, dtype=torch.int8)
    small[3, 2:], large[2:] = 1, 1
    result = pixel_result(torch.stack([large, small]), (0.5, 0.1))
    curves = certified_deletion(Sigmoid(weights), images, result, torch.tensor([0]), fill=0.0)
    y = [1 / (1 + math.exp(-score / 40)) for score in (136, 105, 36)]
    assert curves.position.tolist() == pytest.approx([0, 0.1, 0.5])
    assert curves.map[0].tolist() == pytest.approx(y, abs=1e-6)
    assert curves.removed[0].tolist() == [0, 2 / 16, 8 / 16]
    area = (10 * (y[0] + y[1]) / 2 + 40 * (y[1] + y[2]) / 2) / 50
    assert float(curves.areas().map) == pytest.approx(area, abs=1e-6)
    # The baselines remove as many pixels: two of the four in the centre, then eight.
    left = [136, 136 - 6 - 7, 136 - sum(order + 1 for order in order_of(centre_map(4, 4))[:8])]
    assert curves.centre[0].tolist() == pytest.approx([1 / (1 + math.exp(-score / 40)) for score in left], abs=1e-6)
    beyond = certified_deletion(Sigmoid(weights), images, [result], torch.tensor([0]), fill=0.0, radius=0.1)
    assert beyond.removed.tolist() == [[0, 0, 0]]
    assert beyond.map[0].tolist() == pytest.approx([y[0]] * 3)


def certified(seed):
    certificate = PixelCertificate(top_k=(0.25, 0.5, 0.1), alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (6, 7))
    generator = torch.Generator().manual_seed(seed)
    accumulator.update(4 * torch.rand(1, 6, 7, generator=generator) + torch.randn(200, 6, 7, generator=generator))
    return accumulator.compute()


def test_certified_deletion_removes_level_by_level():
    network, images, _, targets = case()
    results = [certified(seed) for seed in range(3)]
    curves = certified_deletion(network, images, results, targets, fill="mean", max_batch=5)
    filled = fill_images(images, "mean")
    assert curves.position.tolist() == pytest.approx([0, 0.1, 0.25, 0.5])
    for i, result in enumerate(results):
        gone = torch.zeros(6, 7, dtype=torch.bool)
        for point, level in enumerate((None, 2, 0, 1)):
            if level is not None:
                gone |= result.labels[level] == 1
            probability = network(torch.where(gone, filled[i], images[i])[None]).softmax(1)[0, targets[i]].detach()
            assert float(curves.map[i, point]) == pytest.approx(float(probability), abs=1e-6)
            assert float(curves.removed[i, point]) == pytest.approx(float(gone.float().mean()))
    assert 0 < curves.removed[:, -1].min() < 0.5


def test_classes_are_means_over_images_whatever_the_batches():
    network, images, maps, targets = case()
    results, ids = [certified(seed) for seed in range(3)], ["a", "b", "c"]
    kinds = [
        (lambda: Deletion(steps=6), lambda s: deletion(network, images[s], maps[s], targets[s], steps=6, ids=ids[s])),
        (lambda: Insertion(steps=6), lambda s: insertion(network, images[s], maps[s], targets[s], steps=6, ids=ids[s])),
        (
            lambda: CertifiedDeletion(top_k=(0.1, 0.25, 0.5)),
            lambda s: certified_deletion(network, images[s], results[s], targets[s], ids=ids[s]),
        ),
    ]
    for make, curves_of in kinds:
        whole, parts = make(), make()
        everything = curves_of(slice(0, 3))
        whole.update(everything)
        parts.update(curves_of(slice(2, 3)))
        parts.update(curves_of(slice(0, 2)))
        for name, area in zip(("map", "centre", "random"), everything.areas(), strict=True):
            key = whole.name if name == "map" else f"{whole.name}_{name}"
            assert float(whole.compute()[key]) == pytest.approx(float(area.mean()), abs=1e-6)
            assert float(parts.compute()[key]) == pytest.approx(float(area.mean()), abs=1e-5)
            assert torch.allclose(getattr(whole.curves(), name)[0], getattr(everything, name).mean(0), atol=1e-6)
        assert pickle.loads(pickle.dumps(whole)).compute() == whole.compute()
        figure, axes = whole.plot()
        assert len(axes.lines) == 3
        assert np.allclose(axes.lines[0].get_ydata(), everything.map.mean(0), atol=1e-6)
        figure.canvas.draw()
        whole.plot([whole.compute(), whole.compute()])
        whole.plot(ax=plt.figure().add_subplot())
    plt.close("all")


def test_certified_deletion_tells_images_without_support():
    network, images, _, targets = case(count=2)
    nothing = pixel_result(-torch.ones(2, 6, 7), (0.5, 0.1))
    half = pixel_result(torch.ones(2, 6, 7), (0.5, 0.1))
    metric = CertifiedDeletion(top_k=(0.5, 0.1))
    metric.update(certified_deletion(network, images, [nothing, half], targets))
    values = metric.compute()
    assert values["certified_deletion_no_support"] == 0.5
    assert values["certified_deletion_removed"] == 0.5
    assert list(values)[:3] == ["certified_deletion", "certified_deletion_centre", "certified_deletion_random"]


NETWORK, IMAGES, MAPS, TARGETS = case()
RESULTS = [certified(seed) for seed in range(3)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, steps=43), "steps must be 1 to the number of pixels, 42"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, steps=0), "steps must be"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, max_batch=0, steps=3), "max_batch must be"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, fill="black", steps=3), "fill must be"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, fill=2.0, steps=3), "fill must be"),
        (lambda: deletion(NETWORK, IMAGES, MAPS[:, :3], TARGETS, steps=3), "maps must be"),
        (lambda: deletion(NETWORK, IMAGES, MAPS * torch.inf, TARGETS, steps=3), "finite"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS + 1, steps=3), "target class 3 is unknown"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS[:2], steps=3), "targets must be 3 classes"),
        (lambda: deletion(NETWORK, IMAGES, MAPS, TARGETS, ids=["a", "a", "b"], steps=3), "ids must be 3 different"),
        (lambda: deletion(nn.Identity(), IMAGES, MAPS, TARGETS, steps=3), "must return logits"),
        (lambda: insertion(NETWORK, IMAGES[:, :, :5], MAPS[:, :5], TARGETS, steps=3), "at least 6 pixels a side"),
        (lambda: certified_deletion(NETWORK, IMAGES, RESULTS[:2], TARGETS), "one result per image"),
        (lambda: certified_deletion(NETWORK, IMAGES, RESULTS, TARGETS, radius=-1), "radius must be"),
        (
            lambda: certified_deletion(NETWORK, IMAGES, [*RESULTS[:2], pixel_result([[[1]]], (0.5,))], TARGETS),
            "the same levels",
        ),
        (lambda: Deletion(steps=0), "steps must be"),
        (lambda: CertifiedDeletion(top_k=[]), "top_k must be shares"),
        (lambda: CertifiedDeletion(top_k=[20]), "top_k must be shares"),
        (lambda: Deletion(steps=4).update(deletion(NETWORK, IMAGES, MAPS, TARGETS, steps=3)), "5 points, got 4"),
        (
            lambda: CertifiedDeletion(top_k=(0.5,)).update(certified_deletion(NETWORK, IMAGES, RESULTS, TARGETS)),
            "these curves have the levels",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
