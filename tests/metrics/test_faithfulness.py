"""Sensitivity and infidelity against loops over samples, and on networks where both are known in closed form."""

import pickle

import numpy as np
import processes
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from lit_certattr.attribution import Attribution, Gradient, InputXGradient
from lit_certattr.errors import InputError
from lit_certattr.metrics import Infidelity, MaxSensitivity
from lit_certattr.metrics.functional import GaussianOffset, SquareRemoval, centre_map, infidelity, max_sensitivity
from lit_certattr.metrics.functional.infidelity import Infidelities
from lit_certattr.metrics.functional.sensitivity import BallPerturbation
from lit_certattr.smoothing import normal_stream

IDS = ["a", "b", "c"]


class HalfSquare(nn.Module):
    """Logit 0 is half the squared length of the image, so its gradient is the image."""

    def forward(self, images):
        return torch.stack([images.flatten(1).square().sum(1) / 2, images.flatten(1).sum(1)], dim=1)


class Blind(Attribution):
    """Ignores image and network."""

    def __init__(self):
        super().__init__("sum")

    def __call__(self, model, images, targets, create_graph=False):
        return centre_map(*images.shape[2:]).expand(len(images), -1, -1)


class Counting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, 0

    def forward(self, images):
        self.seen += len(images)
        return self.network(images)


def case(channels=2, side=8):
    images = torch.rand(3, channels, side, side)
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 16), nn.Softplus(), nn.Linear(16, 3))
    return network, images, torch.tensor([0, 2, 1])


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("max_batch", [1, 2, 7, 100])
def test_sensitivity_equals_a_loop_over_samples(norm, max_batch):
    network, images, targets = case()
    method = Gradient()
    settings = {"radius": 0.3, "norm": norm, "num_samples": 9, "seed": 4, "ids": IDS}
    found = max_sensitivity(network, images, targets, method, max_batch=max_batch, **settings)
    for i in range(3):
        clean, target = method(network, images[i : i + 1], targets[i : i + 1])[0], targets[i : i + 1]
        perturb, worst = BallPerturbation([IDS[i]], 0.3, norm, 4, torch.device("cpu")), 0.0
        for _ in range(9):
            moved = method(network, perturb(images[i : i + 1]), target)[0]
            worst = max(worst, float((moved - clean).norm() / clean.norm()))
        assert float(found[i]) == pytest.approx(worst, rel=1e-4)
        assert worst > 0.001


def test_sensitivity_in_closed_form():
    images, targets = torch.rand(3, 1, 8, 8), torch.zeros(3, dtype=torch.long)
    lengths = images.flatten(1).norm(dim=1)
    found = max_sensitivity(HalfSquare(), images, targets, Gradient(channels="sum"), radius=0.2, num_samples=40)
    assert (found <= 0.2 / lengths * (1 + 1e-5)).all()  # the map moves by the perturbation itself
    assert (found >= 0.2 / lengths * 0.95).all()  # the longest of 40 in 64 dimensions
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    assert max_sensitivity(linear, images, targets, Gradient(), radius=0.2).tolist() == [0, 0, 0]
    assert max_sensitivity(linear, images, targets, Blind(), radius=9.0).tolist() == [0, 0, 0]


def test_perturbations_are_uniform_in_their_ball():
    images = torch.rand(2, 1, 2, 3)
    for norm, size in (("l2", 0.5), ("linf", 0.5)):
        perturb = BallPerturbation(["a", "b"], size, norm, 0, torch.device("cpu"))
        delta = (perturb(images.repeat_interleave(4000, dim=0)) - images.repeat_interleave(4000, dim=0)).flatten(1)
        if norm == "l2":
            uniform = (delta.double().norm(dim=1) / size) ** 6  # of a point uniform in a ball of 6 dimensions
            assert kstest(uniform.numpy(), "uniform").pvalue > 1e-4
        else:
            assert kstest(((delta.double() / size + 1) / 2).flatten().numpy(), "uniform").pvalue > 1e-4
            assert delta.abs().max() <= size * (1 + 1e-6)
        assert abs(np.corrcoef(delta[:4000, 0], delta[4000:, 0])[0, 1]) < 0.06  # images share nothing


def infidelity_by_hand(network, image, target, change, values, name, num_samples, normalize):
    """Error of the best multiple (or of the map itself), one sample after the other."""
    normals = normal_stream(7, f"{name}\x00infidelity", "cpu")
    logit = network(image[None])[0, target].item()
    predicted, true = [], []
    for sample in range(num_samples):
        step = torch.empty(1, *image.shape[1:])
        change.draw(normals, sample, step)
        u = torch.full_like(step[None], change.origin) - step[None]
        predicted.append(float((step[0] * values).sum()))
        true.append(logit - network(change.images(image[None], u))[0, target].item())
    predicted, true = np.array(predicted), np.array(true)
    multiple = 1.0
    if normalize:
        multiple = predicted @ true / (predicted @ predicted) if predicted.any() else 0.0
    return float(np.mean((multiple * predicted - true) ** 2))


@pytest.mark.parametrize("change", [GaussianOffset(0.2), SquareRemoval(3, fill=0.5), SquareRemoval(2, fill="mean")])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("max_batch", [2, 1000])
def test_infidelity_equals_a_loop_over_samples(change, normalize, max_batch):
    network, images, targets = case()
    network.requires_grad_(False)
    maps = torch.randn(3, 8, 8)
    settings = {"num_samples": 11, "seed": 7, "ids": IDS, "perturbation": change}
    found = infidelity(network, images, maps, targets, normalize=normalize, max_batch=max_batch, **settings)
    baselines = {"zero": torch.zeros(8, 8), "centre": centre_map(8, 8), "uniform": torch.ones(8, 8)}
    for i in range(3):
        arguments = (network, images[i], targets[i], change)
        own = infidelity_by_hand(*arguments, maps[i], IDS[i], 11, normalize)
        assert float(found.map[i]) == pytest.approx(own, rel=1e-3, abs=1e-7)
        for name, values in baselines.items():
            expected = infidelity_by_hand(*arguments, values, IDS[i], 11, name != "zero")
            assert float(getattr(found, name)[i]) == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_exact_maps_of_linear_networks_have_no_infidelity():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 64, 3))
    images, targets = torch.rand(2, 2, 8, 8), torch.tensor([1, 2])
    slopes = Gradient(channels="sum")(network, images, targets)
    offset = infidelity(network, images, slopes, targets, perturbation=GaussianOffset(0.3), num_samples=3000)
    assert (offset.map < 1e-6 * offset.zero).all()
    variance = 0.09 * network[1].weight[targets].unflatten(1, (2, 64)).sum(1).square().sum(1).detach()
    assert offset.zero.tolist() == pytest.approx(variance.tolist(), rel=0.1)  # the variance of the change
    shares = InputXGradient(channels="sum")(network, images, targets)
    removal = infidelity(network, images, shares, targets, perturbation=SquareRemoval(3, fill=0.0))
    assert (removal.map < 1e-6 * removal.zero).all()
    # Another unit is another map, unless its best multiple is asked for.
    twice = infidelity(network, images, 2 * slopes, targets, perturbation=GaussianOffset(0.3))
    assert twice.map.tolist() == pytest.approx(twice.zero.tolist(), rel=1e-3)  # an error as large as the change
    free = infidelity(network, images, 2 * slopes, targets, perturbation=GaussianOffset(0.3), normalize=True)
    assert (free.map < 1e-4 * free.zero).all()
    assert (free.map >= 0).all()
    assert (twice.centre <= twice.zero).all()  # 0 is a multiple too
    assert (twice.uniform <= twice.zero).all()


def test_the_network_is_evaluated_once_for_all_maps():
    network, images, targets = case()
    counting = Counting(network)
    infidelity(counting, images, torch.randn(3, 8, 8), targets, num_samples=10, max_batch=100)
    assert counting.seen == 2 + 5 + 3 * 10 + 3  # an image twice and in a batch, the perturbed images, the images


def test_squares_lie_anywhere_in_the_image():
    out = torch.empty(4000, 5, 6)
    SquareRemoval(2).draw(normal_stream(0, "x", "cpu"), 0, out)
    assert out.sum((1, 2)).unique().tolist() == [4]
    first = out.flatten(1).argmax(1)
    counts = torch.stack([(first == 6 * i + j).sum() for i in range(4) for j in range(5)])
    assert counts.sum() == 4000  # no other place
    assert (abs(counts - 200) < 5 * 200**0.5).all()


def test_nothing_changes_and_inference_mode_is_fine():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    _, images, targets = case()
    network(images).sum().backward()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grads, state = [p.grad.clone() for p in network.parameters()], torch.get_rng_state()
    maps = torch.randn(3, 8, 8)
    with torch.inference_mode():
        inside = max_sensitivity(network, images + 0, targets, Gradient(), radius=0.1, num_samples=4)
        errors = infidelity(network, images + 0, maps, targets, num_samples=4)
    torch.set_rng_state(state)
    assert torch.equal(inside, max_sensitivity(network, images, targets, Gradient(), radius=0.1, num_samples=4))
    assert torch.equal(errors.map, infidelity(network, images, maps, targets, num_samples=4).map)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(network.parameters(), grads, strict=True))


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_captum_is_imported_on_use_only(tmp_path):
    code = "import sys, lit_certattr.metrics; sys.exit('captum' in sys.modules)"
    (ended,) = processes.run(tmp_path, code, ())
    assert ended.status == 0, ended


def test_classes_are_means_over_images():
    sensitivity, errors = MaxSensitivity(), Infidelity()
    sensitivity.update(torch.tensor([0.1, 0.3]))
    sensitivity.update(torch.tensor([0.8]))
    assert float(sensitivity.compute()) == pytest.approx(0.4)
    errors.update(Infidelities(*torch.rand(4, 2)))
    other = Infidelities(*torch.rand(4, 1))
    errors.update(other)
    values = errors.compute()
    assert list(values) == ["infidelity", "infidelity_zero", "infidelity_centre", "infidelity_uniform"]
    assert pickle.loads(pickle.dumps(errors)).compute() == values
    errors.reset()
    errors.update(other)
    assert [float(value) for value in errors.compute().values()] == pytest.approx([float(v) for v in other])


def test_infinite_numbers_do_not_enter_the_sum():
    metric = MaxSensitivity()
    metric.update(torch.tensor([0.5, torch.inf, torch.nan, -torch.inf]))
    with pytest.warns(UserWarning, match="not defined for 3 images"):
        assert float(metric.compute()) == 0.5


NETWORK, IMAGES, TARGETS = case()
MAPS = torch.randn(3, 8, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_sensitivity(NETWORK, IMAGES, TARGETS, Gradient(), radius=0.0), "radius must be"),
        (lambda: max_sensitivity(NETWORK, IMAGES, TARGETS, Gradient(), radius=0.1, norm="l1"), "norm must be"),
        (lambda: max_sensitivity(NETWORK, IMAGES, TARGETS, Gradient(), radius=0.1, num_samples=0), "at least 1"),
        (lambda: max_sensitivity(NETWORK, IMAGES, TARGETS, Gradient(), radius=0.1, ids=["a"]), "ids must be"),
        (lambda: infidelity(NETWORK, IMAGES, MAPS[:2], TARGETS), "maps must be"),
        (lambda: infidelity(NETWORK, IMAGES, MAPS, TARGETS + 1), "target class 3 is unknown"),
        (lambda: infidelity(NETWORK, IMAGES, MAPS, TARGETS, max_batch=0), "at least 1"),
        (lambda: infidelity(NETWORK, IMAGES, MAPS, TARGETS, perturbation=SquareRemoval(9)), "does not fit into"),
        (lambda: GaussianOffset(0.0), "sigma must be"),
        (lambda: SquareRemoval(0), "side must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
