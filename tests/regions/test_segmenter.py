"""Regions of a segmentation network: whose weights changed, or that was not there when a record was read."""

import copy

import pytest
import torch
import yaml
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim, ClaimCertificate
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import EnergyInside, RegionMask
from lit_certattr.partitions import check_partition
from lit_certattr.regions import Segmenter
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


@pytest.mark.parametrize("of_regions", [True, False], ids=["maps", "claims"])
def test_a_run_with_a_segmenter_is_audited_attacked_and_sampled_again(of_regions, tmp_path):
    # Four pixels become four channels: a segmentation without weights, from a class that a configuration can name.
    network = {"class_path": "torch.nn.PixelUnshuffle", "init_args": {"downscale_factor": 2}}
    segmenter = {"class_path": "lit_certattr.regions.Segmenter", "init_args": {"network": network}}
    method = "lit_certattr.attribution.Gradient"
    certificate = {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5]}}
    if of_regions:
        arguments = {"base": method, "regions": segmenter}
        method = {"class_path": "lit_certattr.attribution.RegionMap", "init_args": arguments}
    else:
        mask = {"class_path": "lit_certattr.numbers.RegionMask", "init_args": {"regions": segmenter, "labels": [0, 1]}}
        number = {"class_path": "lit_certattr.numbers.EnergyInside", "init_args": {"mask": mask}}
        claim = {"class_path": "lit_certattr.certificates.Claim", "init_args": {"name": "inside", "number": number}}
        certificate = {"class_path": "lit_certattr.certificates.ClaimCertificate", "init_args": {"claims": [claim]}}
    config = {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 2}},
        "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
        "certifier": {
            "attribution": method,
            "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
            "certificates": [certificate],
            "num_samples": 100,
        },
        "trainer": {"accelerator": "cpu", "threads": 1},
    }
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), tmp_path / "digits.pt")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    run = f"{tmp_path}/run"
    files = [f"--config={tmp_path}/run.yaml", f"--checkpoint={tmp_path}/digits.pt", f"--output={run}"]
    main(["run", *files, "--max_panels=0"])
    main(["audit", run, "--fresh", "--replay=1"])
    main(["attack", run, "--search.steps=1", "--draws=2", "--judge_draws=4", "--budgets=[0.1]"])
