"""What all settings promise that the package exports: they are found, none is listed by hand."""

import copy
import inspect
import pickle
from typing import Any

import pytest

from lit_certattr import attacks, attribution, certificates, certification, numbers, objectives, robustness, smoothing
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient, InputXGradient
from lit_certattr.jobs.trust import trusted_class
from lit_certattr.metrics import quality
from lit_certattr.objectives import AdversarialLoss, CleanLoss, GradientMap, Neighbour, Schedule
from lit_certattr.regions import Grid
from lit_certattr.settings import Settings
from lit_certattr.settings.foreign import check_unchanged, foreign_identity
from lit_certattr.settings.plain import plain
from lit_certattr.smoothing import GaussianNoise

ROOMS = (attribution, smoothing, certificates, certification, numbers, objectives, robustness, attacks, quality)
ATTACK = AttackConfig(eps=0.1, steps=2)


def named_function(model, images, targets):
    return images.mean(1)


EXAMPLES: dict[str, Any] = {
    "attack": ATTACK,
    "axis": "row",
    "attribution": InputXGradient("l2"),
    "base": AdversarialLoss(),
    "bottom": 0.75,
    "certificate": "pixel",
    "claim": certificates.Claim("concentrated", numbers.Gini(), at_least=0.5),
    "distance": "cosine",
    "eps": 0.1,
    "left": 0.25,
    "less": numbers.Box(0, 0, 0.5, 1),
    "limit": 5.0,
    "loss": CleanLoss(),
    "mask": numbers.Box(0, 0, 1, 0.5),
    "more": numbers.Box(0.5, 0, 1, 1),
    "name": "concentrated",
    "neighbour": Neighbour(ATTACK),
    "noise": GaussianNoise(0.25),
    "number": numbers.Gini(),
    "radius": 0.1,
    "path": objectives.PathMap(steps=3) if hasattr(objectives, "PathMap") else None,
    "reference": [[0.5, 1.0], [2.0, 0.25]],
    "regions": Grid(2),
    "right": 0.75,
    "s": 4,
    "search": ATTACK,
    "sigma": 0.25,
    "top": 0.25,
    "top_k": 0.25,
    "weight": Schedule(2.0, warmup_epochs=1.0),
}
"""An argument for each name that has no default."""
SPECIAL = {
    "CaptumAttribution": {"explainer": "Saliency"},
    "SmoothGrad": {"base": Gradient("l2"), "noise": GaussianNoise(0.1)},
    "FunctionAttribution": {"function": named_function},
    "RegionMap": {"base": Gradient("l2"), "regions": Grid(2)},
    "AttributionObjective": {"attribution": GradientMap()},
    "AffineNoise": {"log_contrast": 0.2, "brightness": 0.3},
    "BlurNoise": {"rate": 1.5},
    "ExposureNoise": {"exposure": 0.5},
    "GammaNoise": {"log_gamma": 0.2},
    "NuisanceNoise": {"brightness": 0.2},
    "PatchMaskNoise": {"keep": 0.25, "cells": 2},
    "RegionMaskNoise": {"keep": 0.25, "regions": Grid(2)},
}


def found() -> list[type[Settings]]:
    """Every class of settings that a room exports and that can be made."""
    exported = [getattr(room, name) for room in ROOMS for name in room.__all__]
    made = {kind for kind in exported if inspect.isclass(kind) and not inspect.isabstract(kind)}
    return sorted((kind for kind in made if issubclass(kind, Settings)), key=lambda kind: kind.__name__)


def example(kind: type[Settings]) -> Settings:
    """An object of a class, with defaults where it has some."""
    special = SPECIAL.get(kind.__name__, {})
    needed = {
        name: special[name] if name in special else EXAMPLES[name]
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty or name in special
    }
    return kind(**needed)


def rebuilt(value: Any) -> Any:
    """What plain values describe, objects within objects too."""
    if isinstance(value, list):
        return [rebuilt(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"class_path", "init_args"}:
        return import_of(value["class_path"])(**{key: rebuilt(item) for key, item in value["init_args"].items()})
    return value


def import_of(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


def takes_tensors(kind: type[Settings]) -> bool:
    """Tensors have no plain form: a record holds their digest."""
    return any("Tensor" in str(one.annotation) for one in inspect.signature(kind).parameters.values())


KINDS = [kind for kind in found() if not takes_tensors(kind)]

each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_all_rooms_have_settings():
    bases = (attribution.Attribution, smoothing.Noise, certificates.Certificate, certification.StoppingRule)
    for base in (*bases, objectives.Objective, attacks.ExplanationObjective):
        assert issubclass(base, Settings)
        assert any(issubclass(kind, base) for kind in KINDS)
    assert len(KINDS) > 50


@each
def test_settings_give_an_equal_object(kind):
    one = example(kind)
    if kind is robustness.RobustnessProtocol:  # whose settings() are the record of an evaluation
        two = kind(**{name: rebuilt(plain(value, name)) for name, value in one.init_args().items()})
    elif kind is attribution.FunctionAttribution:
        settings = one.settings()
        assert settings == {"function": f"{__name__}.named_function", "name": "named_function"}
        two = kind(import_of(settings["function"]), settings["name"])
    else:
        two = kind(**{name: rebuilt(value) for name, value in one.settings().items()})
    assert two is not one
    assert two.settings() == one.settings()
    assert repr(two) == repr(one)
    assert two == one
    assert hash(two) == hash(one)


@each
def test_copies_keep_the_settings(kind):
    one = example(kind)
    for two in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert two == one


@each
def test_settings_are_named_as_the_arguments(kind):
    one = example(kind)
    assert list(one.init_args()) == list(inspect.signature(kind).parameters)


@each
def test_nothing_foreign_is_recorded_of_our_own_classes(kind):
    one = example(kind)
    if kind is attribution.FunctionAttribution:
        assert foreign_identity({"it": one})["sources"].keys() == {f"{__name__}.named_function"}
    else:
        assert foreign_identity({"it": one}) == {}
        check_unchanged(one)


@each
def test_another_setting_is_another_object(kind):
    """Each number or switch of each class, one at a time."""
    one = example(kind)
    for name, value in one.init_args().items():
        other = next((new for new in others(value) if accepts(one, name, new)), None)
        if other is not None:
            assert one != changed(one, name, other), name
            assert repr(one) != repr(changed(one, name, other)), name


def others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [new for new in (value + 1, value / 2 or 0.25, value * 2) if new != value]
    return [GaussianNoise(0.5)] if isinstance(value, GaussianNoise) else []


def changed(one: Settings, name: str, value: Any) -> Settings:
    return type(one)(**one.init_args() | {name: value})


def accepts(one: Settings, name: str, value: Any) -> bool:
    try:
        return changed(one, name, value).init_args()[name] == value
    except Exception:
        return False


def test_class_paths_in_settings_are_those_of_a_configuration():
    path = attribution.SmoothGrad(Gradient(), GaussianNoise(0.1)).settings()["base"]["class_path"]
    assert trusted_class(path, "base") is Gradient


REPRS = [
    "CAM(channels='sum', layer='final', relu=True, upsample=True)",
    "LIME(channels='sum', fill=None, kernel_width=0.25, max_batch=None, num_samples=1000, ridge=1.0, score='softmax', "
    "seed=0, segmentation=None, segments=7)",
    "LRP(channels='abs_sum', composite='epsilon_plus_box', epsilon=1e-06, high=1.0, low=0.0, max_batch=None)",
    "RISE(cells=7, channels='sum', fill=0.0, keep=0.5, max_batch=None, num_masks=1000, score='softmax', seed=0)",
    "AblationCAM(channels='sum', layer='final', max_batch=None, relu=True, score='logit', upsample=True)",
    "CaptumAttribution(channels='sum_abs', explainer='Saliency', layer='input', options={}, seed=0, upsample=True)",
    "GradCAM(channels='sum', layer='final', relu=True, upsample=True)",
    "GradCAMPlusPlus(channels='sum', layer='final', relu=True, upsample=True)",
    "Gradient(channels='sum_abs', layer='input', upsample=True)",
    "GuidedBackprop(channels='sum_abs', layer='input', upsample=True)",
    "InputXGradient(channels='abs_sum', layer='input', upsample=True)",
    "IntegratedGradients(baseline=0.0, channels='abs_sum', layer='input', max_batch=None, steps=20, upsample=True)",
    "LayerCAM(channels='sum', layer='final', relu=True, upsample=True)",
    "MaxLogitGradient(channels='sum_abs')",
    "MoreauGrad(average=100, channels='sum_abs', group=None, max_batch=None, num_samples=32, rho=1.0, score='logit', "
    "seed=0, sigma=0.1, sparsity=0.0, step_size=0.1, steps=300)",
    "Occlusion(channels='abs_sum', fill=0.5, layer='input', max_batch=None, score='logit', stride=(8, 8), "
    "upsample=True, window=(16, 16))",
    "ProbabilityGradient(channels='l2', temperature=1.0)",
    "RegionMap(base=Gradient(channels='l2', layer='input', upsample=True), channels='l2', pooling='mean', "
    "regions=Grid(cells=2))",
    "ScoreCAM(channels='sum', layer='final', max_batch=None, relu=True, score='logit', upsample=True)",
    "SmoothGrad(base=Gradient(channels='l2', layer='input', upsample=True), channels='l2', draws=16, max_batch=None, "
    "noise=GaussianNoise(sigma=0.1), seed=0)",
    "DiscreteGaussianNoise(sigma=0.25, levels=255)",
    "GaussianNoise(sigma=0.25)",
    "GeneralisedNormalNoise(sigma=0.25, s=4)",
    "AffineNoise(log_contrast=0.2, brightness=0.3, sigma=0.0)",
    "BlurNoise(rate=1.5, sigma=0.0)",
    "ExposureNoise(exposure=0.5, white_balance=None, shading=None, shading_order=2, sigma=0.0)",
    "GammaNoise(log_gamma=0.2, sigma=0.0)",
    "PatchMaskNoise(keep=0.25, cells=2, fill=0.5, sigma=0.0)",
    "RegionMaskNoise(keep=0.25, regions=Grid(cells=2), fill=0.5, sigma=0.0)",
    "NuisanceNoise(sigma=0.25, brightness=0.2, colour_cast=None, illumination=None, illumination_order=2, "
    "images=None, images_tau=None, images_sha256=None)",
    "UniformBallNoise(sigma=0.25)",
    "AllDecided(share=1.0, radius=0.0)",
    "Futility(gain=0.05, radius=0.0)",
    "OverlapStable(tolerance=0.02, radius=0.0)",
    "Seconds(limit=5.0)",
    "TopKMass(top_k=0.1)",
]
"""As run directories hold them that exist: another text would be another run."""


def test_records_of_earlier_runs_read_the_same():
    bases = (attribution.Attribution, smoothing.Noise, certification.StoppingRule, attacks.TopKMass)
    recorded = [kind for kind in KINDS if issubclass(kind, bases) and kind is not attribution.FunctionAttribution]
    assert sorted(repr(example(kind)) for kind in recorded) == sorted(REPRS)
    segmented = attribution.LIME(segmentation=[[0, 1], [1, 0]])
    assert "segmentation='2 of 2 x 2 pixels, sha256 db7f8e2aa97f8d23', segments=7" in repr(segmented)
    assert segmented == attribution.LIME(**segmented.settings())
    assert "stride=(1, 1), upsample=True, window=(3, 2))" in repr(attribution.Occlusion(window=(3, 2), stride=1))
