import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objectives.catalogue import batch, tanh_net
from torch import nn
from torch.nn import functional

from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations
from lit_certattr.objectives import (
    AttributionObjective,
    CleanLoss,
    Consistency,
    Neighbour,
    NoiseConsistency,
    Schedule,
    SoftVote,
)
from lit_certattr.objectives.directions import sameness, spread, unit
from lit_certattr.objectives.losses import prediction_spread
from lit_certattr.regions import Grid, Superpixels
from lit_certattr.smoothing import Noise, top_k_mask


class Planned(Noise):
    """Noise that is known: copy number i of the batch is shifted by (i + 1) / 20 in its first column."""

    def perturb_(self, out, image, normals, start):
        raise NotImplementedError

    def sample_like(self, images):
        shift = torch.zeros_like(images)
        shift[..., 0] = torch.arange(1.0, len(images) + 1).view(-1, 1, 1).to(images) / 20
        return shift


def by_hand(net, draws, attribution, beta=None) -> tuple[list, list]:
    """Logits and maps ``[draws][image]`` of the noisy copies, one image at a time."""
    images, targets = batch()
    copies = images.repeat(draws, 1, 1, 1) + Planned(1.0).sample_like(images.repeat(draws, 1, 1, 1))
    logits, maps = [], []
    for place, copy in enumerate(copies):
        logits.append(net(copy[None])[0])
        twin = SmoothActivations(beta) if beta else torch.enable_grad()
        with twin:
            maps.append(attribution(net, copy[None], targets[place % 5, None])[0])
    return [logits[i * 5 : i * 5 + 5] for i in range(draws)], [maps[i * 5 : i * 5 + 5] for i in range(draws)]


@pytest.mark.parametrize("channels", ["sum", "sum_abs"])
@pytest.mark.parametrize("draws", [2, 3])
def test_loss_is_its_formula(channels, draws):
    net, (images, targets) = tanh_net().eval(), batch()
    attribution = Gradient(channels)
    logits, maps = by_hand(net, draws, attribution)
    losses = [functional.cross_entropy(logits[i][b], targets[b]) for i in range(draws) for b in range(5)]
    apart = [1 - (sum(maps[i][b] / maps[i][b].norm() for i in range(draws)) / draws).norm() for b in range(5)]
    objective = NoiseConsistency(Planned(1.0), attribution, draws=draws, weight=3.0, smooth_beta=None)
    loss, logs = objective(net, images, targets)
    torch.testing.assert_close(logs["spread"], torch.stack(apart).mean())
    torch.testing.assert_close(loss, torch.stack(losses).mean() + 3.0 * torch.stack(apart).mean())
    assert logs["spread"] > 1e-4


def test_maps_are_those_of_the_softplus_twin_and_losses_are_not():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    logits, maps = by_hand(net, 2, Gradient(), beta=5.0)
    images, targets = batch()
    loss, logs = NoiseConsistency(Planned(1.0), Gradient(), weight=2.0, smooth_beta=5.0)(net, images, targets)
    apart = [1 - (sum(maps[i][b] / maps[i][b].norm() for i in range(2)) / 2).norm() for b in range(5)]
    torch.testing.assert_close(logs["spread"], torch.stack(apart).mean())
    losses = [functional.cross_entropy(logits[i][b], targets[b]) for i in range(2) for b in range(5)]
    torch.testing.assert_close(loss - 2.0 * logs["spread"], torch.stack(losses).mean())


def test_maps_of_regions_are_compared_cell_by_cell():
    net, (images, targets) = tanh_net().eval(), batch()
    attribution = RegionMap(Gradient("sum"), Grid(2))
    _, maps = by_hand(net, 2, Gradient("sum"))
    pooled = [
        [torch.stack([part.mean() for half in one.chunk(2, 0) for part in half.chunk(2, 1)]) for one in row]
        for row in maps
    ]
    apart = [1 - (sum(pooled[i][b] / pooled[i][b].norm() for i in range(2)) / 2).norm() for b in range(5)]
    loss, logs = NoiseConsistency(Planned(1.0), attribution, weight=3.0, smooth_beta=None)(net, images, targets)
    torch.testing.assert_close(logs["spread"], torch.stack(apart).mean())
    assert logs["spread"] > 1e-4
    assert loss.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda method: NoiseConsistency(Planned(1.0), method),
        lambda method: AttributionObjective(CleanLoss(), Neighbour(AttackConfig(0.1, 2)), method, "l1"),
    ],
)
def test_regions_that_differ_from_image_to_image_are_refused_with_the_remedy(make):
    with pytest.raises(InputError, match=r"regions of Superpixels differ.*Grid") as caught:
        make(RegionMap(Gradient(), Superpixels(4)))
    assert "\n" not in str(caught.value)


def test_descent_brings_the_maps_of_an_image_together():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).double()
    images, targets = batch()
    found = {}
    for weight in (0.0, 5.0):
        trained = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).double()
        trained.load_state_dict(net.state_dict())
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
        objective = NoiseConsistency(Planned(1.0), Gradient(), weight=weight)
        for _ in range(60):
            optimizer.zero_grad()
            objective(trained, images, targets)[0].backward()
            optimizer.step()
        _, maps = by_hand(trained, 2, Gradient())  # of the ReLU network itself
        directions = torch.stack([unit(torch.stack(row)) for row in maps])
        found[weight] = float(spread(directions).mean())
    assert found[5.0] < 0.5 * found[0.0]


def test_parts_are_added_with_their_weights():
    net, (images, targets) = tanh_net().eval(), batch()
    settings = {"noise": Planned(1.0), "attribution": Gradient("sum"), "smooth_beta": None}

    def loss(**more) -> tuple[torch.Tensor, dict]:
        return NoiseConsistency(**settings | more)(net, images, targets)

    base, _ = loss(weight=0.0)
    predicted, _ = Consistency(Planned(1.0), weight=4.0, entropy=0.5)(net, images, targets)
    full, logs = loss(weight=2.0, contrast=0.25, consistency=4.0, entropy=0.5)
    torch.testing.assert_close(full, predicted + 2.0 * (logs["spread"] + 0.25 * logs["sameness"]))
    assert (predicted - base).abs() > 1e-4
    assert logs["sameness"].abs() > 1e-4


def test_weight_follows_the_epoch():
    net, (images, targets) = tanh_net().eval(), batch()
    objective = NoiseConsistency(Planned(1.0), Gradient(), weight=Schedule(2.0, warmup_epochs=1, ramp_epochs=1))
    losses = []
    for epoch in (0.9, 1.5, 2.0):
        objective.epoch = epoch
        loss, logs = objective(net, images, targets)
        losses.append(loss)
    assert "spread" in logs
    torch.testing.assert_close(losses[2] - losses[0], 2.0 * logs["spread"])
    torch.testing.assert_close(losses[1] - losses[0], 1.0 * logs["spread"])


def test_consistency_is_its_formula():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, dtype=torch.float64)
    p = logits.softmax(2)
    mean = p.mean(0)
    divergence, entropy = prediction_spread(logits)
    torch.testing.assert_close(divergence, (mean * (mean / p).log()).sum(2).mean(0))
    torch.testing.assert_close(entropy, -(mean * mean.log()).sum(1))
    sure = torch.tensor([[[300.0, 0.0]], [[300.0, 0.0]]])
    assert all(bool((value == 0).all()) for value in prediction_spread(sure))


class TestDirections:
    @given(st.floats(0, math.pi - 1e-3), st.floats(1e-25, 1e10))
    def test_spread_of_two_directions_is_that_of_half_their_angle(self, angle, size):
        pair = torch.tensor([[[1.0, 0.0]], [[math.cos(angle), math.sin(angle)]]], dtype=torch.float64) * size
        directions = torch.stack([unit(one) for one in pair])
        torch.testing.assert_close(spread(directions).item(), 1 - math.cos(angle / 2), rtol=1e-6, atol=1e-9)

    def test_small_maps_in_single_precision_have_unit_length(self):
        maps = torch.rand(3, 4, 4) * 1e-28
        torch.testing.assert_close(unit(maps).norm(dim=1), torch.ones(3))

    def test_zero_map_has_no_direction_and_finite_derivatives(self):
        maps = torch.zeros(2, 1, 4, requires_grad=True)
        directions = torch.stack([unit(maps[:, 0]), unit(maps[:, 0] * 2)])
        loss = spread(directions).sum()
        assert loss == 2
        (grad,) = torch.autograd.grad(loss, maps, create_graph=True)
        assert grad.isfinite().all()
        assert torch.autograd.grad(grad.square().sum(), maps)[0].isfinite().all()

    def test_opposite_maps_have_a_finite_derivative(self):
        maps = torch.tensor([[[1.0, 2.0]], [[-1.0, -2.0]]], requires_grad=True)
        (grad,) = torch.autograd.grad(spread(torch.stack([unit(one) for one in maps])).sum(), maps)
        assert grad.isfinite().all()

    def test_centred_directions_correlate(self):
        torch.manual_seed(0)
        maps = torch.rand(2, 3, 5, dtype=torch.float64)
        first, second = unit(maps, centred=True)
        assert (first * second).sum() == pytest.approx(torch.corrcoef(maps.flatten(1))[0, 1].item())

    def test_sameness_is_the_mean_cosine_of_different_images_of_a_class(self):
        torch.manual_seed(0)
        directions = torch.stack([unit(torch.randn(5, 6, dtype=torch.float64)) for _ in range(2)])
        means, targets = directions.mean(0), torch.tensor([0, 1, 0, 1, 0])
        same = [(0, 2), (0, 4), (2, 4), (1, 3)]
        pairs = [functional.cosine_similarity(means[i], means[j], dim=0) for i, j in same]
        torch.testing.assert_close(sameness(directions, targets), torch.stack(pairs).mean())

    def test_images_of_different_classes_are_not_compared(self):
        directions = unit(torch.rand(3, 4, dtype=torch.float64)).expand(2, 3, 4).clone().requires_grad_(True)
        alike = sameness(directions, torch.arange(3))
        assert alike == 0
        assert (torch.autograd.grad(alike, directions)[0] == 0).all()


class TestSoftVote:
    @given(st.integers(1, 15), st.integers(0, 10**6))
    def test_cold_votes_are_the_mask_of_the_top_k(self, size, seed):
        maps = torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        votes = SoftVote(size, temperature=1e-9)(maps)
        assert torch.equal(votes.round().bool(), top_k_mask(maps, size))

    @given(st.floats(0.1, 100), st.floats(-10, 10))
    def test_scale_and_shift_do_not_matter(self, scale, shift):
        maps = torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        vote = SoftVote(0.25, 0.3)
        torch.testing.assert_close(vote(maps), vote(scale * maps + shift))

    def test_constant_map_votes_half_and_has_finite_derivatives(self):
        maps = torch.ones(1, 4, 4, requires_grad=True)
        votes = SoftVote(0.25)(maps)
        assert (votes == 0.5).all()
        assert torch.autograd.grad(votes.sum(), maps)[0].isfinite().all()

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [({"temperature": 0.0}, "temperature must be a positive"), ({"top_k": 1.0}, "top_k"), ({"top_k": 0}, "top_k")],
    )
    def test_refuses_settings_out_of_range(self, settings, complaint):
        with pytest.raises(InputError, match=complaint):
            SoftVote(**settings)


@pytest.mark.parametrize("kind", [Consistency, lambda noise, draws: NoiseConsistency(noise, Gradient(), draws)])
def test_refuses_a_single_draw(kind):
    with pytest.raises(InputError, match="draws must be at least 2"):
        kind(Planned(1.0), 1)


def test_refuses_a_negative_contrast():
    with pytest.raises(InputError, match="contrast must be a number of at least 0"):
        NoiseConsistency(Planned(1.0), Gradient(), contrast=-0.1)
