"""What plain maps are worth: numbers without their chance level, of other images' masks, or of the batch."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.errors import InputError
from lit_certattr.metrics import MapQuality, RandomLogitQuality, RankAccuracyQuality, SparsenessQuality
from lit_certattr.metrics.functional import random_logit, relevance_rank_accuracy, sparseness, spearman
from lit_certattr.metrics.quality import Explained, QualityMeans
from lit_certattr.metrics.quality.base import check_qualities
from lit_certattr.numbers import Box, ImageMask
from lit_certattr.regions import Grid
from lit_certattr.settings.discovery import is_own, subclasses


class Bright(ImageMask):
    """Where the image is brighter than its mean."""

    def pixels(self, image, image_id):
        return image[0] > image.mean()

    def in_words(self):
        return "the bright part"


QUALITIES = [SparsenessQuality(), RandomLogitQuality(seed=3), RankAccuracyQuality(Bright())]


@pytest.fixture
def explained():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    images, targets = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    return Explained(net, Gradient(), images, targets, Gradient()(net, images, targets), list("abcde"))


def test_every_quality_of_the_package_is_tested():
    assert {type(one) for one in QUALITIES} == {kind for kind in subclasses(MapQuality) if is_own(kind)}


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda one: one.name)
def test_each_image_has_its_numbers_alone_and_beside_chance(explained, quality):
    found = quality.values(explained)
    assert len(found) == len(quality.columns)
    assert f"{quality.name}_chance" in quality.columns
    for index in range(5):
        model, attribution, *tensors, ids = explained
        alone = Explained(model, attribution, *(one[index : index + 1] for one in tensors), ids[index : index + 1])
        for whole, own in zip(found, quality.values(alone), strict=True):
            assert own.item() == pytest.approx(whole[index].item(), abs=1e-6)


def test_the_numbers_are_those_of_the_functions(explained):
    net, method, images, targets, maps, ids = explained
    expected = [
        sparseness(maps).map,
        random_logit(net, images, targets, method, seed=3, ids=ids).map,
        relevance_rank_accuracy(maps, torch.stack([image[0] > image.mean() for image in images])).map,
    ]
    for quality, values in zip(QUALITIES, expected, strict=True):
        assert torch.equal(quality.values(explained)[0], values)


def test_an_image_without_a_number_is_left_out_of_the_mean(explained):
    found = QualityMeans(SparsenessQuality())
    for maps in (explained.maps * 0 + 1, explained.maps[:1] * 0):
        found.update(torch.stack(SparsenessQuality().values(explained._replace(maps=maps)), 1))
    with pytest.warns(UserWarning, match="not defined for 1 images"):
        means = found.compute()
    assert float(means["sparseness"]) == 0
    assert float(means["sparseness_chance"]) == pytest.approx(2**0.5 - 1)


def test_maps_of_regions_have_no_pixels_on_an_object(explained):
    method = RegionMap(Gradient(), Grid(2))
    with pytest.raises(InputError, match="measure the method without regions"):
        RankAccuracyQuality(Box(0, 0, 1, 0.5)).values(explained._replace(attribution=method))


def test_only_masks_of_images_need_a_look_at_every_image_before():
    assert [quality.of_image for quality in QUALITIES] == [False, False, True]
    assert not RankAccuracyQuality(Box(0, 0, 1, 0.5)).of_image


def test_maps_of_regions_of_two_classes_are_compared_by_their_order(explained):
    regions = RegionMap(Gradient(), Grid(4))
    maps = regions(explained.model, explained.images, explained.targets)
    of_regions = explained._replace(attribution=regions, maps=maps)
    found, chance = RandomLogitQuality(similarity="spearman").values(of_regions)
    assert torch.equal(
        found, random_logit(*explained[:1], *explained[2:4], regions, similarity=spearman, ids="abcde").map
    )
    assert float(chance.abs().mean()) < float(found.abs().mean())
    with pytest.raises(InputError, match=r"use RandomLogitQuality\(similarity='spearman'\)"):
        RandomLogitQuality().values(of_regions)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomLogitQuality(similarity="cosine"), "similarity must be one of ssim, spearman"),
        (
            lambda: check_qualities([SparsenessQuality(), SparsenessQuality()]),
            "must differ, got sparseness, sparseness",
        ),
        (lambda: check_qualities(SparsenessQuality()), "qualities must be a list"),
        (lambda: check_qualities([SparsenessQuality]), "a quality must be a MapQuality"),
        (lambda: RankAccuracyQuality("left"), "mask must be a Box"),
        (lambda: RandomLogitQuality(seed=-1), "seed must be at least 0"),
    ],
)
def test_what_is_no_quality_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
