import math
import weakref

import pytest
import torch
from objectives.catalogue import CASES, batch, linf, tanh_net
from torch import nn
from torch.nn import functional

from lit_certattr.attacks import distance
from lit_certattr.attribution import Gradient, IntegratedGradients
from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations
from lit_certattr.objectives import (
    ART,
    CACR,
    FAR,
    IGR,
    AnyMap,
    AttributionObjective,
    CleanLoss,
    GradientMap,
    IGNorm,
    IGSumNorm,
    Neighbour,
    NeighbourPath,
    PairObjective,
    PathMap,
    SaliencyConsistency,
    Schedule,
    TradesLoss,
)
from lit_certattr.objectives.adversarial import neighbours_of
from lit_certattr.objectives.art import two_gradients
from lit_certattr.objectives.cacr import unevenness
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.distances import DISTANCES
from lit_certattr.objectives.pair import total
from lit_certattr.objectives.two_pass import two_pass

PAIRS = {name: case for name, case in CASES.items() if issubclass(case.make, PairObjective)}
IMAGES, TARGETS = batch()


def relu_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def nearby(scale: float = 0.1) -> torch.Tensor:
    torch.manual_seed(1)
    return (IMAGES + scale * torch.randn_like(IMAGES)).clamp(0, 1)


def gradient_of(net, image, target, twin: float | None = None) -> torch.Tensor:
    image = image[None].clone().requires_grad_(True)
    with SmoothActivations(twin) if twin else torch.enable_grad():
        (gradient,) = torch.autograd.grad(net(image)[0, target], image)
    return gradient[0]


class TestMaps:
    @pytest.mark.parametrize("of", ["loss", "logit", "probability"])
    def test_path_to_the_neighbour_adds_up_to_the_difference(self, of):
        net, others = tanh_net().eval(), nearby()
        paths = total(NeighbourPath(steps=300, of=of).terms(net, others, TARGETS, IMAGES))

        def value(images):
            logits = net(images)
            values = {"loss": -logits.log_softmax(1), "logit": logits, "probability": logits.softmax(1)}[of]
            return values.gather(1, TARGETS[:, None])[:, 0]

        torch.testing.assert_close(paths.flatten(1).sum(1), value(others) - value(IMAGES), rtol=1e-4, atol=1e-6)

    def test_path_from_grey_is_integrated_gradients(self):
        net = tanh_net().eval()
        expected = IntegratedGradients(steps=6, baseline=0.5).scores(net, IMAGES, TARGETS)
        for most in (None, 1, 12):
            path = PathMap(steps=6, baseline=0.5, max_batch=most)
            torch.testing.assert_close(total(path.terms(net, IMAGES, TARGETS, IMAGES)), expected)

    @pytest.mark.parametrize(
        "map_", [GradientMap(), GradientMap("loss"), AnyMap(Gradient()), PathMap(3), NeighbourPath(3)], ids=repr
    )
    def test_pairs_are_the_maps_of_image_and_neighbour(self, map_):
        net, others = tanh_net().eval(), nearby()
        pair = total(map_.pair(net, IMAGES, others, TARGETS))
        for found, images in zip(pair, (IMAGES, others), strict=True):
            torch.testing.assert_close(found, total(map_.terms(net, images, TARGETS, IMAGES)), atol=1e-12, rtol=0)
        assert pair.requires_grad
        assert not total(map_.pair(net, IMAGES, others, TARGETS, create_graph=False)).requires_grad

    def test_search_takes_fewer_points_of_the_same_path(self):
        search = PathMap(steps=20, search_steps=4, of="loss", baseline=0.25, max_batch=8).search
        assert (search.steps, search.of, search.baseline, search.max_batch) == (4, "loss", 0.25, None)
        assert NeighbourPath(steps=20, search_steps=4).search.steps == 4
        assert PathMap(steps=20).search.steps == 20

    @pytest.mark.parametrize("settings", [{"steps": 0}, {"search_steps": 0}, {"max_batch": 0}, {"of": "odds"}])
    @pytest.mark.parametrize("kind", [PathMap, NeighbourPath])
    def test_refuses_settings_out_of_range(self, kind, settings):
        with pytest.raises(InputError, match=r"must be (at least 1|one of logit, loss, probability)"):
            kind(**settings)


class TestDistances:
    def test_are_their_formulas(self):
        torch.manual_seed(0)
        a, b = torch.randn(2, 4, 2, 3, dtype=torch.float64).unflatten(1, (2, 2))
        for first, second, at in ((a[0], b[0], 0), (a[1], b[1], 1)):
            x, y = first.flatten(), second.flatten()
            expected = {
                "l1": (x - y).abs().sum(),
                "cosine": 1 - functional.cosine_similarity(x, y, dim=0),
                "pearson": 1 - torch.corrcoef(torch.stack([x, y]))[0, 1],
                "unit_mse": (x / x.norm() - y / y.norm()).square().mean(),
            }
            for name, value in expected.items():
                torch.testing.assert_close(DISTANCES[name](a, b)[at], value)

    @pytest.mark.parametrize("name", DISTANCES)
    def test_vanish_for_equal_maps_and_have_finite_slopes_at_zero(self, name):
        maps = torch.randn(3, 2, 4, 4)
        torch.testing.assert_close(DISTANCES[name](maps, maps), torch.zeros(3), atol=1e-6, rtol=0)
        zero = torch.zeros(3, 2, 4, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(DISTANCES[name](zero, maps).sum(), zero)
        assert (slope.abs() <= 1).all()
        constant = torch.full((3, 2, 4, 4), 0.1, requires_grad=True)
        (slope,) = torch.autograd.grad(DISTANCES[name](constant, maps).sum(), constant)
        assert (slope.abs() <= 10).all()

    def test_unknown_name(self):
        with pytest.raises(InputError, match="distance must be one of l1, cosine, pearson, unit_mse, got 'l3'"):
            AttributionObjective(CleanLoss(), Neighbour(linf()), Gradient(), "l3")


class TestTwoPass:
    @pytest.mark.parametrize("max_batch", [None, 5, 10])
    @pytest.mark.parametrize(
        "make",
        [
            lambda **settings: IGNorm(linf(), steps=6, search_steps=2, **settings),
            lambda **settings: IGSumNorm(linf(), steps=6, search_steps=2, **settings),
            lambda **settings: IGR(linf(), Schedule(1.0), steps=6, **settings),
            lambda **settings: CACR(linf(), steps=6, search_steps=2, **settings),
        ],
        ids=["ig_norm", "ig_sum_norm", "igr", "cacr"],
    )
    def test_loss_and_gradient_are_the_naive_ones(self, make, max_batch):
        net = tanh_net()
        net[4].bias.requires_grad_(False)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        found = []
        for settings in ({"two_pass": False}, {"two_pass": True, "max_batch": max_batch}):
            torch.manual_seed(0)
            net[1].reset_running_stats()
            loss, logs = make(**settings)(net, IMAGES, TARGETS)
            found.append([loss, logs["distance"], *torch.autograd.grad(loss, trained)])
        torch.testing.assert_close(*found, rtol=0, atol=1e-10)
        assert found[0][1] > 1e-3

    def test_scales_like_any_loss(self):
        net, path = relu_net(), NeighbourPath(steps=4, max_batch=5)
        others = nearby()

        def gradients(factor: float) -> list[torch.Tensor]:
            loss = two_pass(
                lambda maps: maps.square().sum(),
                lambda create_graph: path.terms(net, others, TARGETS, IMAGES, create_graph),
                net.parameters(),
            )
            return list(torch.autograd.grad(factor * loss + net[1].weight.sum(), list(net.parameters())))

        ones, twos = gradients(1.0), gradients(2.0)
        torch.testing.assert_close(twos[0] - 1, 2 * (ones[0] - 1))
        torch.testing.assert_close(twos[2], 2 * ones[2])

    @pytest.mark.parametrize(("two", "grows"), [(True, False), (False, True)])
    def test_memory_does_not_grow_with_the_path(self, two, grows):
        peaks = []
        for steps in (4, 32):
            live = Live()
            objective = IGNorm(linf(steps=0), steps=steps, two_pass=two, max_batch=5)
            with torch.autograd.graph.saved_tensors_hooks(live.pack, live.unpack):
                objective(relu_net(), IMAGES, TARGETS)
            peaks.append(live.peak)
        assert (peaks[1] > 4 * peaks[0]) == grows
        assert grows or peaks[1] == peaks[0]


class Live:
    """Counts the numbers that graphs keep for their backward passes, at most at one time."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def pack(self, tensor):
        kept = [tensor]
        box = Box(kept)
        self.now += tensor.numel()
        self.peak = max(self.peak, self.now)
        weakref.finalize(box, self.release, tensor.numel())
        return box

    def release(self, size: int) -> None:
        self.now -= size

    def unpack(self, box):
        return box.kept[0]


class Box:
    def __init__(self, kept: list) -> None:
        self.kept = kept


class TestSearch:
    @pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
    def test_neighbours_score_higher_and_stay_in_ball_and_box(self, case):
        torch.manual_seed(1)
        objective, net = case(), tanh_net()
        config = linf(0.2, steps=8)
        with attacking(net, IMAGES):
            score = objective.searched(net, IMAGES, TARGETS, 1.0)
            start = neighbours_of(IMAGES, score, linf(0.2, steps=0))
            neighbours = neighbours_of(IMAGES, score, config)
            assert score(neighbours).mean() > score(start).mean() + 1e-4
        assert (distance(neighbours, IMAGES, "linf") <= 0.2).all()
        assert neighbours.min() >= 0
        assert neighbours.max() <= 1

    @pytest.mark.parametrize("kind", [IGNorm, FAR, SaliencyConsistency, ART])
    def test_refuses_a_start_at_which_no_distance_rises(self, kind):
        with pytest.raises(InputError, match="init='zero' has zero gradient for maximise='distance'"):
            kind(linf(init="zero"))

    def test_what_is_refused_is_flat(self):
        net = tanh_net().eval()
        objective = IGNorm(linf())
        images = IMAGES.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(objective.distance_score(net, IMAGES, TARGETS)(images).sum(), images)
        assert (slope == 0).all()

    def test_a_divergence_needs_a_random_start_too(self):
        with pytest.raises(InputError, match="TradesLoss has zero gradient at the image itself"):
            IGR(linf(init="zero"), Schedule(1.0), base=TradesLoss())

    def test_gradients_of_a_relu_network_do_not_rise_without_the_twin(self):
        net, found = relu_net(), {}
        for beta in (None, 10.0):
            objective = FAR(linf(), smooth_beta=beta)
            with attacking(net, IMAGES):
                score = objective.searched(net, IMAGES, TARGETS, 1.0)
                for steps in (0, 5):
                    torch.manual_seed(0)
                    found[beta, steps] = neighbours_of(IMAGES, score, linf(steps=steps))
        assert torch.equal(found[None, 0], found[None, 5])
        assert not torch.equal(found[10.0, 0], found[10.0, 5])

    def test_unknown_goal(self):
        with pytest.raises(InputError, match="maximise must be one of loss, distance, both, got 'fame'"):
            Neighbour(linf(), "fame")


class TestFormulas:
    """Each loss by hand, one image at a time, at neighbours that are known (a search without steps)."""

    def neighbours(self, objective) -> torch.Tensor:
        torch.manual_seed(0)
        return neighbours_of(IMAGES, lambda z: z.sum((1, 2, 3)), objective.neighbour.attack)

    def penalty(self, objective, net) -> torch.Tensor:
        torch.manual_seed(0)
        return objective(net, IMAGES, TARGETS)[1]["distance"]

    @pytest.mark.parametrize("adversarial", [False, True])
    def test_far(self, adversarial):
        net, objective = relu_net(), FAR(linf(steps=0), adversarial=adversarial, smooth_beta=5.0)
        others, values = self.neighbours(objective), []
        for image, other, target in zip(IMAGES, others, TARGETS, strict=True):
            pair = [gradient_of(net, one, target, twin=5.0).flatten() for one in (image, other)]
            values.append(1 - torch.corrcoef(torch.stack(pair))[0, 1])
        torch.testing.assert_close(self.penalty(objective, net), torch.stack(values).mean())

    def test_saliency_consistency(self):
        net, objective = relu_net(), SaliencyConsistency(linf(steps=0), smooth_beta=5.0)
        others, values = self.neighbours(objective), []
        for image, other, target in zip(IMAGES, others, TARGETS, strict=True):
            a, b = (gradient_of(net, one, target, twin=5.0).abs().sum(0) for one in (image, other))
            values.append((a / a.norm() - b / b.norm()).square().mean())
        torch.testing.assert_close(self.penalty(objective, net), torch.stack(values).mean())

    def test_igr(self):
        net, objective = relu_net(), IGR(linf(steps=0), Schedule(1.0), steps=4)
        others = self.neighbours(objective)
        method = IntegratedGradients(steps=4)
        pair = [method.scores(net, images, TARGETS).flatten(1) for images in (IMAGES, others)]
        expected = 1 - functional.cosine_similarity(*pair).mean()
        torch.testing.assert_close(self.penalty(objective, net), expected)

    def test_art(self):
        net, objective = relu_net(), ART(linf(steps=0), smooth_beta=5.0)
        others, values = self.neighbours(objective), []

        def apart(a, b):
            return 1 - functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)

        for image, other, target in zip(IMAGES, others, TARGETS, strict=True):
            own, rival = [], []
            for one in (image, other):
                with SmoothActivations(5.0):
                    ranking = [place for place in net(one[None])[0].argsort(descending=True) if place != target]
                own.append(gradient_of(net, one, target, twin=5.0))
                rival.append(gradient_of(net, one, ranking[0], twin=5.0))
            for one in (image, other):
                hardest = max(apart(one, g) for g in own) - min(apart(one, g) for g in rival)
                values.append(math.log1p(math.exp(hardest)))
        torch.testing.assert_close(self.penalty(objective, net).item(), sum(values) / 10)

    def test_art_searches_on_the_values_that_matter(self):
        net, objective = relu_net(), ART(linf(), top_k=6, smooth_beta=5.0)
        images = nearby().requires_grad_(True)
        score = objective.distance_score(net, IMAGES, TARGETS)
        with SmoothActivations(5.0):
            own, rival = two_gradients(net, images, TARGETS).detach().flatten(2)
        values = []
        for place, target in enumerate(TARGETS):
            chosen = gradient_of(net, IMAGES[place], target, twin=5.0).flatten().abs().topk(6).indices
            image = images[place].flatten()[chosen]
            a, b = (1 - functional.cosine_similarity(image, g[place][chosen], dim=0) for g in (own, rival))
            values.append(functional.softplus(a - b))
        torch.testing.assert_close(score(images), torch.stack(values))

    def test_cacr(self):
        net, objective = relu_net(), CACR(linf(steps=0), steps=5)
        others, values = self.neighbours(objective), []

        def path(of, start, end, target):
            points = [start + (k + 0.5) / 5 * (end - start) for k in range(5)]
            gradients = []
            for point in points:
                point = point[None].detach().requires_grad_(True)
                gradients.append(torch.autograd.grad(of(net(point))[0, target], point)[0][0])
            return ((end - start) * torch.stack(gradients).mean(0)).flatten()

        def probability(logits):
            return logits.softmax(1)

        def loss(logits):
            return -logits.log_softmax(1)

        def uneven(values):
            uniform = torch.full_like(values, 1 / len(values))
            return (uniform * (uniform / values.softmax(0)).log()).sum()

        for image, other, target in zip(IMAGES, others, TARGETS, strict=True):
            rival = next(int(place) for place in net(other[None])[0].argsort(descending=True) if place != target)
            black = torch.zeros_like(image)
            value = uneven(path(probability, black, other, rival)) - uneven(path(probability, black, other, target))
            reference, change = path(probability, black, image, target), -path(loss, image, other, target)
            for b, d in zip(reference, change, strict=True):
                value = value + (b * d if b.sign() == d.sign() else d.abs())
            values.append(value)
        torch.testing.assert_close(self.penalty(objective, net), torch.stack(values).mean())

    def test_unevenness(self):
        assert unevenness(torch.zeros(1, 5)).item() == pytest.approx(0, abs=1e-6)
        assert unevenness(torch.tensor([[9.0, 0.0, 0.0]])).item() > 1


class TestWarmUp:
    def calls(self, objective: PairObjective) -> int:
        count = 0

        class Counting(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = relu_net()

            def forward(self, images):
                nonlocal count
                count += 1
                return self.net(images)

        objective(Counting(), IMAGES, TARGETS)
        return count

    def test_costs_what_the_base_costs(self):
        schedule = Schedule(1.0, warmup_epochs=2)
        assert self.calls(IGNorm(linf(), schedule)) == 1  # cross-entropy: no search, no map
        assert self.calls(IGR(linf(steps=3), schedule)) == 4
        assert self.calls(FAR(linf(steps=3), adversarial=True, weight=schedule)) == 4
        late = IGR(linf(steps=3), schedule, steps=5)
        late.epoch = 2.0
        assert self.calls(late) == 5  # all path points of both images in one batch

    def test_is_compulsory_where_training_collapses_without(self):
        with pytest.raises(TypeError, match="weight"):
            IGR(linf())


def test_twin_is_used_for_maps_alone():
    net, objective = relu_net(), FAR(linf(steps=0), weight=1.0, smooth_beta=1.0)
    torch.manual_seed(0)
    loss, logs = objective(net, IMAGES, TARGETS)
    torch.testing.assert_close(loss - logs["distance"], functional.cross_entropy(net(IMAGES), TARGETS))
