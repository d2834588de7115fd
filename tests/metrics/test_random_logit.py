"""The random-logit check: which other class it draws, what it compares, and whom it convicts."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import Attribution, Gradient
from lit_certattr.errors import InputError
from lit_certattr.metrics import RandomLogit
from lit_certattr.metrics.functional import random_logit, spearman, ssim
from lit_certattr.models import SmallCNN


class Edges(Attribution):
    """An edge detector: the same map for every class."""

    def __init__(self):
        super().__init__("sum_abs")

    def __call__(self, model, images, targets, create_graph=False):
        return self.reduce(torch.diff(images, dim=3, append=images[..., -1:]))


def case(count: int = 6):
    torch.manual_seed(0)
    return SmallCNN(image_size=8, width=4), torch.rand(count, 1, 8, 8), torch.arange(count)


@pytest.mark.parametrize("similarity", [ssim, spearman])
def test_compares_the_maps_of_both_classes(similarity):
    net, images, targets = case()
    found = random_logit(net, images, targets, Gradient(), similarity=similarity, max_batch=4)
    net.eval()
    first, second = (Gradient()(net, images, classes) for classes in (targets, found.others))
    assert torch.allclose(found.map, similarity(first, second))
    assert (found.others != targets).all()


def test_an_edge_detector_is_convicted():
    net, images, targets = case()
    found = random_logit(net, images, targets, Edges())
    assert torch.allclose(found.map, torch.ones(6))
    assert (found.chance < 0.6).all()
    assert (random_logit(net, images, targets, Gradient()).map < 0.999).all()


def test_the_other_class_depends_on_seed_and_id_alone_and_is_uniform():
    net, images, targets = case()
    ids = [f"image-{index}" for index in range(6)]
    one = random_logit(net, images, targets, Gradient(), ids=ids)
    part = random_logit(net, images[2:4], targets[2:4], Gradient(), ids=ids[2:4])
    assert torch.equal(one.others[2:4], part.others)
    assert torch.allclose(one.map[2:4], part.map, atol=1e-5)
    assert torch.allclose(one.chance[2:4], part.chance, atol=1e-5)
    assert not torch.equal(one.others, random_logit(net, images, targets, Gradient(), ids=ids, seed=1).others)
    tiny = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    many, zeros = torch.rand(1200, 1, 6, 6), torch.zeros(1200, dtype=torch.long)
    counts = random_logit(tiny, many, zeros, Gradient(), max_batch=1200).others.bincount(minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 330).all()  # 400 expected, standard deviation 16


def test_chance_is_the_level_of_unrelated_maps():
    net, images, targets = case(9)
    found = random_logit(net, images, targets, Gradient("sum"), similarity=spearman)
    assert abs(float(found.chance.mean())) < 0.2  # 0 expected, standard deviation 1 / sqrt(63 * 9) = 0.04
    assert found.chance.std() > 0


def test_constant_maps_have_no_similarity():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    found = random_logit(net, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), Gradient())
    assert found.map.isnan().all()
    metric = RandomLogit()
    metric.update(found)
    with pytest.warns(UserWarning, match="not defined for 2 images"):
        metric.compute()


def test_the_network_and_the_generator_stay_as_they_are():
    net, images, targets = case()
    net.train()
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        random_logit(net, images + 0, targets, Gradient())
    assert net.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_metric_is_the_mean():
    net, images, targets = case()
    found = random_logit(net, images, targets, Gradient())
    metric = RandomLogit()
    metric.update(found)
    assert float(metric.compute()["random_logit"]) == pytest.approx(float(found.map.mean()), abs=1e-6)
    assert float(metric.compute()["random_logit_chance"]) == pytest.approx(float(found.chance.mean()), abs=1e-6)


NET, IMAGES, TARGETS = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
ONE = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_logit(NET, IMAGES, TARGETS, Gradient(), others=torch.tensor([1, 1])), "image 1 has class 1"),
        (lambda: random_logit(NET, IMAGES, TARGETS, Gradient(), others=torch.tensor([1])), "others must be 2 classes"),
        (lambda: random_logit(NET, IMAGES, TARGETS, Gradient(), others=torch.tensor([1, 3])), "class"),
        (lambda: random_logit(NET, IMAGES, TARGETS, Gradient(), max_batch=0), "max_batch must be"),
        (lambda: random_logit(ONE, IMAGES, TARGETS * 0, Gradient()), "two or more classes"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
