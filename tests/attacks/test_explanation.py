import pytest
import torch
from torch import nn

from lit_certattr.attacks import (
    AttackConfig,
    ExplanationObjective,
    MassCentre,
    TargetMap,
    TargetRegion,
    TopKMass,
    attack_explanation,
    distance,
)
from lit_certattr.attacks.explanation_objectives import centre, relevance
from lit_certattr.attribution import Gradient, InputXGradient, IntegratedGradients
from lit_certattr.errors import InputError

SMOOTH = (3.0, 30.0)
CORNER = torch.zeros(16, 16, dtype=torch.bool)
CORNER[:6, :6] = True
OBJECTIVES = {
    "top_k": TopKMass(25),
    "centre": MassCentre(),
    "region": TargetRegion(CORNER),
    "map": TargetMap(CORNER.float(), gamma=1e-3),
}


@pytest.fixture(scope="module")
def batch(trained_digits):
    net, images, targets = trained_digits
    return net, images[:12], targets[:12]


def success(net, attribution, images, found, targets, objective):
    return objective.criterion(attribution(net, found, targets), attribution(net, images, targets))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_beats_random_search_at_equal_budget_and_equal_evaluations(batch, norm, name):
    net, images, targets = batch
    config = AttackConfig(eps=0.5 if norm == "l2" else 0.05, steps=49, norm=norm, smooth_beta=SMOOTH)
    random = config.random_search()
    assert random.num_points == config.num_points == 50
    calls = {}

    class Counted(ExplanationObjective):
        """Counts how often a point is judged."""

        logit_weight = OBJECTIVES[name].logit_weight

        def score(self, maps, clean):
            return OBJECTIVES[name].score(maps, clean)

        def criterion(self, maps, clean):
            calls["now"] += 1
            return OBJECTIVES[name].criterion(maps, clean)

    results = {}
    for kind, settings in (("attack", config), ("random", random)):
        calls["now"] = 0
        found = attack_explanation(net, Gradient(), images, targets, Counted(), settings)
        calls[kind] = calls["now"]
        assert (distance(found, images, norm) <= config.eps).all()
        assert found.min() >= 0
        assert found.max() <= 1
        assert (net(found).argmax(1) == targets).all()
        results[kind] = success(net, Gradient(), images, found, targets, OBJECTIVES[name])
    assert calls["attack"] == calls["random"] == 51
    clean = success(net, Gradient(), images, images, targets, OBJECTIVES[name])
    assert (results["attack"] > clean).all()
    assert (results["attack"] - clean).mean() > 1.3 * (results["random"] - clean).mean()


def test_more_random_points_are_worse_for_the_map_than_one(batch):
    net, images, targets = batch
    one = AttackConfig(eps=0.5, steps=0, init="boundary", keep="last")
    many = AttackConfig(eps=0.5, steps=0, init="boundary", restarts=50)
    shares = [
        success(
            net,
            Gradient(),
            images,
            attack_explanation(net, Gradient(), images, targets, TopKMass(25), config),
            targets,
            TopKMass(25),
        )
        for config in (one, many)
    ]
    assert (shares[1] >= shares[0]).all()
    assert shares[1].mean() > shares[0].mean() + 0.02


def test_the_plain_gradient_of_a_relu_network_has_no_slope(batch):
    net, images, targets = batch
    config = AttackConfig(eps=0.5, steps=3, init="zero", keep="last", smooth_beta=None)
    assert torch.equal(attack_explanation(net, Gradient(), images, targets, TopKMass(25), config), images)
    for attribution in (InputXGradient(), IntegratedGradients(steps=3)):
        found = attack_explanation(net, attribution, images, targets, TopKMass(25), config)
        assert not torch.equal(found, images)


def test_integrated_gradients_are_differentiated_through_all_path_points(batch):
    """The slope of the score agrees with finite differences (float64, softplus network)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Softplus(), nn.Linear(9, 3)).double().requires_grad_(False)
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    attribution, target = IntegratedGradients(steps=5, max_batch=2), torch.tensor([1])
    clean = attribution(net, torch.rand(1, 1, 4, 4, dtype=torch.float64), target)
    for objective in (TopKMass(5), MassCentre(), TargetMap(torch.rand(4, 4))):

        def score(z, objective=objective):
            return objective.score(attribution(net, z, target, create_graph=True), clean).sum()

        assert torch.autograd.gradcheck(score, image.requires_grad_(True))


def test_best_iterate_follows_the_agreement_that_is_asked_for(batch):
    net, images, targets = batch
    config = AttackConfig(eps=0.5, steps=15, smooth_beta=SMOOTH)

    def cosine(clean, perturbed):
        return nn.functional.cosine_similarity(clean.flatten(1), perturbed.flatten(1))

    own = attack_explanation(net, Gradient(), images, targets, TopKMass(25), config)
    other = attack_explanation(net, Gradient(), images, targets, TopKMass(25), config, criterion=cosine)
    clean = Gradient()(net, images, targets)
    assert (cosine(clean, Gradient()(net, other, targets)) <= cosine(clean, Gradient()(net, own, targets))).all()
    assert not torch.equal(own, other)


def test_keeps_the_label_only_where_asked(batch):
    net, images, targets = batch
    config = AttackConfig(eps=3.0, steps=20, smooth_beta=SMOOTH)
    free = attack_explanation(net, Gradient(), images, targets, TopKMass(25), config, keep_label=False)
    assert (net(free).argmax(1) != targets).any()
    kept = attack_explanation(net, Gradient(), images, targets, TopKMass(25), config)
    assert (net(kept).argmax(1) == targets).all()


def test_the_outputs_cost(batch):
    net, images, targets = batch
    config = AttackConfig(eps=3.0, steps=20, smooth_beta=SMOOTH)  # so far that the outputs of this network move
    moved = []
    for gamma in (0.0, 1000.0):
        found = attack_explanation(
            net, Gradient(), images, targets, TargetMap(CORNER.float(), gamma), config, keep_label=False
        )
        moved.append((net(found).softmax(1) - net(images).softmax(1)).square().sum(1).mean())
    assert moved[1] < 0.1 * moved[0]


def test_budgets_of_each_image_and_nothing_else_moves(batch):
    net, images, targets = batch
    images = images[:3]
    eps, state = torch.tensor([0.0, 0.1, 0.4]), torch.get_rng_state()
    net.train()
    config = AttackConfig(eps=1.0, steps=3, smooth_beta=SMOOTH)
    found = attack_explanation(net, Gradient(), images, targets[:3], TopKMass(25), config, eps=eps)
    assert (distance(found, images, "l2") <= eps.double()).all()
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    net.eval()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_lightning_evaluates(batch, mode):
    net, images, targets = batch
    config = AttackConfig(eps=0.5, steps=2, smooth_beta=SMOOTH)
    expected = attack_explanation(net, Gradient(), images, targets, OBJECTIVES["map"], config)
    with mode():
        inside = attack_explanation(net, Gradient(), images.clone(), targets.clone(), OBJECTIVES["map"], config)
    assert torch.equal(inside, expected)


# --- objectives -----------------------------------------------------------------------------------------------


def test_relevance_and_centre():
    maps = torch.tensor([[[0.0, -2.0, 0.0], [0.0, 0.0, 2.0]], [[0.0] * 3, [0.0] * 3]])
    assert relevance(maps)[0].sum() == 6
    assert torch.equal(relevance(maps)[1], torch.zeros(2, 3))
    assert centre(maps)[0].tolist() == [0.5, 1.5]
    assert torch.isfinite(centre(maps)).all()


def test_criteria():
    clean = torch.tensor([[[4.0, 3.0, 0.0, 0.0]]])
    maps = torch.tensor([[[-4.0, 0.0, 0.0, 3.0]]])
    assert TopKMass(2).criterion(maps, clean).item() == 0.5
    assert TopKMass(0.5).criterion(maps, clean).item() == 0.5
    assert TopKMass(2).score(maps, clean).item() == pytest.approx(-16 / 7)
    assert MassCentre().criterion(maps, clean).item() == pytest.approx(9 / 7 - 3 / 7)
    region = torch.tensor([[False, False, True, True]])
    assert TargetRegion(region).criterion(maps, clean).item() == pytest.approx(3 / 7)
    target = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    assert TargetMap(target).criterion(maps, clean).item() == pytest.approx(-2 * (4 / 7) ** 2)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: TargetRegion(torch.ones(2, 2)), "region"),
        (lambda: TargetMap(torch.ones(2)), "target"),
        (lambda: TargetMap(torch.ones(2, 2), gamma=-1.0), "gamma"),
        (lambda: TargetRegion(CORNER).score(torch.ones(2, 8, 8), torch.ones(2, 8, 8)), "region has shape"),
        (lambda: TargetMap(torch.ones(3, 2, 2)).score(torch.ones(2, 2, 2), torch.ones(2, 2, 2)), "target has shape"),
        (lambda: TopKMass(1.5).score(torch.ones(1, 2, 2), torch.ones(1, 2, 2)), "top_k"),
    ],
)
def test_bad_settings(build, said):
    with pytest.raises(InputError, match=said):
        build()
