import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lit_certattr.attacks import AttackConfig, attack, distance, project
from lit_certattr.attacks.ball import random_start
from lit_certattr.errors import InputError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 4))


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def cross_entropy(net, labels):
    return lambda z: nn.functional.cross_entropy(net(z), labels, reduction="none")


@given(
    st.sampled_from(["l2", "linf"]),
    st.floats(1e-6, 10),
    st.floats(0, 30),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(0, 10**6),
)
def test_projection_is_exact_and_inside_points_stay(norm, eps, scale, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(3, 2, 5, 5, generator=generator).to(dtype)
    points = (centres.double() + scale * torch.randn(centres.shape, generator=generator, dtype=torch.float64)).to(dtype)
    radii = eps * torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    for clamp in (None, (0.0, 1.0)):
        inside = project(points, centres, radii, norm, clamp)
        assert (distance(inside, centres, norm) <= radii).all()
        assert clamp is None or (inside.min() >= 0 and inside.max() <= 1)
        assert torch.equal(project(inside, centres, radii, norm, clamp), inside)
    assert torch.equal(project(points, points, radii, norm), points)


def test_projection_reaches_the_boundary_at_the_size_of_imagenet():
    centres = 0.1 + 0.8 * torch.rand(1, 3, 224, 224)
    far = centres + torch.randn_like(centres)
    inside = project(far, centres, torch.tensor([0.25], dtype=torch.float64), "l2")
    assert 0.2499 < distance(inside, centres, "l2").item() <= 0.25


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("init", ["zero", "uniform", "gaussian", "boundary"])
def test_laws_of_the_starting_points(norm, init):
    centres = torch.full((4000, 1, 2, 2), 0.5)
    eps = torch.full((4000,), 0.3, dtype=torch.float64)
    start = random_start(centres, eps, norm, init, torch.Generator().manual_seed(0))
    length = distance(start, centres, norm)
    match init:
        case "zero":
            assert not length.any()
        case "gaussian":
            assert abs((start - centres).std().item() - 0.001) < 5e-5
        case "boundary":
            assert torch.allclose(length, eps, atol=1e-6)
        case _:  # uniform in d = 4 dimensions: (length / eps)^4 is uniform in [0, 1], for both norms
            share = (length / eps) ** 4
            assert share.max() <= 1 + 1e-6
            assert abs(share.mean() - 0.5) < 4 / math.sqrt(12 * 4000)
    assert (start - centres).mean().abs() < 0.02


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("init", ["zero", "uniform", "boundary"])
def test_raises_the_score_in_ball_and_box(net, images, norm, keep, init):
    labels = net(images).argmax(1)
    score = cross_entropy(net, labels)
    config = AttackConfig(eps=0.5 if norm == "l2" else 0.1, steps=10, norm=norm, keep=keep, init=init)
    found = attack(score, images, config)
    assert (distance(found, images, norm) <= config.eps).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert (score(found) > score(images)).all()
    assert not found.requires_grad


def test_a_linear_score_is_solved_exactly():
    weight = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    images = torch.full((2, 1, 6, 6), 0.5, dtype=torch.float64)

    def score(z):
        return (weight * z).sum((1, 2, 3))

    for norm, best in (("l2", weight.norm()), ("linf", weight.abs().sum())):
        found = attack(score, images, AttackConfig(eps=0.01, steps=2, step_size=100.0, norm=norm))
        assert torch.allclose(score(found) - score(images), 0.01 * best, rtol=1e-6)


def test_best_is_never_worse_than_the_image_and_follows_the_criterion(images):
    def score(z):  # its gradient leads away from what counts
        return z.sum((1, 2, 3))

    def criterion(z):
        return -z.sum((1, 2, 3))

    assert torch.equal(attack(score, images, AttackConfig(eps=0.5, init="zero"), criterion=criterion), images)
    found = attack(score, images, AttackConfig(eps=0.5, steps=0, init="boundary", restarts=8), criterion=criterion)
    assert (criterion(found) >= criterion(images)).all()
    assert not torch.equal(found, images)


def test_only_accepted_points_are_returned(net, images):
    labels = net(images).argmax(1)
    config = AttackConfig(eps=4.0, steps=20)
    assert (net(attack(cross_entropy(net, labels), images, config)).argmax(1) != labels).any()
    kept = attack(cross_entropy(net, labels), images, config, accept=lambda z: net(z).argmax(1) == labels)
    assert (net(kept).argmax(1) == labels).all()
    assert (cross_entropy(net, labels)(kept) > cross_entropy(net, labels)(images)).any()
    none = attack(cross_entropy(net, labels), images, config, accept=lambda z: torch.zeros(len(z), dtype=torch.bool))
    assert torch.equal(none, images)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_more_restarts_never_lose(net, images, keep):
    score = cross_entropy(net, net(images).argmax(1))
    one, many = (
        score(attack(score, images, AttackConfig(eps=0.3, steps=3, restarts=restarts, keep=keep)))
        for restarts in (1, 6)
    )
    assert (many >= one).all()
    assert (many > one).any()


def test_budgets_of_each_image(net, images):
    score = cross_entropy(net, net(images).argmax(1))
    eps = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    found = attack(score, images, AttackConfig(eps=1.0, steps=10), eps=eps)
    lengths = distance(found, images, "l2")
    assert (lengths <= eps.double()).all()
    assert torch.allclose(lengths, eps.double(), atol=0.02)


def test_nothing_else_moves(net, images):
    before = torch.get_rng_state()
    attack(cross_entropy(net, torch.zeros(5, dtype=torch.long)), images, AttackConfig(eps=0.3, steps=2, restarts=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert net.training
    assert images.grad is None


def test_seeds(net, images):
    score = cross_entropy(net, net(images).argmax(1))

    def run(seed):
        return attack(score, images, AttackConfig(eps=0.3, steps=0, init="boundary", keep="last", seed=seed))

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    torch.manual_seed(0)
    first = run(None)
    assert not torch.equal(first, run(None))
    torch.manual_seed(0)
    assert torch.equal(first, run(None))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_lightning_evaluates(net, images, mode):
    score = cross_entropy(net, net(images).argmax(1))
    expected = attack(score, images, AttackConfig(eps=0.3, steps=3))
    with mode():
        assert torch.equal(attack(score, images.clone(), AttackConfig(eps=0.3, steps=3)), expected)


def test_the_smooth_twin_is_for_gradients_only(net, images):
    seen = []

    def score(z):
        logits = net(z)
        seen.append((torch.relu(torch.tensor(0.0)) > 0).item())
        return logits[:, 0]

    attack(score, images, AttackConfig(eps=0.3, steps=2, smooth_beta=(1.0, 100.0)))
    image, step, start, second_step, point, last = seen
    assert (step, second_step) == (True, True)
    assert not any((image, start, point, last))  # whatever is judged is judged in the network as it is
    config = AttackConfig(eps=0.3, steps=3, smooth_beta=(1.0, 100.0))
    assert [round(config.beta(step), 6) for step in range(3)] == [1, 10, 100]
    assert AttackConfig(eps=0.3, smooth_beta=5.0).beta(7) == 5


def test_an_attribution_can_be_attacked(net, images):
    def norm_of_gradient(z):
        z = z if z.requires_grad else z.clone().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(net(z)[:, 0].sum(), z, create_graph=True)
        return gradient.square().sum((1, 2, 3))

    found = attack(norm_of_gradient, images, AttackConfig(eps=0.5, steps=15, smooth_beta=10.0))
    assert (norm_of_gradient(found) >= norm_of_gradient(images)).all()
    assert norm_of_gradient(found).mean() > 1.05 * norm_of_gradient(images).mean()
    plain = attack(norm_of_gradient, images, AttackConfig(eps=0.5, steps=15, init="zero"))
    assert torch.equal(plain, images)  # without the twin there is no slope to follow


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eps": -1.0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": 0.1, "steps": -1}, "steps"),
        ({"eps": 0.1, "restarts": 0}, "restarts"),
        ({"eps": 0.1, "step_size": 0.0}, "step_size"),
        ({"eps": 0.1, "norm": "l1"}, "norm"),
        ({"eps": 0.1, "init": "centre"}, "init"),
        ({"eps": 0.1, "keep": "first"}, "keep"),
        ({"eps": 0.1, "clamp": (1.0, 0.0)}, "clamp"),
        ({"eps": 0.1, "smooth_beta": (1.0, 0.0)}, "smooth_beta"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(InputError, match=said):
        AttackConfig(**settings)


def test_bad_calls(net, images):
    config = AttackConfig(eps=0.1, steps=1)
    with pytest.raises(InputError, match="must lie in"):
        attack(lambda z: z.sum((1, 2, 3)), images + 1, config)
    with pytest.raises(InputError, match="one number per image"):
        attack(lambda z: z.sum(), images, config)
    with pytest.raises(InputError, match="differentiable"):
        attack(lambda z: torch.zeros(len(z)), images, config)
    with pytest.raises(InputError, match="eps"):
        attack(lambda z: z.sum((1, 2, 3)), images, config, eps=torch.tensor([-1.0] * 5))
