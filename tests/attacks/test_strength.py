"""Attacks that are weaker than they could be make a certificate look tight; networks that spoil an attack."""

import itertools

import pytest
import torch
from torch import nn

from lit_certattr.attacks import (
    AttackConfig,
    TopKMass,
    TopKOverlap,
    attack,
    attack_explanation,
    attack_noisy_prediction,
    attack_prediction,
    attack_smoothed,
    distance,
    margin,
)
from lit_certattr.attacks.ball import fit, random_start
from lit_certattr.attacks.misclassification import soft_margin
from lit_certattr.attribution import Gradient, IntegratedGradients
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, top_k_mask


@pytest.fixture
def digits(trained_digits):
    net, images, labels = trained_digits
    return net, images[:40], labels[:40]


class Counted(nn.Module):
    """Counts the passes of each image that are differentiated."""

    def __init__(self, net):
        super().__init__()
        self.net, self.passes = net, 0

    def forward(self, images):
        self.passes += len(images) * (torch.is_grad_enabled() and images.requires_grad)
        return self.net(images)


# --- the length of random points -------------------------------------------------------------------------------


def test_random_points_have_the_length_of_the_budget_inside_the_box():
    black = torch.zeros(6, 1, 28, 28)
    black[:, :, 10:18, 10:18] = 0.9
    config = AttackConfig(eps=2.0, steps=3).random_search()
    seen = []

    def score(points):
        seen.append(points)
        return points.sum((1, 2, 3))

    attack(score, black, config)
    lengths = torch.stack([distance(points, black, "l2") for points in seen[1:]])
    assert lengths.min() > 1.999
    assert lengths.max() <= 2.0
    assert all(points.min() >= 0 and points.max() <= 1 for points in seen)
    clipped = random_start(black, torch.full((6,), 2.0), "l2", "boundary", None).clamp(0, 1)
    assert distance(clipped, black, "l2").max() < 1.6, "the control: clipping alone costs length"


def test_directions_of_random_points_are_uniform_before_the_clipping():
    centres = torch.full((20_000, 1, 1, 2), 0.5)
    eps = torch.full((20_000,), 0.3)
    start = random_start(centres, eps, "l2", "boundary", torch.Generator().manual_seed(0), (0.0, 1.0)) - centres
    angle = torch.atan2(start[:, 0, 0, 0], start[:, 0, 0, 1])
    counts = torch.histc(angle, 8, -torch.pi, torch.pi)
    assert (counts - 2500).abs().max() < 5 * 2500**0.5


def test_a_box_nearer_than_the_budget_gives_its_corner():
    clean = torch.full((1, 1, 1, 3), 0.9)
    corner = fit(torch.tensor([[[[1.0, 2.0, -0.1]]]]), clean, torch.tensor([5.0]), (0.0, 1.0), grow=True)
    assert torch.allclose(corner, torch.tensor([[[[0.1, 0.1, -0.9]]]]))
    assert not fit(torch.zeros_like(clean), clean, torch.tensor([5.0]), (0.0, 1.0), grow=True).any()


def test_the_projection_onto_ball_and_box_is_the_nearest_point():
    """No point of the intersection is nearer: the variational inequality of a convex projection."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(50, 1, 3, 3, generator=generator, dtype=torch.float64)
    delta = 2 * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    eps = torch.full((50,), 0.8, dtype=torch.float64)
    nearest = fit(delta, clean, eps, (0.0, 1.0), grow=False)
    for _ in range(200):
        other = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        other = fit(other, clean, 0.8 * torch.rand(50, generator=generator, dtype=torch.float64), (0.0, 1.0), grow=True)
        assert (((delta - nearest) * (other - nearest)).sum((1, 2, 3)) < 1e-4).all()


# --- strength ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.9), ("linf", 0.08)])
def test_the_default_breaks_no_fewer_images_than_plain_gradient_ascent_at_equal_passes(digits, norm, eps):
    net, images, labels = digits

    def robust(**options):
        config = AttackConfig(eps=eps, norm=norm, steps=20, init=options.pop("init", "uniform"))
        counted = Counted(net)
        found = attack_prediction(counted, images, labels, config, **options)
        assert counted.passes <= 20 * len(images)
        assert (distance(found, images, norm) <= eps).all()
        return int((net(found).argmax(1) == labels).sum())

    plain = [robust(loss=loss, init=init) for loss in ("margin", "cross_entropy") for init in ("zero", "uniform")]
    assert 0 < robust() <= min(plain) < len(images)


def test_passes_are_at_most_steps_times_restarts_and_end_at_a_wrong_prediction(digits):
    net, images, labels = digits
    for steps, restarts, eps in ((7, 3, 0.05), (100, 1, 0.05), (20, 4, 9.0)):
        counted = Counted(net)
        found = attack_prediction(counted, images, labels, AttackConfig(eps=eps, steps=steps, restarts=restarts))
        right = net(found).argmax(1) == labels
        if eps < 1:
            assert right.any()
            assert int(right.sum()) * steps * restarts <= counted.passes <= len(images) * steps * restarts
        else:
            assert not right.any()
            assert counted.passes < 0.5 * len(images) * steps * restarts


def test_more_restarts_never_lose(digits):
    net, images, labels = digits

    def margins(restarts):
        config = AttackConfig(eps=0.7, steps=5, restarts=restarts)
        return margin(net(attack_prediction(net, images, labels, config)), labels)

    for few, more in itertools.pairwise([margins(restarts) for restarts in (1, 2, 3, 12)]):
        right = few < 0  # a wrong one has left the search
        assert (more > 0)[~right].all()
        assert (more >= few)[right].all()
        assert (more > few)[right].any()


def test_a_rival_that_is_second_on_the_clean_image_is_found_by_heading_for_it():
    """Class 1 is nearest and can never win; class 2 wins at the far end, against the slope of the best logit."""

    class Two(nn.Module):
        def forward(self, images):
            place = images.flatten(1)[:, 0] - 0.5
            return torch.stack([torch.zeros_like(place), -0.1 - place.clamp(min=0), -3 + 6.5 * place], 1)

    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, dtype=torch.long)
    config = AttackConfig(eps=0.5, steps=8, restarts=3, init="zero")
    stuck = attack_prediction(Two(), images, labels, config, loss="margin")
    assert margin(Two()(stuck), labels) < 0, "the control: the largest wrong logit leads the other way"
    assert margin(Two()(attack_prediction(Two(), images, labels, config)), labels) > 0


def test_the_soft_margin_has_the_direction_of_the_cross_entropy():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
    labels = torch.arange(6) % 5
    soft = soft_margin(logits, labels, torch.ones(6, dtype=torch.float64)).sum()
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    slopes = [torch.autograd.grad(value, logits)[0] for value in (soft, loss)]
    assert torch.allclose(nn.functional.cosine_similarity(*slopes), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_default_attack_on_integrated_gradients_beats_random_search_from_the_image_itself(trained_digits, norm):
    net, images, labels = (part if index == 0 else part[:12] for index, part in enumerate(trained_digits))
    attribution, objective = IntegratedGradients(steps=8), TopKMass(25)
    clean = attribution(net, images, labels)

    def success(config):
        found = attack_explanation(net, attribution, images, labels, objective, config)
        return float(objective.criterion(attribution(net, found, labels), clean).mean())

    for init in ("zero", "uniform"):
        config = AttackConfig(eps=0.5 if norm == "l2" else 0.05, steps=20, norm=norm, init=init)
        assert success(config) >= success(config.random_search())


# --- networks that would spoil an attack ------------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self, net, forward):
        super().__init__()
        self.net, self._forward = net, forward

    def forward(self, images):
        return self._forward(self.net, images)


def in_place(net, images):
    return net(images.sub_(0.3).div_(0.35))


ATTACKS = {
    "prediction": lambda net, x, y, c: attack_prediction(net, x, y, c),
    "margin": lambda net, x, y, c: attack_prediction(net, x, y, c, loss="margin"),
    "noisy prediction": lambda net, x, y, c: attack_noisy_prediction(net, GaussianNoise(0.1), x, y, c),
    "explanation": lambda net, x, y, c: attack_explanation(net, Gradient(), x, y, TopKMass(9), c),
    "explanation, any label": lambda net, x, y, c: attack_explanation(
        net, Gradient(), x, y, TopKMass(9), c, keep_label=False
    ),
    "smoothed": lambda net, x, y, c: attack_smoothed(
        net, Gradient(), GaussianNoise(0.1), x, y, TopKOverlap(top_k_mask(x[:, 0], 9)), c
    ),
}
SPOILT = {
    "changes its input in place": in_place,
    r"return \[-s, s\]": lambda net, images: net(images)[:, :1],
    "forward returns the logits alone": lambda net, images: (net(images), images),
    r"\['logits'\]": lambda net, images: {"logits": net(images)},
    "NaN or infinite": lambda net, images: net(images) / 0,
    "cannot take the images": lambda net, images: net(images[:, :, :3]),
}


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("said", list(SPOILT))
def test_such_a_network_is_refused_with_the_remedy_and_the_images_stay(digits, name, said):
    net, images, labels = (part if index == 0 else part[:2] for index, part in enumerate(digits))
    mine = images.clone()
    with pytest.raises(InputError, match=said):
        ATTACKS[name](Wrapped(net, SPOILT[said]), mine, labels, AttackConfig(eps=0.5, steps=2))
    assert torch.equal(mine, images)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_score_that_writes_to_its_points_gives_the_point_of_one_that_does_not(digits, keep):
    net, images, labels = (part if index == 0 else part[:3] for index, part in enumerate(digits))
    mine, config = images.clone(), AttackConfig(eps=0.5, steps=3, restarts=2, keep=keep)

    def found(prepare):
        def loss(points):
            return nn.functional.cross_entropy(net(prepare(points)), labels, reduction="none")

        return attack(loss, mine, config, accept=lambda points: prepare(points).isfinite().all((1, 2, 3)).flatten(0))

    expected = found(lambda points: (points - 0.5) / 2)
    assert torch.equal(found(lambda points: points.sub_(0.5).div_(2)), expected)
    assert torch.equal(mine, images)


@pytest.mark.parametrize("labels", [torch.tensor([10]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor([0, 1])])
def test_labels_that_are_no_classes_are_refused(digits, labels):
    with pytest.raises(InputError):
        attack_prediction(digits[0], digits[1][:1], labels, AttackConfig(eps=0.5, steps=2))


@pytest.mark.parametrize("images", [torch.rand(1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.uint8), [[0.5]]])
def test_images_of_another_kind_are_refused(digits, images):
    with pytest.raises(InputError, match=r"images to attack must be|images must"):
        attack_prediction(digits[0], images, torch.tensor([0]), AttackConfig(eps=0.5, steps=2))
