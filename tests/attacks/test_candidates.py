"""Attacks inside budgets that are no balls: they find the worst change of a linear score and never leave the budget."""

import itertools
import math

import pytest
import torch

from lit_certattr.attacks import AttackConfig
from lit_certattr.attacks.candidates import search_candidates
from lit_certattr.budgets.patches import cells_of
from lit_certattr.partitions import Regions
from lit_certattr.smoothing import AffineNoise, BlurNoise, ExposureNoise, GammaNoise, PatchMaskNoise, RegionMaskNoise

SHAPE = (1, 8, 8)
IMAGES = 0.2 + 0.6 * torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Strips(Regions):
    """Four strips of unequal width; the last column is in no region."""

    def __call__(self, image, image_id):
        return torch.tensor([0, 0, 0, 1, 1, 2, 3, -1]).expand(8, 8)


LAWS = {
    "exposure": (ExposureNoise(exposure=0.5), 0.4),
    "fields": (ExposureNoise(exposure=0.5, shading=0.3, shading_order=1), 0.4),
    "gamma": (GammaNoise(log_gamma=0.2), 0.3),
    "affine": (AffineNoise(log_contrast=0.2, brightness=0.3), 0.4),
    "blur": (BlurNoise(rate=1.0), 1.5),
    "patches": (PatchMaskNoise(keep=0.2, cells=4), 2.5),
    "regions": (RegionMaskNoise(keep=0.2, regions=Strips()).placed(IMAGES[0], "any"), 2.5),
}


def score(images):
    return (images * WEIGHTS).sum((1, 2, 3))


def found_for(name, steps=12, gradients=True, **settings):
    law, radius = LAWS[name]
    config = AttackConfig(eps=radius, steps=steps, seed=0, **settings)
    return search_candidates(
        law.budget,
        IMAGES,
        torch.full((3,), radius, dtype=torch.float64),
        config,
        score,
        score=score if gradients else None,
    )


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("gradients", [True, False])
def test_what_is_found_is_worse_and_lies_in_the_budget(name, gradients):
    law, radius = LAWS[name]
    found = found_for(name, gradients=gradients)
    assert bool((score(found) >= score(IMAGES)).all())
    assert bool((score(found) > score(IMAGES)).any())
    for image, changed in zip(IMAGES, found, strict=True):
        assert law.budget.length(image, changed) < radius


@pytest.mark.parametrize("name", ["exposure", "gamma", "blur"])
def test_one_amount_is_searched_to_both_ends(name):
    # A monotone score is worst at an end; the grid holds both ends, or for a blur its end and the image itself.
    law, radius = LAWS[name]
    tried = []

    def remember(images):
        tried.append(images[0])
        return images.sum((1, 2, 3))

    search_candidates(
        law.budget,
        IMAGES,
        torch.full((3,), radius, dtype=torch.float64),
        AttackConfig(eps=radius, steps=9, seed=0),
        remember,
    )
    lengths = sorted(law.budget.length(IMAGES[0], one) for one in tried)
    assert lengths[-1] == pytest.approx(radius, rel=1e-6)
    assert lengths[0] == pytest.approx(0, abs=1e-5)
    spacing = max(b - a for a, b in itertools.pairwise(lengths))
    assert spacing < radius / 2


def test_mixtures_of_fields_are_climbed_to_the_best_one():
    law, radius = LAWS["fields"]
    best = score(found_for("fields", steps=40))
    modes, generator = law.budget.modes(IMAGES[0]), torch.Generator().manual_seed(5)
    directions = torch.nn.functional.normalize(
        torch.randn(4000, len(modes.tau), generator=generator, dtype=torch.float64)
    )
    for image, value in zip(IMAGES, best, strict=True):
        stops = directions * radius / law.budget.typical * modes.tau
        dense = (image * torch.exp2(torch.einsum("nm,mchw->nchw", stops, modes.fields)) * WEIGHTS).sum((1, 2, 3)).max()
        assert value > dense - 1e-2 * (dense - score(image[None])[0]).abs()
    # Control: random mixtures, as many, find less.
    assert bool((best >= score(found_for("fields", steps=40, gradients=False)) - 1e-9).all())


@pytest.mark.parametrize("name", ["patches", "regions"])
def test_the_best_parts_of_a_linear_score_are_repainted(name):
    found = found_for(name, steps=2)
    ends = torch.where(WEIGHTS > 0, 1.0, 0.0).double()
    cell = cells_of(8, 8, 4) if name == "patches" else Strips()(None, "").clamp(min=0)
    allowed = torch.ones(8, 8).double() if name == "patches" else (Strips()(None, "") >= 0).double()
    for image, changed in zip(IMAGES, found, strict=True):
        gain = ((ends - image) * WEIGHTS).sum(0) * allowed
        gains = torch.zeros(16).double().index_add_(0, cell.flatten(), gain.flatten())
        expected = score(image[None])[0] + gains.topk(2).values.sum()
        assert score(changed[None])[0] == pytest.approx(float(expected), rel=1e-12)


def test_only_accepted_images_are_taken_and_nan_is_never_better():
    law, radius = LAWS["exposure"]
    config, lengths = AttackConfig(eps=radius, steps=9, seed=0), torch.full((3,), radius, dtype=torch.float64)
    darker = search_candidates(law.budget, IMAGES, lengths, config, score, accept=lambda one: one.sum((1, 2, 3)) < 0)
    assert torch.equal(darker, IMAGES)
    lost = search_candidates(
        law.budget, IMAGES, lengths, config, lambda one: torch.where(one[:, 0, 0, 0] > 0, math.nan, 1.0)
    )
    assert torch.equal(lost, IMAGES)


def test_no_images_and_no_length_give_back_the_images():
    law, _ = LAWS["patches"]
    config = AttackConfig(eps=1.0, steps=3, seed=0)
    assert search_candidates(law.budget, IMAGES[:0], torch.zeros(0), config, score, score=score).shape == (0, *SHAPE)
    assert torch.equal(search_candidates(law.budget, IMAGES, torch.full((3,), 0.5), config, score, score=score), IMAGES)
