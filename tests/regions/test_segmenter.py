"""Regions of a segmentation network: whose weights changed, or that was not there when a record was read."""

import copy

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim, ClaimCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import EnergyInside, RegionMask
from lit_certattr.regions import Segmenter, check_partition
from lit_certattr.settings.plain import plain
from lit_certattr.settings.revived import revived
from lit_certattr.smoothing import GaussianNoise

IMAGE = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))


class Bright(nn.Module):
    """Class 2 where the image is brighter than a half, class 0 elsewhere; class 1 nowhere."""

    def __init__(self, wrap=lambda scores: scores):
        super().__init__()
        self.weight, self.dropout, self.wrap = nn.Parameter(torch.ones(1)), nn.Dropout(0.9), wrap

    def forward(self, images):
        bright = self.dropout(images) * self.weight
        return self.wrap(torch.cat([torch.full_like(bright, 0.5), torch.zeros_like(bright), bright], 1))


@pytest.mark.parametrize("wrap", [lambda scores: scores, lambda scores: {"out": scores, "aux": scores * 0}])
def test_each_pixel_belongs_to_the_class_with_the_largest_score(wrap):
    network = Bright(wrap).train()
    labels, classes = Segmenter(network).numbered(IMAGE, "a")
    assert classes == [0, 2]
    assert torch.equal(labels, (IMAGE[0] > 0.5).long())
    assert network.training
    assert network.weight.requires_grad
    assert torch.equal(check_partition(labels, (8, 8), "a"), labels)


def test_scores_of_a_lower_resolution_are_interpolated():
    network = nn.Sequential(nn.AvgPool2d(2), Bright())
    labels = Segmenter(network)(IMAGE, "a")
    assert labels.shape == (8, 8)
    scores = nn.functional.interpolate(nn.functional.avg_pool2d(IMAGE[None], 2), size=(8, 8), mode="bilinear")
    assert torch.equal(labels, (scores[0, 0] > 0.5).long())


def test_a_record_tells_one_network_from_another():
    network = Bright()
    one = Segmenter(network)
    other = copy.deepcopy(network)
    assert Segmenter(other) == one
    other.weight.data += 1
    assert Segmenter(other) != one
    assert Segmenter(nn.Sequential(Bright())) != one
    assert "structure" in repr(one)
    assert len(repr(one)) < 300


def test_what_a_record_holds_is_equal_and_asks_for_the_network():
    one = Segmenter(Bright())
    again = revived(plain(one, "regions"))
    assert again == one
    with pytest.raises(InputError, match="give the network itself"):
        again(IMAGE, "a")
    assert torch.equal(copy.deepcopy(one)(IMAGE, "a"), one(IMAGE, "a"))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Flatten(), r"must give scores \[1, classes, h, w\], got \(1, 64\)"),
        (Bright(lambda scores: {"logits": scores}), "got NoneType"),
        (Bright(lambda scores: scores * torch.nan), "gives NaN"),
    ],
)
def test_networks_that_segment_nothing_are_refused(network, words):
    with pytest.raises(InputError, match=words):
        Segmenter(network)(IMAGE, "a")


def test_settings_that_are_no_network_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must be a torch.nn.Module or the path of a checkpoint"):
        Segmenter(3)
    with pytest.raises(InputError):
        Segmenter(str(tmp_path / "nothing.ckpt"))


def test_maps_and_claims_are_about_the_segments_of_the_clean_image():
    torch.manual_seed(0)
    segmenter = Segmenter(Bright())
    network, noise = SmallCNN(image_size=8).eval(), GaussianNoise(0.3)
    claim = Claim("bright", EnergyInside(RegionMask(segmenter, [2])))
    result = Certifier(Gradient(), noise, [ClaimCertificate([claim])], num_samples=30)(network, IMAGE[None])[0][
        "claims"
    ]
    assert torch.equal(result.masks[0], IMAGE[0] > 0.5)
    placed = RegionMap(Gradient(), segmenter).placed(IMAGE, "a")
    assert torch.equal(placed.partition, (IMAGE[0] > 0.5).long())
