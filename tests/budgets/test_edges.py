"""The image at the edge of each budget: as long as the radius, and called what it is."""

import pytest
import torch

from lit_certattr.budgets import LpBudget
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    NuisanceNoise,
    PatchMaskNoise,
)

LAWS = {
    "nuisance": NuisanceNoise(0.25, brightness=0.2, colour_cast=0.1, illumination=0.1),
    "exposure": ExposureNoise(exposure=0.5, white_balance=0.2, shading=0.1),
    "gamma": GammaNoise(0.2),
    "affine": AffineNoise(0.2, 0.3),
    "blur": BlurNoise(1.0),
}
IMAGES = {
    "colour": torch.rand(3, 12, 9, generator=torch.Generator().manual_seed(0)),
    "grey": torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1)),
    "black corner": torch.linspace(0, 1, 64).view(1, 8, 8),
}


@pytest.mark.parametrize("radius", [0.01, 0.2])
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("law", LAWS)
def test_each_change_is_as_long_as_the_radius_and_no_longer(law, image, radius):
    budget, clean = LAWS[law].budget, IMAGES[image]
    edges = budget.edges(clean, radius)
    assert edges
    for edge in edges:
        assert edge.image.shape == clean.shape
        # What several kinds of change can express, such as exposure and white balance, is shorter than by one alone;
        # of contrast, the range is one that is shown without a gap.
        least = {"nuisance": 0.1, "exposure": 0.1, "affine": 0.5}.get(law, 1 - 1e-5)
        assert radius * least < budget.length(clean.double(), edge.image) < radius, edge.words


@pytest.mark.parametrize("law", LAWS)
def test_both_directions_are_there(law):
    clean = IMAGES["colour"]
    edges = LAWS[law].budget.edges(clean, 0.2)
    means = [float(edge.image.mean() - clean.mean()) for edge in edges]
    if law == "blur":
        assert len(edges) == 1
        assert float(edges[0].image.std()) < float(clean.std())
    else:
        assert min(means) < 0 < max(means)
        assert len({edge.words for edge in edges}) == len(edges)


def test_words_name_the_amount():
    clean = IMAGES["colour"]
    words = [edge.words for law in LAWS.values() for edge in law.budget.edges(clean, 0.2)]
    for expected in (
        "brightness -0.159 (40.7 of 255)",  # .2 * .2 / .25, a little less
        "exposure +0.199 stops",
        "gamma 1.22, the darkest",
        "gamma 0.819, the brightest",
        "blur of 0.199 pixels",
    ):
        assert expected in words
    assert sum("an example" in one for one in words) == 2 * 4  # of groups with several modes


@pytest.mark.parametrize(("radius", "number"), [(2.5, 2), (2.4999, 2), (3.01, 3), (1e9, 16)])
def test_as_many_patches_as_are_allowed_are_repainted(radius, number):
    budget = PatchMaskNoise(0.25, 4).budget
    *repainted, hidden = budget.edges(IMAGES["colour"], radius, majorities=True)
    *_, fewer = budget.edges(IMAGES["colour"], radius)
    assert fewer.words == f"{number} of 16 patches hidden, an example"
    for edge in repainted:
        assert budget.length(IMAGES["colour"].double(), edge.image) == number
        assert edge.words == f"{number} of 16 patches repainted, an example"
    assert hidden.words == f"{budget.hidden(number)} of 16 patches hidden, an example"
    assert budget.length(IMAGES["colour"].double(), hidden.image) == budget.hidden(number) >= number
    assert budget.majority_length(IMAGES["colour"].double(), hidden.image) <= number
    for edge in (*repainted, hidden):
        assert 0 <= float(edge.image.min()) <= float(edge.image.max()) <= 1


def test_nothing_is_shown_where_nobody_would_see_it():
    for norm in ("l2", "linf"):
        assert LpBudget(0.25, norm).edges(IMAGES["grey"], 1.0) == []
    assert PatchMaskNoise(0.25, 4).budget.edges(IMAGES["grey"], 0.5) == []


def test_an_image_without_a_smooth_field_has_none_at_the_edge():
    dot = torch.full((3, 1, 1), 0.5)
    words = [edge.words for edge in ExposureNoise(exposure=0.5, shading=0.2).budget.edges(dot, 0.1)]
    assert len(words) == 2
    assert all(one.startswith("exposure") for one in words)
    assert not any("illumination" in e.words for e in NuisanceNoise(0.25, 0.1, illumination=0.1).budget.edges(dot, 0.1))


def test_the_picture_of_a_report_is_the_same_each_time():
    budget = PatchMaskNoise(0.25, 4).budget
    first, second = (budget.edges(IMAGES["colour"], 2.5) for _ in range(2))
    assert all(torch.equal(one.image, other.image) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0].image, first[1].image)
