"""Random configurations of the commands, drawn from what the package exports; most of them mean something.

A class that a room exports is drawn without being named here: its settings get values by their name, or by their type
where that is a choice of words, a switch, or another exported class. A setting for which neither says anything keeps
its default.
"""

import importlib
import inspect
import random
import types
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from lit_certattr.attribution import Attribution, LayerAttribution
from lit_certattr.certificates import Certificate, Claim
from lit_certattr.certification import StoppingRule
from lit_certattr.numbers import Box, Mask, Number
from lit_certattr.regions import Regions
from lit_certattr.smoothing import Noise

Config = dict[str, Any]

ROOMS: dict[type, str] = {
    Attribution: "attribution",
    Noise: "smoothing",
    Certificate: "certificates",
    Number: "numbers",
    Mask: "numbers",
    Regions: "regions",
    StoppingRule: "certification",
}
_KEPT = ("checkpoint", "threads", "devices", "data", "class_path")  # an odd one would cost too much, or say little
_OF_CODE = ("FunctionAttribution", "FunctionNumber", "Segmenter")  # they need a function or a network of the user
_ALWAYS = ("alpha", "average", "draws", "num_masks", "num_samples", "steps", "window")
"""Settings whose defaults need many samples, large images, or much time."""
_SIDE = 8  # of the images


def _one_of(*values: Any) -> Callable[[random.Random], Any]:
    return lambda dice: dice.choice(values)


def _levels(dice: random.Random) -> list[float]:
    return sorted(dice.sample((0.5, 0.4, 0.3, 0.25, 0.2, 0.1), dice.choice((1, 1, 2, 3))), reverse=True)


def _box(dice: random.Random) -> Config:
    top, left = dice.choice((0.0, 0.25, 0.5)), dice.choice((0.0, 0.25, 0.5))
    return {"top": top, "left": left, "bottom": top + dice.choice((0.25, 0.5)), "right": left + 0.5}


def _reference(dice: random.Random) -> list[list[float]]:
    return [[round(dice.random(), 3) for _ in range(_SIDE)] for _ in range(_SIDE)]


def _claims(dice: random.Random) -> list[Config]:
    claims = []
    for number in range(dice.choice((1, 1, 2, 3))):
        claim: Config = {"name": f"claim {number}", "number": drawn(Number, dice)}
        claim |= {side: 0.5 for side in ("at_least", "at_most") if dice.random() < 0.2}
        claims.append({"class_path": f"{Claim.__module__}.Claim", "init_args": claim})
    return claims


VALUES: dict[str, Callable[[random.Random], Any]] = {
    "alpha": _one_of(0.9, 0.9, 0.9, 0.9, 0.5, 0.1),
    "average": _one_of(1),
    "baseline": _one_of(0.0, 0.5, 1.0),
    "brightness": _one_of(0.1, 0.4),
    "budget": _one_of(0.05, 0.1),
    "cells": _one_of(1, 2, 4, 4, 8, 8),
    "channels": _one_of("sum_abs", "abs_sum", "max_abs", "sum", "l2"),
    "claims": _claims,
    "colour_cast": _one_of(0.1),
    "compactness": _one_of(0.1, 10.0),
    "count": _one_of(4, 9, 16, 16),
    "draws": _one_of(1, 3),
    "epsilon": _one_of(1e-6, 0.1),
    "explainer": _one_of("Saliency", "InputXGradient", "DeepLift", "Deconvolution", "FeatureAblation", "GradientShap"),
    "exposure": _one_of(0.1, 1.0),
    "fill": _one_of(0.0, 0.5, 1.0),
    "gain": _one_of(0.05, 0.5),
    "group": _one_of(1, 2),
    "holm_radius": _one_of(0.1),
    "illumination": _one_of(0.1, 0.3),
    "illumination_order": _one_of(1, 2, 3),
    "keep": _one_of(0.1, 0.25, 0.5, 0.9),
    "kernel_width": _one_of(0.1, 0.5),
    "layer": _one_of("final", "input", "features.0", "features.2"),
    "levels": _one_of(15, 255),
    "limit": _one_of(0.001, 10.0),
    "log_contrast": _one_of(0.1, 0.3),
    "log_gamma": _one_of(0.1, 0.3),
    "low": _one_of(0.0, -1.0),
    "max_batch": _one_of(1, 3, 64),
    "min_size": _one_of(1, 2, 4),
    "num_masks": _one_of(1, 8, 20),
    "num_samples": _one_of(4, 12),
    "num_selection": _one_of(1, 2, 4),
    "pairs": _one_of(0, 1, 2),
    "path": _one_of("mask.png"),
    "probability": _one_of(0.1, 0.5, 0.9),
    "radius": _one_of(0.0, 0.1),
    "rate": _one_of(0.5, 1.5),
    "reference": _reference,
    "rho": _one_of(0.1, 1.0),
    "ridge": _one_of(0.1, 1.0),
    "s": _one_of(2, 4, 6),
    "saturation": _one_of(0.02, 0.5, 1.0),
    "scale": _one_of(1.0, 100.0),
    "seed": _one_of(0, 7),
    "segments": _one_of(1, 2, 4),
    "shading": _one_of(0.1, 0.5),
    "shading_order": _one_of(1, 2, 3),
    "share": _one_of(0.5, 1.0),
    "sigma": _one_of(0.05, 0.1, 0.25, 0.5, 1.0),
    "sparsity": _one_of(0.1, 0.25, 0.5),
    "step_size": _one_of(
        0.1,
    ),
    "steps": _one_of(1, 2, 5),
    "stride": _one_of(1, 2, 3),
    "tau": _one_of(0.5, 0.6),
    "temperature": _one_of(0.5, 1.0, 5.0),
    "tolerance": _one_of(0.02, 0.5),
    "top_k": _one_of(0.1, 0.25, 0.25, 0.5),
    "truncation": _one_of(3.0, 5.0),
    "uncovered": lambda dice: [dice.choice((0.5, 0.75))],
    "white_balance": _one_of(0.1),
    "window": _one_of(1, 2, 4),
}
"""Sensible values of settings by their name."""
ODD: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    1e30,
    -0.0,
    1e-300,
    10**7,
    0.5,
    ".nan",
    float("nan"),
    float("inf"),
    "",
    "word",
    None,
    [],
    {},
    [1],
    True,
)
"""Values that hardly any setting can have."""
_SMOOTH = ("GaussianNoise", "NuisanceNoise", "ExposureNoise", "GammaNoise")
_TRANSFORMS = ("AffineNoise", "BlurNoise", "PatchMaskNoise", "RegionMaskNoise")
_PIXELS = ("DiscreteGaussianNoise", "GaussianNoise", "GeneralisedNormalNoise", "UniformBallNoise")
_SUITS = {
    "ClaimCertificate": ("DiscreteGaussianNoise", *_SMOOTH, *_TRANSFORMS),
    "CosineCertificate": ("UniformBallNoise", *_SMOOTH),
    "PercentileCertificate": ("DiscreteGaussianNoise", *_SMOOTH),
    "PixelCertificate": ("DiscreteGaussianNoise", *_SMOOTH, *_TRANSFORMS),
    "RenyiCertificate": ("GaussianNoise",),
    "SmoothGradCertificate": ("GaussianNoise",),
    "TopKOverlapCertificate": ("DiscreteGaussianNoise", *_SMOOTH),
}
"""The laws that some certificates are proved for."""


class UndrawableError(ValueError):
    """A setting for which there is no value to draw."""


@cache
def exported(base: type) -> tuple[type, ...]:
    """The classes of a kind that its room exports and that can be drawn.

    Args:
        base: The kind, a key of :data:`ROOMS`.
    """
    room = importlib.import_module(f"lit_certattr.{ROOMS[base]}")
    found = []
    for name in sorted(getattr(room, "__all__", dir(room))):
        one = getattr(room, name)
        if not inspect.isclass(one) or not issubclass(one, base) or inspect.isabstract(one):
            continue
        if one in (*ROOMS, LayerAttribution, Box) or name in _OF_CODE:
            continue
        found.append(one)
    return tuple(found)


def drawn(base: type, dice: random.Random, names: Sequence[str] = ()) -> Config:
    """A class of a kind with settings, as a configuration names it.

    Args:
        base: The kind, a key of :data:`ROOMS`.
        dice: Source of chance.
        names: Names of the classes to choose from; all that are exported by default.
    """
    one = dice.choice([one for one in exported(base) if not names or one.__name__ in names])
    settings = {}
    for name, parameter in (parameters := inspect.signature(one, eval_str=True).parameters).items():
        needed = parameter.default is inspect.Parameter.empty
        if needed or name in _ALWAYS or dice.random() < (0.8 if base is Noise else 0.25):
            try:
                settings[name] = _value(name, parameter.annotation, dice)
            except UndrawableError:
                if needed:
                    raise
    settings.pop("sync_on_compute", None)  # of trainings
    if settings.get("correction") == "holm":
        settings["tau"] = 0.6
    if settings.get("bound") == "one_number":
        settings = {name: value for name, value in settings.items() if name not in ("sparsity", "map_kind")}
        settings["num_selection"] = 2
    if one.__name__ == "MaskFolder":
        settings["path"] = "masks"
    if "claims" in parameters:
        settings.setdefault("claims", _claims(dice))
    return {"class_path": f"{one.__module__}.{one.__name__}", "init_args": settings}


def _value(name: str, kind: Any, dice: random.Random) -> Any:
    """A value of a setting."""
    options = [one for one in get_args(kind) if one is not type(None)] if _is_union(kind) else [kind]
    if name == "top_k" and get_origin(options[0]) is not None:
        return _levels(dice)
    for option in options:
        if get_origin(option) is Literal:
            return dice.choice(get_args(option))
    if Box in options:
        return _box(dice) if dice.random() < 0.8 else drawn(Mask, dice)
    if options[0] is bool:
        return dice.random() < 0.5
    if options[0] is Noise:  # of a method
        return drawn(Noise, dice, _PIXELS if dice.random() < 0.9 else ())
    if options[0] in ROOMS:
        return drawn(options[0], dice)
    if name in VALUES:
        return VALUES[name](dice)
    raise UndrawableError(f"{name}: {kind}")


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def run_config(dice: random.Random) -> Config:
    """A configuration of ``certify.py run`` on digits of 8 x 8 pixels.

    Args:
        dice: Source of chance.
    """
    certificates = [drawn(Certificate, dice) for _ in range(dice.choice((1, 1, 2, 3)))]
    names = {one["class_path"].rpartition(".")[2] for one in certificates}
    laws = {one.__name__ for one in exported(Noise)}.intersection(*(_SUITS[name] for name in names & _SUITS.keys()))
    method = ["ProbabilityGradient"] if "SmoothGradCertificate" in names else []
    certifier: Config = {
        "attribution": drawn(Attribution, dice, method),
        "noise": drawn(Noise, dice, sorted(laws) if dice.random() < 0.9 else ()),
        "certificates": {f"c{number}": one for number, one in enumerate(certificates)},
        "num_samples": dice.choice((2, 5, 8, 12, 24, 40, 40, 80)),
        "batch_size": dice.choice((1, 3, 8, 64, "auto")),
        "seed": dice.randrange(3),
        "memory_format": dice.choice(("channels_last", "contiguous")),
        "class_samples": dice.choice((1, 5)),
    }
    if dice.random() < 0.1:
        certifier["stopping"] = [drawn(StoppingRule, dice) for _ in range(dice.choice((1, 2)))]
    if dice.random() < 0.1:
        certifier["fold_batch_norm"] = True
    config: Config = {
        "data": {"class_path": "Digits", "init_args": {"max_images": dice.choice((1, 1, 2, 3))}},
        "network": {"class_path": "SmallCNN", "init_args": {"image_size": _SIDE, "width": 4}},
        "checkpoint": "network.pt",
        "certifier": certifier,
        "targets": dice.choice(("predicted", "predicted", "label", "noisy_majority")),
        "max_panels": dice.choice((0, 1, 1)),
        "split": dice.choice(("images", "images", "samples")),
        "trainer": {
            "accelerator": "cpu",
            "threads": 1,
            "devices": 1,
            "precision": dice.choice(
                ("32-true", "32-true", "64-true", "bf16-mixed", "bf16-true", "16-true", "16-mixed")
            ),
        },
    }
    if dice.random() < 0.2:
        config["radii"] = dice.choice(([0.1], [0.05, 0.5, 2.0], [3]))
    if dice.random() < 0.1:
        config |= {"part": dice.choice(("1/1", "1/2", "2/2")), "max_images": 2}
    if dice.random() < 0.07:
        spoil(config, dice)
    return config


def spoil(config: Config, dice: random.Random) -> None:
    """Give one setting an odd value.

    Args:
        config: The configuration; changed in place.
        dice: Source of chance.
    """
    place: Any = config
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = dice.choice(
            [key for key in keys if key not in ("checkpoint", "threads", "devices", "data", "class_path")]
        )
        below = place[key]
        if not isinstance(below, dict | list) or not below or (isinstance(below, list) and dice.random() < 0.3):
            place[key] = dice.choice(ODD)
            return
        place = below
