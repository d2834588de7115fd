"""ClaimHinge against its formula, its meaning as a certified radius, and what it does to a network."""

import math

import pytest
import torch
from objectives.catalogue import batch, tanh_net
from scipy.stats import norm
from torch import nn
from torch.nn import functional

from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim
from lit_certattr.errors import InputError
from lit_certattr.numbers import Box, CentreOfMass, EnergyInside, FunctionNumber, Gini, PointingGame, RegionMask
from lit_certattr.objectives import ClaimHinge, NoiseAugmentation
from lit_certattr.objectives.claim_hinge import probit
from lit_certattr.regions import Grid, Regions, Superpixels
from lit_certattr.smoothing import GaussianNoise

LEFT = Box(0, 0, 1, 0.5)
ENERGY = EnergyInside(LEFT)
IMAGES, TARGETS = batch()
SIGMA = 0.2


def largest(maps):
    return maps.amax((1, 2))


class Planned(GaussianNoise):
    """Noise that is known: copy number i of the batch is shifted by (i + 1) / 20 in its first column."""

    def sample_like(self, images):
        shift = torch.zeros_like(images)
        shift[..., 0] = torch.arange(1.0, len(images) + 1).view(-1, 1, 1).to(images) / 20
        return shift


def by_hand(net, draws):
    """Maps ``[draws][image]`` of the noisy copies, one at a time."""
    copies = IMAGES.repeat(draws, 1, 1, 1)
    copies = copies + Planned(SIGMA).sample_like(copies)
    maps = [Gradient()(net, copy[None], TARGETS[place % 5, None])[0] for place, copy in enumerate(copies)]
    return [maps[i * 5 : i * 5 + 5] for i in range(draws)]


@pytest.mark.parametrize(("bounds", "sides"), [((0.45, None), 1), ((None, 0.5), 1), ((0.45, 0.5), 2)])
def test_is_its_formula(bounds, sides):
    net, draws, radius = tanh_net().eval(), 3, 0.1
    maps = by_hand(net, draws)
    means = [sum(float(maps[i][b][:, :2].sum() / maps[i][b].sum()) for i in range(draws)) / draws for b in range(5)]
    missing = []
    for mean in means:
        at_least, at_most = bounds
        total = 0.0
        if at_least is not None:
            total += max(0.0, norm.ppf(at_least) + radius / SIGMA - norm.ppf(mean))
        if at_most is not None:
            total += max(0.0, norm.ppf(mean) + radius / SIGMA - norm.ppf(at_most))
        missing.append(total)
    objective = ClaimHinge(
        Planned(SIGMA), Gradient(), Claim("left", ENERGY, *bounds), radius, draws, 2.0, smooth_beta=None, contrast=0.5
    )
    loss, logs = objective(net, IMAGES, TARGETS)
    base, _ = NoiseAugmentation(Planned(SIGMA), draws)(net, IMAGES, TARGETS)
    assert float(logs["hinge"]) == pytest.approx(sum(missing) / 5)
    assert float(logs["claimed"]) == pytest.approx(sum(means) / 5)
    assert float(logs["reached"]) == pytest.approx(sum(one == 0 for one in missing) / 5)
    torch.testing.assert_close(loss, base + 2.0 * (logs["hinge"] + 0.5 * logs["sameness"]))
    assert logs["hinge"] > 1e-3


@pytest.mark.parametrize("mean", [0.55, 0.7, 0.9])
@pytest.mark.parametrize("at_least", [0.2, 0.5])
def test_the_hinge_is_zero_up_to_the_radius_of_the_certificate_and_not_beyond(mean, at_least):
    number = FunctionNumber(largest, "the largest value")
    reached = SIGMA * (norm.ppf(mean) - norm.ppf(at_least))  # Phi(Phi^-1(mean) - reached / sigma) = at_least

    def hinge(radius):
        objective = ClaimHinge(GaussianNoise(SIGMA), Gradient(), Claim("a", number, at_least), radius, draws=1)
        return float(objective._hinge(torch.full((1, 1), mean, dtype=torch.float64), *objective._bounds[0]))

    assert hinge(0.999 * reached) == 0
    assert hinge(1.01 * reached) == pytest.approx(0.01 * reached / SIGMA)


def test_numbers_of_another_range_are_brought_to_0_1():
    wide, plain = FunctionNumber(largest, "the largest value", -1.0, 3.0), FunctionNumber(largest, "the same")
    for bounds in ((0.6, None), (None, 0.3)):
        narrow = Claim("a", plain, *bounds)
        scaled = Claim("a", wide, *[None if one is None else 4 * one - 1 for one in bounds])
        one, other = (ClaimHinge(GaussianNoise(SIGMA), Gradient(), claim, 0.05) for claim in (narrow, scaled))
        assert one._bounds == [(sign, pytest.approx(bound)) for sign, bound in other._bounds]
        maps = torch.rand(8, 2, 2, dtype=torch.float64)
        torch.testing.assert_close(one._values(maps, IMAGES), other._values(4 * maps - 1, IMAGES))


class ById(Regions):
    """The left half for even ids, the right half for odd ones."""

    def __call__(self, image, image_id):
        columns = torch.arange(image.shape[-1]) // (image.shape[-1] // 2)
        inside = columns == int(image_id) % 2
        return torch.where(inside, 0, -1).expand(image.shape[-2:])


def test_each_image_may_have_a_mask_of_its_own():
    net, ids = tanh_net().eval(), ["0", "2", "1", "4", "7"]
    sides = [LEFT if int(one) % 2 == 0 else Box(0, 0.5, 1, 1) for one in ids]
    claim = Claim("object", EnergyInside(RegionMask(ById())), 0.6)
    objective = ClaimHinge(Planned(SIGMA), Gradient(), claim, 0.1, draws=2, smooth_beta=None)
    objective.ids = ids
    _, logs = objective(net, IMAGES, TARGETS)
    maps = by_hand(net, 2)
    means = [sum(float(EnergyInside(side)(maps[i][b][None])) for i in range(2)) / 2 for b, side in enumerate(sides)]
    missing = [max(0.0, norm.ppf(0.6) + 0.1 / SIGMA - norm.ppf(mean)) for mean in means]
    assert float(logs["hinge"]) == pytest.approx(sum(missing) / 5)
    assert float(logs["claimed"]) == pytest.approx(sum(means) / 5)


@pytest.mark.parametrize("ids", [None, ["0", "1"]])
def test_masks_of_images_need_their_ids(ids):
    objective = ClaimHinge(GaussianNoise(SIGMA), Gradient(), Claim("a", EnergyInside(RegionMask(ById())), 0.6), 0.1)
    objective.ids = ids
    with pytest.raises(InputError, match=r"mask of its own for each image.*ids and no augmentation") as caught:
        objective(tanh_net(), IMAGES, TARGETS)
    assert "\n" not in str(caught.value)


def rounded(maps):
    return torch.from_numpy(maps.detach().numpy().mean((1, 2)))


def test_a_number_without_a_gradient_cannot_be_trained():
    claim = Claim("a", FunctionNumber(rounded, "the mean of the map"), 0.6)
    with pytest.raises(InputError, match="has no gradient"):
        ClaimHinge(GaussianNoise(SIGMA), Gradient(), claim, 0.1)(tanh_net(), IMAGES, TARGETS)


def test_descent_moves_the_energy_into_the_box_and_the_guard_sees_how():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).double()
    found = {}
    for weight in (0.0, 1.0):
        trained = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).double()
        trained.load_state_dict(net.state_dict())
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
        objective = ClaimHinge(
            Planned(SIGMA), Gradient(), Claim("left", ENERGY, 0.7), 0.05, draws=2, weight=weight, contrast=0.0
        )
        for _ in range(60):
            optimizer.zero_grad()
            loss, logs = objective(trained, IMAGES, TARGETS)
            loss.backward()
            optimizer.step()
        found[weight] = float(ENERGY(Gradient()(trained, IMAGES, TARGETS)).mean())  # of the ReLU network itself
    assert found[0.0] < 0.6
    assert found[1.0] > 0.7
    assert logs["reached"] > 0.7
    assert logs["sameness"] > 0.3  # every image's map lies in the box: nothing but the guard tells


def test_a_map_without_a_number_counts_against_the_claim_and_has_no_slope():
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).double()
    nn.init.zeros_(net[1].weight)
    for bounds in ((0.5, None), (None, 0.5), (0.5, 0.6)):
        loss, logs = ClaimHinge(GaussianNoise(SIGMA), Gradient(), Claim("left", ENERGY, *bounds), 0.1)(
            net, IMAGES, TARGETS
        )
        assert loss.isfinite()
        assert float(logs["reached"]) == 0
        assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(net.parameters())))


def test_the_probit_goes_on_as_its_tangent():
    shares = torch.linspace(0.02, 0.98, 50, dtype=torch.float64)
    assert probit(shares).tolist() == pytest.approx(norm.ppf(shares).tolist())
    ends = torch.tensor([0.0, 0.01, 0.99, 1.0], dtype=torch.float64, requires_grad=True)
    values = probit(ends)
    (slopes,) = torch.autograd.grad(values.sum(), ends)
    values = values.detach()
    assert slopes.tolist() == pytest.approx([1 / norm.pdf(norm.ppf(0.01))] * 4)
    assert float(values[0]) == pytest.approx(norm.ppf(0.01) - 0.01 / norm.pdf(norm.ppf(0.01)))
    assert math.isclose(float(values[0]), -float(values[3]))


def test_numbers_with_a_step_train_by_their_stand_in():
    net = tanh_net().eval()
    loss, logs = ClaimHinge(GaussianNoise(SIGMA), Gradient(), Claim("left", PointingGame(LEFT), 0.9), 0.2)(
        net, IMAGES, TARGETS
    )
    base = [one.abs().sum() for one in torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)]
    assert logs["hinge"] > 0
    assert sum(one > 0 for one in base) >= 4


def test_claims_about_the_whole_map_work_on_grids():
    objective = ClaimHinge(GaussianNoise(SIGMA), RegionMap(Gradient(), Grid(2)), Claim("a", Gini(), 0.5), 0.1)
    _, logs = objective(tanh_net().eval(), IMAGES, TARGETS)
    assert 0 < logs["claimed"] < 0.75


NOISE = GaussianNoise(SIGMA)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", CentreOfMass("row"), 3), 0.1), "has no range"),
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", ENERGY), 0.1), "needs at_least or at_most strictly between"),
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", ENERGY, 1.0), 0.1), "strictly between 0 and 1"),
        (lambda: ClaimHinge(NOISE, Gradient(), ENERGY, 0.1), "claim must be a Claim"),
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", ENERGY, 0.5), -0.1), "radius must be"),
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", ENERGY, 0.5), 0.1, contrast=-1), "contrast must be"),
        (lambda: ClaimHinge(NOISE, Gradient(), Claim("a", ENERGY, 0.5), 0.1, draws=0), "draws"),
        (lambda: ClaimHinge(NOISE, RegionMap(Gradient(), Grid(2)), Claim("a", ENERGY, 0.5), 0.1), "is a region"),
        (
            lambda: ClaimHinge(NOISE, RegionMap(Gradient(), Superpixels()), Claim("a", Gini(), 0.5), 0.1),
            "differ from image to image",
        ),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_loss_of_half_precision_is_finite():
    net = tanh_net().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = ClaimHinge(NOISE, Gradient(), Claim("left", ENERGY, 0.9), 0.5)(net, IMAGES.float(), TARGETS)
    assert loss.isfinite()
    assert functional.cross_entropy(net(IMAGES.float()), TARGETS).isfinite()
