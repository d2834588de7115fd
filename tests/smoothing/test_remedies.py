"""What a law says about itself where a network hardly sees through it: settings that it has."""

import re

import pytest

from lit_certattr.certificates.noisy_accuracy import remedy_of, warning
from lit_certattr.regions import Grid
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    NuisanceNoise,
    PatchMaskNoise,
    RegionMaskNoise,
)

LAWS = [
    (GaussianNoise, {"sigma": 0.25}, {"sigma"}),
    (NuisanceNoise, {"sigma": 0.25, "brightness": 0.2}, {"sigma"}),
    (ExposureNoise, {"exposure": 0.5}, {"exposure", "white_balance", "shading"}),
    (GammaNoise, {"log_gamma": 0.2}, {"log_gamma"}),
    (AffineNoise, {"log_contrast": 0.2, "brightness": 0.3}, {"log_contrast", "brightness"}),
    (BlurNoise, {"rate": 1.5}, {"rate"}),
    (PatchMaskNoise, {"keep": 0.25, "cells": 4}, {"keep"}),
    (RegionMaskNoise, {"keep": 0.25, "regions": Grid(4)}, {"keep"}),
]


@pytest.mark.parametrize(("law", "settings", "names"), LAWS)
def test_a_remedy_names_the_settings_that_matter(law, settings, names):
    for sigma in (0.0, 0.1) if "sigma" not in settings else (0.25,):
        noise = law(**settings | {"sigma": sigma})
        said = {name for name in noise.settings() if re.search(rf"\b{name}\b", noise.milder)}
        assert said == names | ({"sigma"} if sigma else set())
        assert noise.milder in noise.remedy
        assert remedy_of(repr(noise)) == noise.remedy
        assert warning([0.1], noise.remedy).endswith(noise.remedy)


def test_of_an_unknown_law_no_setting_is_named():
    for unknown in ("Mine(sigma=0.5)", None):
        assert "sigma" not in remedy_of(unknown)
