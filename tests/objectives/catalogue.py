"""Every objective once, with what the contract tests need to know of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lit_certattr import objectives
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim
from lit_certattr.numbers import Box, EnergyInside, Gini
from lit_certattr.objectives import (
    ART,
    CACR,
    CURE,
    FAR,
    IGR,
    MACER,
    MART,
    R2ET,
    SSR,
    TRADES,
    AdversarialLoss,
    AdversarialTraining,
    AttributionObjective,
    ClaimHinge,
    CleanLoss,
    Consistency,
    CrossEntropy,
    FreeAdversarialTraining,
    GradientNorm,
    GradientNormByDifferences,
    HessianNorm,
    IGNorm,
    IGSumNorm,
    MartLoss,
    Neighbour,
    NoiseAugmentation,
    NoiseConsistency,
    NormRegularised,
    Objective,
    PathMap,
    RobustTraining,
    SaliencyConsistency,
    SaliencyGuided,
    Schedule,
    SmoothAdv,
    SmoothMix,
    SoftVote,
    Stability,
    TradesLoss,
)
from lit_certattr.objectives.losses import log_mean_softmax, margin_cross_entropy
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise

NOISE = GaussianNoise(0.1)


@dataclass
class Case:
    """An objective, made anew for each test.

    ``neutral`` are the arguments that switch its regulariser or its attack off; it must then equal ``base``.
    ``forwards`` is how often it runs the network in training mode. ``exact_gradient`` is false where the search for a
    neighbour, which the gradient takes as constant, moves with the parameters.
    """

    make: Callable[..., Objective]
    arguments: dict[str, Any] = field(default_factory=dict)
    neutral: dict[str, Any] | None = None
    base: Callable[[], Objective] = CrossEntropy
    forwards: int = 1
    exact_gradient: bool = True
    floor: float = 0.7
    also_neutral: dict[str, Any] | None = None

    def __call__(self) -> Objective:
        return self.make(**self.arguments)

    def switched_off(self) -> list[Objective]:
        ways = [way for way in (self.neutral, self.also_neutral) if way is not None]
        return [self.make(**self.arguments | way) for way in ways]


class MarginCrossEntropy(Objective):
    """What is left of MART without its neighbours."""

    def __call__(
        self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return margin_cross_entropy(model(images), targets).mean(), {}


class SmoothedCrossEntropy(Objective):
    """What is left of MACER without its hinge."""

    def __call__(
        self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        copies = images.repeat(3, 1, 1, 1)
        logits = model(copies + NOISE.sample_like(copies)).unflatten(0, (3, -1))
        return -log_mean_softmax(logits)[torch.arange(len(targets)), targets].mean(), {}


def linf(eps: float = 0.1, **settings: Any) -> AttackConfig:
    wanted: dict[str, Any] = {"eps": eps, "steps": 2, "norm": "linf"}
    return AttackConfig(**wanted | settings)


def l2(eps: float = 0.3, **settings: Any) -> AttackConfig:
    wanted: dict[str, Any] = {"eps": eps, "steps": 3, "norm": "l2"}
    return AttackConfig(**wanted | settings)


CASES = {
    "cross_entropy": Case(CrossEntropy, {"label_smoothing": 0.1}, {"label_smoothing": 0.0}),
    "noise_gaussian": Case(NoiseAugmentation, {"noise": NOISE, "draws": 2}),
    "noise_ball": Case(NoiseAugmentation, {"noise": UniformBallNoise(0.1), "draws": 2}),
    "consistency": Case(
        Consistency,
        {"noise": NOISE},
        {"weight": 0, "entropy": 0},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "adversarial_linf": Case(AdversarialTraining, {"attack": linf()}, {"attack": linf(0.0)}),
    "adversarial_l2": Case(AdversarialTraining, {"attack": l2()}, {"attack": l2(0.0)}, exact_gradient=False),
    "fast": Case(AdversarialTraining, {"attack": linf(steps=1, step_size=0.125)}, {"attack": linf(0.0)}),
    "trades": Case(TRADES, {"attack": linf(init="gaussian"), "beta": 2.0}, {"beta": 0.0}, forwards=2),
    "mart": Case(
        MART,
        {"attack": linf(), "beta": 2.0},
        {"beta": 0.0, "attack": linf(0.0)},
        MarginCrossEntropy,
        forwards=2,
    ),
    "robust_training": Case(
        RobustTraining,
        {"loss": TradesLoss(2.0), "attack": linf()},
        {"loss": AdversarialLoss(), "attack": linf(0.0)},
        forwards=2,
    ),
    "noise_consistency": Case(
        NoiseConsistency,
        {"noise": NOISE, "attribution": Gradient()},
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "noise_consistency_signed": Case(
        NoiseConsistency,
        {
            "noise": NOISE,
            "attribution": Gradient("sum"),
            "draws": 3,
            "consistency": 5.0,
            "entropy": 0.5,
            "contrast": 0.5,
            "centred": True,
        },
        {"weight": 0.0, "consistency": 0.0, "entropy": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=3),
    ),
    "noise_consistency_regions": Case(
        NoiseConsistency,
        {"noise": NOISE, "attribution": RegionMap(Gradient(), Grid(2)), "centred": True, "contrast": 0.2},
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "claim_hinge": Case(
        ClaimHinge,
        {
            "noise": NOISE,
            "attribution": Gradient(),
            "claim": Claim("left", EnergyInside(Box(0, 0, 1, 0.5)), at_least=0.6),
            "radius": 0.05,
            "draws": 2,
        },
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "claim_hinge_regions": Case(
        ClaimHinge,
        {
            "noise": NOISE,
            "attribution": RegionMap(Gradient(), Grid(2)),
            "claim": Claim("even", Gini(), at_most=0.2),
            "radius": 0.02,
            "draws": 3,
            "weight": 0.2,
        },
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=3),
    ),
    "noise_consistency_vote": Case(
        NoiseConsistency,
        {"noise": NOISE, "attribution": Gradient(), "vote": SoftVote(0.25, 0.3)},
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "ig_norm": Case(
        IGNorm, {"attack": linf(), "steps": 4, "search_steps": 2}, {"weight": 0.0}, also_neutral={"attack": linf(0.0)}
    ),
    "ig_norm_two_pass": Case(
        IGNorm,
        {"attack": linf(), "steps": 4, "search_steps": 2, "two_pass": True, "max_batch": 5},
        {"weight": 0.0},
    ),
    "ig_sum_norm": Case(
        IGSumNorm,
        {"attack": linf(), "weight": 0.5, "steps": 4, "search_steps": 2},
        {"weight": 0.0, "attack": linf(0.0)},
        also_neutral={"attack": linf(0.0)},
    ),
    "igr": Case(
        IGR,
        {"attack": linf(), "weight": Schedule(0.5), "steps": 3},
        {"weight": Schedule(0.0)},
        lambda: AdversarialTraining(linf()),
    ),
    "igr_trades": Case(
        IGR,
        {"attack": linf(), "weight": Schedule(0.5), "base": TradesLoss(2.0), "steps": 3, "two_pass": True},
        {"weight": Schedule(0.0)},
        lambda: TRADES(linf(), 2.0),
        forwards=2,
    ),
    "aat": Case(FAR, {"attack": linf()}, {"weight": 0.0}, also_neutral={"attack": linf(0.0)}),
    "adv_aat": Case(FAR, {"attack": linf(), "adversarial": True}, {"attack": linf(0.0)}),
    "saliency_consistency": Case(
        SaliencyConsistency, {"attack": linf()}, {"weight": 0.0}, also_neutral={"attack": linf(0.0)}
    ),
    "art": Case(ART, {"attack": linf()}, {"weight": 0.0, "attack": linf(0.0)}),
    "cacr": Case(
        CACR,
        {"attack": linf(), "steps": 3, "search_steps": 2},
        {"weight": 0.0, "attack": linf(0.0)},
    ),
    "attribution_objective": Case(
        AttributionObjective,
        {
            "base": MartLoss(1.0),
            "neighbour": Neighbour(linf(), "both"),
            "attribution": Gradient(),
            "distance": "pearson",
            "smooth_beta": 10.0,
        },
        {"weight": 0.0},
        lambda: MART(linf(), 1.0),
        forwards=2,
    ),
    "attribution_objective_path": Case(
        AttributionObjective,
        {
            "base": CleanLoss(),
            "neighbour": Neighbour(linf(), "distance"),
            "attribution": PathMap(steps=3, search_steps=2, of="probability"),
            "distance": "cosine",
            "smooth_beta": 10.0,
        },
        {"weight": 0.0},
    ),
    "gradient_norm": Case(GradientNorm, {}, {"weight": 0.0}),
    "gradient_norm_by_differences": Case(GradientNormByDifferences, {}, {"weight": 0.0}, exact_gradient=False),
    "cure": Case(CURE, {"weight": 0.5, "step": 0.3}, {"weight": 0.0}),
    "hessian_norm": Case(HessianNorm, {"weight": 0.001, "draws": 2}, {"weight": 0.0}),
    "ssr": Case(SSR, {"weight": 0.1}, {"weight": 0.0}),
    "r2et": Case(
        R2ET,
        {"weight": 0.3, "curvature": 0.2, "top_k": 5, "of": "loss", "smooth_beta": None},
        {"weight": 0.0, "curvature": 0.0},
    ),
    # Its weights are constants of the step; a test of its own looks at its gradient.
    "r2et_adaptive": Case(
        R2ET,
        {"weight": 0.05, "curvature": 0.01, "top_k": 0.25, "pairs": 2, "adaptive": True},
        {"weight": 0.0, "curvature": 0.0},
        exact_gradient=False,
    ),
    "norm_regularised_l1": Case(NormRegularised, {"eps": 0.02}, {"eps": 0.0}),
    "norm_regularised_elastic": Case(
        NormRegularised, {"kind": "elastic"}, {"eps": 0.0, "eps2": 0.0}, exact_gradient=False
    ),
    "norm_regularised_group": Case(
        NormRegularised, {"kind": "group", "eps": 0.1, "clamp": (0.0, 1.0)}, {"eps": 0.0}, exact_gradient=False
    ),
    "saliency_guided": Case(SaliencyGuided, {}, {"weight": 0.0}, forwards=2),
    "saliency_guided_absolute": Case(SaliencyGuided, {"absolute": True, "share": 0.3}, {"weight": 0.0}, forwards=2),
    "stability": Case(Stability, {"noise": NOISE}, {"weight": 0.0}, forwards=2),
    "macer": Case(
        MACER,
        {"noise": NOISE, "draws": 3, "weight": 4.0, "beta": 2.0},
        {"weight": 0.0},
        SmoothedCrossEntropy,
    ),
    "smooth_adv": Case(
        SmoothAdv,
        {"noise": NOISE, "attack": linf(init="zero"), "ramp_epochs": 0.0},
        {"attack": linf(0.0)},
        lambda: NoiseAugmentation(NOISE, draws=2),
    ),
    "smooth_adv_l2": Case(
        SmoothAdv, {"noise": NOISE, "attack": l2(init="zero"), "ramp_epochs": 0}, exact_gradient=False
    ),
    "smooth_mix": Case(
        SmoothMix,
        {"noise": NOISE, "attack": linf(0.3, init="zero")},
        {"weight": 0.0},
        lambda: NoiseAugmentation(NOISE, draws=2),
        forwards=2,
    ),
    "free": Case(FreeAdversarialTraining, {"eps": 0.1, "replays": 4}),
}


def abstract_or_plain(name: str) -> bool:
    """Whether a public name of the room is no objective that one trains on."""
    kind = getattr(objectives, name)
    return not (isinstance(kind, type) and issubclass(kind, Objective)) or inspect.isabstract(kind)


def tanh_net() -> nn.Module:
    """Smooth and well bent, float64, with batch normalisation: finite differences are exact to many digits."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    return net


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Five images ``[5, 2, 4, 4]`` in float64, and their classes."""
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(5, 2, 4, 4, dtype=torch.float64, generator=generator)
    return images, torch.tensor([0, 1, 2, 0, 1])
