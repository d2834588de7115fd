"""Text has enough contrast in both schemes (WCAG 2.2, AA), and classes of maps differ for colour-blind readers."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

from lit_certattr.certificates import drawing as draw

TEXTS = [("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("warn", "warn-page")]
LINKS = [("link", "page"), ("link", "card")]
# Machado, Oliveira and Fernandes (2009), severity 1, linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colour):
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, two):
    dark, light = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(colour))) for colour in (one, two))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def schemes():
    style = (files("lit_certattr.reports") / "templates" / "style.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    )
    return {"light": light, "dark": dark}


def test_the_formula_knows_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5 < contrast("#767676", "#ffffff")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_links_have_contrast(scheme):
    colours = schemes()[scheme]
    low = {pair: found for pair in TEXTS + LINKS if (found := contrast(*(colours[name] for name in pair))) < 4.5}
    assert not low
    assert contrast(colours["accent"], colours["page"]) >= 3


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_classes_of_the_certified_map_differ(vision, levels):
    colours = [*draw.level_colours(levels), draw.UNIMPORTANT, draw.PARTLY, draw.ABSTAINING]
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(one - two) for one, two in combinations(seen, 2)) > 10
