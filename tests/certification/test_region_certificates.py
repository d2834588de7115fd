"""Certificates of regions: the closed form of a linear network, and regions that are stored, drawn and bound."""

import attrs
import pytest
import torch
from scipy.special import ndtr
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient, InputXGradient, RegionMap
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.certificates.result import load_results, save_results
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.partitions import first_region, partition_hash
from lit_certattr.regions import Grid, Superpixels
from lit_certattr.reports.figures import image_panel
from lit_certattr.robustness.sandwich import SandwichAttack
from lit_certattr.smoothing import GaussianNoise

SIGMA = 0.25


def _linear():
    """A linear network, an image, and the direction in which the order of the two halves turns around soonest."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    weights = torch.linspace(0.5, 2.0, 16)
    net[1].weight.data = torch.stack([torch.zeros(16), weights])
    image = torch.full((1, 1, 4, 4), 0.5)
    halves = torch.arange(16) % 4 < 2
    return net, image, weights, halves


class Halves(Grid):
    """The left and the right half."""

    def __init__(self):
        super().__init__(2)

    def __call__(self, image, image_id):
        return super().__call__(image, image_id) % 2


def test_radius_of_a_region_is_that_of_the_half_space():
    net, image, weights, left = _linear()
    image[..., :2] = 0.75
    method = RegionMap(InputXGradient("sum"), Halves())
    pull = torch.where(left, weights, -weights) / 8  # left minus right mean, as a linear function of the image
    margin = float(pull @ image.flatten())
    exact = margin / float(pull.norm())  # the distance at which both regions are equally important under the noise
    certifier = Certifier(method, GaussianNoise(SIGMA), [PixelCertificate([1], alpha=1e-4)], num_samples=20000)
    result = certifier(net, image, [1], ["a"])[0]["pixel"]
    assert result.labels.tolist() == [[[1, 0]]]
    vote = float(ndtr(exact / SIGMA))
    assert abs(float(result.votes[0, 0, 0]) / 20000 - vote) < 4 * (vote * (1 - vote) / 20000) ** 0.5
    radius = float(result.radius.min())
    assert 0.9 * exact < radius < exact
    placed = certifier.placed(image[0], "a").attribution
    for share, first in ((0.999, True), (1.01, False)):
        moved = image - share * exact * (pull / pull.norm()).view(1, 1, 4, 4)
        values = placed(net, moved, torch.tensor([1]))[0, 0]  # linear: the mean under the noise
        assert bool(values[0] > values[1]) is first


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    return SmallCNN(image_size=12).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def certifier():
    certificates = [PixelCertificate([0.5], alpha=0.01), TopKOverlapCertificate(0.5, alpha=0.01)]
    certificates.append(CosineCertificate(alpha=0.01, num_selection=50))
    method = RegionMap(Gradient(), Superpixels(count=9))
    return Certifier(method, GaussianNoise(SIGMA), certificates, num_samples=300)


@pytest.fixture(scope="module")
def certified(cnn, images, certifier):
    return certifier(cnn, images, [1, 1], ["a", "b"])


def test_each_image_has_regions_of_its_own(certified, images):
    for image, results in zip(images, certified, strict=True):
        labels = Superpixels(count=9)(image, "any")
        for result in results.values():
            assert torch.equal(result.partition, labels)
            assert result.map_shape in (None, (1, int(labels.max()) + 1))
            assert partition_hash(labels) in result.sampling["regions"]
            assert result.statement().startswith("Each pixel of the map is a region of the image. With probability")
    assert certified[0]["pixel"].map_shape != certified[1]["pixel"].map_shape


def test_an_image_alone_has_the_same_certificate(cnn, images, certifier, certified):
    (alone,) = certifier(cnn, images[1:], [1], ["b"])
    assert torch.equal(alone["pixel"].votes, certified[1]["pixel"].votes)


def test_results_keep_their_regions_in_a_file(certified, tmp_path):
    save_results(tmp_path / "a.safetensors", certified[0])
    read = load_results(tmp_path / "a.safetensors")
    for name, result in certified[0].items():
        assert torch.equal(read[name].partition, result.partition)
        assert torch.equal(read[name].rederive().partition, result.partition)


def test_results_about_pixels_have_no_such_field_in_their_file(cnn, images, tmp_path):
    certifier = Certifier(Gradient(), GaussianNoise(SIGMA), [PixelCertificate([0.5])], num_samples=100)
    (results,) = certifier(cnn, images[:1], [1], ["a"])
    save_results(tmp_path / "a.safetensors", results)
    assert b"partition" not in (tmp_path / "a.safetensors").read_bytes()
    assert "regions" not in results["pixel"].sampling
    assert load_results(tmp_path / "a.safetensors")["pixel"].partition is None


@pytest.mark.parametrize("partition", [torch.zeros(4, 4), torch.zeros(4, dtype=torch.long), torch.zeros(4, 4).bool()])
def test_what_is_no_partition_is_no_field_of_a_result(certified, partition):
    with pytest.raises(ValueError, match="must be int64 labels"):
        attrs.evolve(certified[0]["pixel"], partition=partition)


def test_region_values_are_drawn_in_their_pixels(certified, images):
    results = certified[0]
    clean = torch.arange(float(results["pixel"].num_pixels))[None]
    figure = image_panel(images[0], results, None, clean)
    titles = {axes.get_title(): axes for part in figure.subfigs for axes in part.axes if axes.images}
    assert f"Image, {clean.numel()} regions" in titles
    drawn = titles["Attribution, no noise"].images[0].get_array()
    assert torch.equal(torch.from_numpy(drawn.data).float(), first_region(results["pixel"].partition).float())
    assert titles["Certified"].images[0].get_array().shape == (12, 12)
    assert any(axes.images[0].get_array().shape == (12, 12) for axes in results["pixel"].plot().axes if axes.images)


def test_an_attack_keeps_the_regions_of_the_clean_image(cnn, images, certified):
    seen = set()

    class Watched(RegionMap):
        def __call__(self, model, images, targets, create_graph=False):
            seen.add(None if self.partition is None else partition_hash(self.partition))
            return super().__call__(model, images, targets, create_graph)

    certificates = [PixelCertificate([0.5], alpha=0.01), TopKOverlapCertificate(0.5, alpha=0.01)]
    method = Watched(Gradient(), Superpixels(count=9))
    judge = Certifier(method, GaussianNoise(SIGMA), certificates, num_samples=200, seed=1)
    attack = SandwichAttack(judge, AttackConfig(eps=0.5, norm="l2", steps=2), [0.05, 0.5], draws=2, judge_draws=8)
    results = {name: certified[0][name] for name in ("pixel", "topk_overlap")}
    found = attack(cnn, images[0], results, "a", 0.01)
    assert seen == {partition_hash(certified[0]["pixel"].partition)}
    assert found.maps.shape[1:] == (1, certified[0]["pixel"].num_pixels)
    assert all(row["certified"] <= row["attacked_upper"] + 1e-9 for row in found.rows)


def test_an_attack_refuses_other_regions_than_were_certified(cnn, images, certified):
    judge = Certifier(
        RegionMap(Gradient(), Grid(3)), GaussianNoise(SIGMA), [PixelCertificate([0.5])], num_samples=200, seed=1
    )
    attack = SandwichAttack(judge, AttackConfig(eps=0.5, norm="l2", steps=1), [0.05])
    with pytest.raises(InputError, match=r"image a: pixel certifies .* regions"):
        attack(cnn, images[0], {"pixel": certified[0]["pixel"]}, "a", 0.01)


def test_a_network_that_mixes_images_is_found_for_regions_too(images):
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(144, 3)

        def forward(self, batch):
            return self.head((batch - batch.mean(0)).flatten(1)) if len(batch) > 1 else self.head(batch.flatten(1))

    torch.manual_seed(0)
    certifier = Certifier(
        RegionMap(Gradient(), Superpixels(count=9)), GaussianNoise(SIGMA), [PixelCertificate([0.5])], num_samples=100
    )
    with pytest.raises(InputError, match="depends on the other images"):
        certifier(Mixing().eval(), images, [1, 1], ["a", "b"])
