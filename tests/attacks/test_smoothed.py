import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from lit_certattr.attacks import (
    AttackConfig,
    NoisyMaps,
    PixelVotes,
    SmoothedCosine,
    SmoothedObjective,
    TopKOverlap,
    attack_smoothed,
    distance,
)
from lit_certattr.attacks.smoothed_objectives import soft_top_k
from lit_certattr.attribution import Attribution, Gradient, IntegratedGradients, frozen
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, MapBlock, UniformBallNoise, top_k_mask

LAWS = [GaussianNoise(0.2), UniformBallNoise(0.2), DiscreteGaussianNoise(0.2)]


class Pixels(Attribution):
    """The map is the image: the smoothed votes have a closed form."""

    def __init__(self):
        super().__init__("sum")

    def __call__(self, model, images, targets, create_graph=False):
        return self.reduce(images)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 4),
    ).train()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 1, 2])


def draw(net, images, targets, noise, draws=1000, seed=77):
    with frozen(net):
        return NoisyMaps(net, Gradient(), noise, targets, 1024, torch.Generator().manual_seed(seed)).draw(images, draws)


@pytest.mark.parametrize(("noise", "radius"), [(GaussianNoise(0.3), 0.2), (GaussianNoise(0.3), 0.35)])
def test_finds_the_worst_case_of_two_pixels(noise, radius):
    """Vote of pixel 0 at x + delta: Phi((x_0 - x_1 + delta_0 - delta_1) / sigma sqrt(2)); the worst delta is known."""
    image = torch.tensor([[[[0.7, 0.4]]]])
    found = attack_smoothed(
        nn.Identity(),
        Pixels(),
        noise,
        image,
        torch.tensor([0]),
        PixelVotes(torch.tensor([[[-1, 0]]]), size=1, focus="mean"),
        AttackConfig(eps=radius, steps=30),
        judge_draws=1000,
    )
    worst = (0.3 - radius * math.sqrt(2)) / (noise.sigma * math.sqrt(2))
    reached = float(found[0, 0, 0, 0] - found[0, 0, 0, 1]) / (noise.sigma * math.sqrt(2))
    assert worst - 1e-6 <= reached
    assert norm.cdf(reached) < norm.cdf(worst) + 0.01


@pytest.mark.parametrize("noise", LAWS, ids=lambda noise: type(noise).__name__)
def test_draws_the_smoothed_map(net, images, noise):
    """Votes of noise drawn here agree with an independent draw, for every law."""
    one, two = (top_k_mask(draw(net, images, TARGETS, noise, 4000, seed), 16).float().mean(0) for seed in (1, 2))
    assert not torch.equal(one, two)
    assert (one - two).abs().max() < 5 * math.sqrt(0.5 / 4000)


@pytest.mark.parametrize("noise", LAWS, ids=lambda noise: type(noise).__name__)
@pytest.mark.parametrize("norm_name", ["l2", "linf"])
def test_stays_in_ball_and_box_with_a_budget_for_each_image(net, images, noise, norm_name):
    eps = torch.tensor([0.0, 0.05, 0.3], dtype=torch.float64)
    images = (images * 255).round() / 255  # integer noise asks for whole grey levels
    found = attack_smoothed(
        net,
        Gradient(),
        noise,
        images,
        TARGETS,
        TopKOverlap(top_k_mask(images[:, 0], 10)),
        AttackConfig(eps=1.0, steps=3, norm=norm_name, smooth_beta=5.0, restarts=2),
        eps=eps,
        judge_draws=8,
    )
    assert (distance(found, images, norm_name) <= eps).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found[0], images[0])
    assert not torch.equal(found[2], images[2])


def objectives(maps, size):
    masks = top_k_mask(maps, size).float().mean(0)
    return {
        "votes": PixelVotes(-(masks > 0.5).int(), size),
        "overlap": TopKOverlap(top_k_mask(masks, size)),
        "cosine": SmoothedCosine(nn.functional.normalize(maps.flatten(2), dim=2).mean(0).view_as(masks)),
    }


@pytest.mark.parametrize("name", ["votes", "overlap", "cosine"])
@pytest.mark.parametrize("noise", [GaussianNoise(0.1), UniformBallNoise(0.1)], ids=lambda noise: type(noise).__name__)
def test_beats_random_search_of_equally_many_points(trained_digits, noise, name):
    net, images, targets = (part if index == 0 else part[:6] for index, part in enumerate(trained_digits))
    objective = objectives(draw(net, images, targets, noise), 51)[name]
    config = AttackConfig(eps=0.5, steps=15, smooth_beta=5.0)
    assert config.random_search().num_points == config.num_points == 16

    def value(points):
        return objective.value(draw(net, points, targets, noise, seed=99))

    def search(config):
        return attack_smoothed(net, Gradient(), noise, images, targets, objective, config, batch_size=512)

    clean, found, luck = value(images), value(search(config)), value(search(config.random_search()))
    assert (found > clean).all()
    assert found.mean() - clean.mean() > 2 * (luck.mean() - clean.mean())


def test_a_relu_network_needs_the_twin(net, images):
    objective = PixelVotes(-top_k_mask(images[:, 0], 10).int(), 10)
    config = AttackConfig(eps=0.5, steps=2, init="zero", keep="last", smooth_beta=None)
    arguments = (net, Gradient(), GaussianNoise(0.1), images, TARGETS, objective)
    assert torch.equal(attack_smoothed(*arguments, config), images)
    smooth = AttackConfig(eps=0.5, steps=2, init="zero", keep="last", smooth_beta=10.0)
    assert not torch.equal(attack_smoothed(*arguments, smooth), images)


def test_integrated_gradients_have_a_slope_without_the_twin(net, images):
    arguments = (net, IntegratedGradients(steps=4), GaussianNoise(0.1), images, TARGETS)
    config = AttackConfig(eps=0.5, steps=2, init="zero", keep="last", smooth_beta=None)
    objective = TopKOverlap(top_k_mask(images[:, 0], 10))
    assert not torch.equal(attack_smoothed(*arguments, objective, config), images)


def test_keeps_the_label(net, images):
    class Logit(SmoothedObjective):  # wants another class: the images move to where the label would change
        def surrogate(self, maps):
            return maps.mean(0)[:, 0, 0]

        def value(self, maps):
            return self.surrogate(maps)

    class Margin(Attribution):
        def __init__(self):
            super().__init__("sum")

        def __call__(self, model, images, targets, create_graph=False):
            with torch.enable_grad():
                logits = model(images)
                return logits.logsumexp(1)[:, None, None] - logits.gather(1, targets[:, None])[:, :, None]

    with frozen(net):
        labels = net(images).argmax(1)
    arguments = (net, Margin(), GaussianNoise(0.01), images, labels, Logit(), AttackConfig(eps=4.0, steps=25))
    with frozen(net):
        assert (net(attack_smoothed(*arguments)).argmax(1) != labels).any()
        kept = attack_smoothed(*arguments, keep_label=True)
        assert (net(kept).argmax(1) == labels).all()
    assert (kept != images).any()


def test_noise_is_fresh_at_every_call_and_independent_of_the_batch_size(net, images):
    with frozen(net):

        def noisy(batch_size):
            generator = torch.Generator().manual_seed(3)
            return NoisyMaps(net, Gradient(), GaussianNoise(0.1), TARGETS, batch_size, generator)

        first, second = noisy(64), noisy(4)
        a, b = first.draw(images, 5), first.draw(images, 5)
        assert not torch.allclose(a, b)
        assert torch.allclose(second.draw(images, 5), a, atol=1e-6)
        with torch.no_grad():
            kept = first.draw(images, 2, create_graph=True)
        assert kept.shape == (2, 3, 8, 8)


def test_repeats_itself_and_leaves_everything_as_found(net, images):
    arguments = (net, Gradient(), GaussianNoise(0.1), images, TARGETS, TopKOverlap(top_k_mask(images[:, 0], 10)))
    state = torch.get_rng_state()

    def run(seed):
        config = AttackConfig(eps=0.5, steps=3, smooth_beta=5.0, seed=seed)
        return attack_smoothed(*arguments, config, judge_draws=8)

    first = run(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    run(None)
    assert not torch.equal(torch.get_rng_state(), state)


# --- objectives -----------------------------------------------------------------------------------------------


def test_the_soft_mask_becomes_the_hard_one():
    maps = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hard = top_k_mask(maps, 7)
    soft = soft_top_k(maps, 7, 1e-6)
    assert torch.equal(soft > 0.5, hard)
    assert torch.equal(soft_top_k(100 * maps, 7, 0.2), soft_top_k(100 * maps, 7, 0.2))
    assert torch.allclose(soft_top_k(100 * maps + 3, 7, 0.2), soft_top_k(maps, 7, 0.2))
    assert torch.isfinite(soft_top_k(torch.zeros(1, 3, 3), 2, 0.2)).all()


def test_values_are_those_of_the_certificates():
    maps = torch.rand(40, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    change = torch.zeros(2, 5, 5, dtype=torch.int)
    change[:, 0, 0], change[:, 1, 1] = -1, 1
    votes = torch.stack([MapBlock(maps[:, b]).votes(6) for b in range(2)]) / 40
    expected = ((1 - votes[:, 0, 0]) + votes[:, 1, 1]) / 2
    assert torch.allclose(PixelVotes(change, 6, focus="mean").value(maps), expected)
    flipped = ((votes[:, 0, 0] < 0.5).float() + (votes[:, 1, 1] > 0.5).float()) / 2
    assert torch.allclose(PixelVotes(change, 6).value(maps), flipped + 0.01 * expected)

    inside = top_k_mask(torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(1)), 6)
    top = top_k_mask(votes, 6)
    assert torch.allclose(TopKOverlap(inside).value(maps), 1 - (top & inside).sum((1, 2)) / 6)

    unit = (maps / maps.flatten(2).norm(dim=2)[..., None, None]).mean(0).flatten(1)
    reference = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(2))
    cosine = nn.functional.cosine_similarity(unit, reference.flatten(1))
    assert torch.allclose(SmoothedCosine(reference).value(maps), 1 - cosine, atol=1e-6)


@pytest.mark.parametrize("kind", ["sparsified", "ranked", "relaxed", "scaled", "quadratic"])
def test_the_averaged_map_is_the_one_that_the_certificate_counts(kind):
    """The mean over the level of MapBlock's masks is the map that the objective averages."""
    maps = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    objective = TopKOverlap(top_k_mask(maps[0], 4), kept=5, map_kind=kind, saturation=2)
    levels = (torch.arange(4000) + 0.5) / 4000
    block = MapBlock(maps[0].expand(4000, 4, 4), levels=levels)
    masks = block.masks(5) if kind == "sparsified" else block.level_masks(kind, 5, 2)
    assert torch.allclose(objective._unit(maps)[0, 0], masks.float().mean(0), atol=5e-4)
    assert 0 <= objective.value(maps).item() <= 1
    leaf = maps.requires_grad_(True)
    (slope,) = torch.autograd.grad(objective.surrogate(leaf).sum(), leaf)
    assert slope.abs().sum() > 0


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: PixelVotes(torch.full((1, 2, 2), 2), 1), "change"),
        (lambda: PixelVotes(torch.ones(1, 2, 2), 4), "K must"),
        (lambda: PixelVotes(torch.ones(1, 2, 2), 1, focus="all"), "focus"),
        (lambda: PixelVotes(torch.ones(1, 2, 2), 1, temperature=0.0), "temperature"),
        (lambda: TopKOverlap(torch.ones(1, 2, 2)), "inside"),
        (lambda: TopKOverlap(torch.tensor([[[True, False]], [[True, True]]])), "same number"),
        (lambda: TopKOverlap(torch.tensor([[[True, False]]]), kept=2), "K must"),
        (lambda: TopKOverlap(torch.tensor([[[True, False]]]), map_kind="best"), "map_kind"),
        (lambda: SmoothedCosine(torch.ones(2, 2)), "reference"),
    ],
)
def test_bad_settings(build, said):
    with pytest.raises(InputError, match=said):
        build()


def test_bad_calls(net, images):
    objective = TopKOverlap(top_k_mask(images[:, 0], 10))
    arguments = (net, Gradient(), GaussianNoise(0.1), images, TARGETS, objective, AttackConfig(eps=0.1, steps=1))
    with pytest.raises(InputError, match="draws"):
        attack_smoothed(*arguments, draws=0)
    with pytest.raises(InputError, match="no multiple of 1/255"):
        attack_smoothed(*arguments[:2], DiscreteGaussianNoise(0.1), *arguments[3:])
