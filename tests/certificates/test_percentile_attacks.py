"""Attacks on percentiles that miss what they could break, contradict what is true, or stop at a number that rounds."""

import attrs
import numpy as np
import pytest
import torch

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig
from lit_certattr.certificates import Claim, ClaimCertificate, PercentileCertificate, quantities_of
from lit_certattr.certificates.percentile_quantity import PercentileOfNumber
from lit_certattr.numbers import CentreOfMass, FunctionNumber, PointingGame
from lit_certattr.numbers.box import Box
from lit_certattr.robustness import Evaluation, SandwichAttack
from lit_certattr.smoothing import GaussianNoise

NOISE = GaussianNoise(0.5)


def first(maps):
    return maps[:, 0, 0]


def cube(maps):
    return maps[:, 0, 0] ** 3


def rounded(maps):
    return maps[:, 0, 0].round(decimals=1)


def counted(maps):
    return (maps[:, 0] > 0.5).sum(1).float()


def by_numpy(maps):
    return torch.from_numpy(maps.numpy()[:, 0, 0].copy())


def brightness(model, images, targets, create_graph=False):
    """The map of an image is the image: a number of one pixel is linear, and nothing moves faster."""
    return images.mean(1)


def certify(number, alpha=0.001, seed=0, num_samples=2000, sampled=PercentileCertificate, **settings):
    certificate = sampled([Claim("left", number)], alpha, **settings)
    certifier = Certifier(brightness, NOISE, {"percentiles": certificate}, num_samples, 500, seed)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)).eval()
    image = torch.full((1, 2, 3), 0.4)
    image[0, 0, 0] = 0.6
    return certifier, network, image, certifier(network, image[None], [0], ["one"])[0]


LEFT = FunctionNumber(first, "the left pixel", None, None)


def attacked(number, budgets=(0.2, 0.4), **settings):
    _, network, image, results = certify(number, **settings)
    config = AttackConfig(eps=1.0, steps=8, clamp=None)
    again = certify(number, seed=1, **settings)[0]
    return SandwichAttack(again, config, budgets, draws=16, judge_draws=32)(network, image, results, "one", 0.001)


def test_a_linear_number_is_pushed_as_far_as_any_perturbation_can():
    made = attacked(LEFT)
    rows = {(row["quantity"], row["budget"]): row for row in made.rows}
    assert set(rows) == {(name, b) for name in ("percentile", "percentile from above") for b in (0.0, 0.2, 0.4)}
    for (_, budget), row in rows.items():
        worst = float(torch.special.ndtr(torch.tensor(-budget / NOISE.sigma)))
        assert row["claim"] == "left"
        assert row["contradicted"] == 0
        assert row["certified"] <= row["attacked_upper"]
        assert row["certified"] < worst < row["attacked_upper"]
        assert abs(row["attacked"] - worst) < 0.05, "gradient ascent finds the worst direction of a linear number"


@pytest.mark.parametrize("budget", [None, 0.3])
def test_a_false_interval_is_contradicted_and_a_true_one_hardly_ever(budget):
    generator, trials, error, wrong = np.random.default_rng(0), 100, 0.2, 0
    certificate = PercentileCertificate([Claim("left", LEFT)], alpha=0.01, probability=0.4, budget=budget)

    def result_of(values):
        accumulator = certificate.start(NOISE, (1, 2))
        accumulator.update(torch.as_tensor(np.stack([values, values + 9], 1)[:, None]))
        return attrs.evolve(accumulator.compute(), sampling=certificate.conditions())

    stored = result_of(generator.normal(size=400))
    for quantity, sign in zip(quantities_of(stored, "p"), (1, -1), strict=True):
        end = stored.interval(0, 0.25)[0 if sign > 0 else 1]
        true = float(quantity._share(sign * float(torch.distributions.Normal(0, 1).icdf(torch.tensor(0.4)))))
        for _ in range(trials):
            there = Evaluation({"p": result_of(generator.normal(size=80))}, {}, {})
            verdict = quantity.judge(there, error)
            assert float(verdict.kept) <= float(verdict.upper)
            wrong += float(verdict.upper) < true
        beyond = Evaluation({"p": result_of(end + sign * (-1 + 0.1 * generator.normal(size=80)))}, {}, {})
        assert quantity.contradicted(quantity.judge(beyond, 1e-4), 0.25) == 1
        assert quantity.contradicted(quantity.judge(beyond, 1e-4), 40.0) == 0, "nothing is claimed there"
        within = Evaluation({"p": result_of(end + sign * 0.1 * np.abs(generator.normal(size=80)))}, {}, {})
        assert quantity.contradicted(quantity.judge(within, 1e-4), 0.25) == 0
    assert wrong / (2 * trials) <= error + 3 * (error / (2 * trials)) ** 0.5


def test_the_surrogate_has_the_gradient_of_the_percentile():
    """Near the median of a cube its gradient is that of the maps around it, not of all maps."""
    maps = torch.randn(4096, 1, 1, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    number = FunctionNumber(cube, "a cube", None, None)
    (gradient,) = torch.autograd.grad(PercentileOfNumber(number, 0.5, 1).surrogate(maps).sum(), maps)
    assert 0 < float(gradient.sum()) < 1, "the mean of the cube would have a gradient of 3, its median one of 0"


@pytest.mark.parametrize("number", [rounded, counted, by_numpy], ids=lambda function: function.__name__)
@pytest.mark.parametrize("sampled", [PercentileCertificate, ClaimCertificate], ids=["percentile", "mean"])
def test_a_number_without_a_gradient_is_searched_at_random(number, sampled):
    ends = (None, None) if sampled is PercentileCertificate else (-9.0, 9.0)
    made = attacked(FunctionNumber(number, "a number", *ends), num_samples=400, sampled=sampled)
    assert {one.random for one in made.candidates if "left" in one.attack} == {True}
    assert all(row["contradicted"] == 0 for row in made.rows)
    assert any(one.length > 0 for one in made.candidates if "left" in one.attack)


@pytest.mark.parametrize("number", [CentreOfMass("row"), PointingGame(Box(0, 0, 1, 0.5))], ids=repr)
def test_numbers_with_a_gradient_are_known(number):
    assert number.has_gradient((4, 5))


def test_maps_without_a_number_help_the_attacker():
    maps = torch.zeros(8, 1, 2, 2)
    maps[:5, 0, 0, 0] = 1
    for sign in (-1, 1):
        objective = PercentileOfNumber(CentreOfMass("row"), 0.5, sign)
        assert objective.value(maps).item() == 0.0
        assert objective.value(maps.flip(0)[:5]).item() == torch.inf
        assert objective.surrogate(maps).isfinite().all()
        assert objective.surrogate(0 * maps).isfinite().all()
