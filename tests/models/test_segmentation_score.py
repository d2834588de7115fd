"""A segmentation network as a classifier, in a region that never moves."""

import pytest
import torch
from torch import nn

from lit_certattr import certify
from lit_certattr.attribution import CaptumAttribution, GradCAM
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import SegmentationScore

IMAGE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


class Segmenting(nn.Module):
    """Scores ``[B, 3, h, w]`` as torchvision's networks give them."""

    def __init__(self, stride=1, name="out"):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride, padding=1), nn.Tanh())
        self.head, self.name = nn.Conv2d(6, 3, 1), name

    def forward(self, images):
        scores = self.head(self.features(images))
        return {self.name: scores, "aux": scores[:, :1]} if self.name else scores


@pytest.mark.parametrize("name", ["out", None])
def test_it_is_the_mean_in_the_region(name):
    net, region = Segmenting(name=name), torch.zeros(8, 8, dtype=torch.bool)
    region[2:5, 1:3] = True
    images = torch.rand(2, 3, 8, 8)
    scores = net(images)["out"] if name else net(images)
    assert torch.allclose(SegmentationScore(net, region)(images), scores[:, :, 2:5, 1:3].mean((2, 3)), atol=1e-6)
    assert SegmentationScore(net, region.tolist())(images).shape == (2, 3)


def test_the_predicted_region_is_fixed_by_the_clean_image():
    net = Segmenting(stride=2).train()
    target = int(net(IMAGE[None])["out"].argmax(1).flatten().mode().values)
    score = SegmentationScore.predicted(net, IMAGE, target)
    assert net.training
    before = score.region.clone()
    with torch.no_grad():
        wide = nn.functional.interpolate(net.eval()(IMAGE[None])["out"], (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(before, wide[0].argmax(0) == target)
    assert 0 < int(before.sum()) < 64
    found = certify(score, IMAGE, target, noise=0.5, num_samples=60, progress=False)
    assert torch.equal(score.region, before)
    # A constant of the function: another image is scored in the same region, whatever is predicted there.
    other = 1 - IMAGE[None]
    wide = nn.functional.interpolate(net(other)["out"], (8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(score(other), wide[:, :, before].mean(2), atol=1e-6)
    assert found["pixel"].sampling["target"] == target


@pytest.mark.parametrize("method", [GradCAM("features"), CaptumAttribution("LayerGradCam", layer="features")])
def test_layers_of_a_segmentation_network(method):
    score = SegmentationScore(Segmenting(), torch.ones(8, 8, dtype=torch.bool))
    settings = {"certificates": PixelCertificate([0.5]), "num_samples": 40, "progress": False}
    assert certify(score, IMAGE, 1, attribution=method, **settings)["pixel"].map_shape == (8, 8)


def test_mistakes():
    mask = torch.ones(8, 8, dtype=torch.bool)
    with pytest.raises(InputError, match="region must be a boolean mask"):
        SegmentationScore(Segmenting(), torch.ones(8, 8))
    with pytest.raises(InputError, match="region holds no pixel"):
        SegmentationScore(Segmenting(), ~mask)
    with pytest.raises(InputError, match=r"the region has \[8, 8\] pixels, the images have \[9, 9\]"):
        SegmentationScore(Segmenting(), mask)(torch.rand(1, 3, 9, 9))
    with pytest.raises(InputError, match=r"must give scores \[1, classes, h, w\], got dict|got NoneType"):
        SegmentationScore(Segmenting(name="logits"), mask)(IMAGE[None])
    with pytest.raises(InputError, match="Segmenting predicts class 9 for no pixel; it predicts"):
        SegmentationScore.predicted(Segmenting(), IMAGE, 9)


def test_a_mask_that_changes_later_changes_no_region():
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[0, 0] = True
    network = SegmentationScore(Segmenting(), region)
    before = network(IMAGE[None])
    region[:] = True
    assert torch.equal(network(IMAGE[None]), before)
