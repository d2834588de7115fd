"""The certifier with noise of regions: those of the clean image are fixed, and used for every changed image."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import CertificationCallback
from lit_certattr.certificates import PixelCertificate, PredictionCertificate, load_results, save_results
from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions, identity
from lit_certattr.robustness.evaluation import evaluate_candidates
from lit_certattr.smoothing import GaussianNoise, PatchMaskNoise, RegionMaskNoise


class Shades(Regions):
    """Regions of equal shade, of which each image has as many as it has; the darkest is none."""

    asked = 0

    def __call__(self, image, image_id):
        Shades.asked += 1
        return torch.unique((4 * image[0]).long(), return_inverse=True)[1] - 1


class Seen(nn.Module):
    """A linear network that keeps the images that it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.images = nn.Linear(16, 3), []

    def forward(self, images):
        self.images.append(images.detach().clone())
        return self.layer(images.flatten(1))


def stripes(count):
    return (torch.arange(4.0)[:, None] % count / 4 + 0.05).expand(4, 4)[None].contiguous()


def certifier(noise=None, **settings):
    noise = noise or RegionMaskNoise(keep=0.3, regions=Shades())
    named = {"pixel": PixelCertificate([0.5], alpha=0.05), "prediction": PredictionCertificate(alpha=0.05)}
    return Certifier(Gradient(), noise, named, num_samples=120, batch_size=60, **settings)


@pytest.mark.parametrize("targets", [None, "noisy_majority"])
def test_results_hold_the_regions_of_their_own_image(targets, tmp_path):
    images = torch.stack([stripes(3), stripes(4)])
    found = certifier()(Seen(), images, targets, ["three", "four"])
    for count, image, results in zip((2, 3), images, found, strict=True):
        save_results(tmp_path / "file", results)
        for result in (*results.values(), *load_results(tmp_path / "file").values()):
            assert result.change_budget.count == count
            assert torch.equal(result.noise_partition, Shades()(image, ""))
            assert result.sampling["masked regions"] == identity(result.noise_partition)
            assert f"one of the {count} regions of the clean image (Shades())" in result.statement()
            changed = image.clone()
            changed[0, 1] = 0.9
            assert result.holds_for(image, changed).length == 1
            changed[0, 0] = 0.9  # in no region
            assert result.holds_for(image, changed).length == float("inf")


def test_a_changed_image_is_masked_in_the_regions_of_the_clean_one():
    image = stripes(3)
    placed = certifier().placed(image, "a")
    changed, asked, network = image.clone(), Shades.asked, Seen()
    changed[0, 1, :2] = 0.9  # one region less and one more, if it were divided anew
    assert placed.placed(changed, "b") is placed
    evaluate_candidates(placed, network, image, [changed], 0, "a")
    assert Shades.asked == asked
    copies = torch.cat(network.images)[:, 0, 1]
    hidden = copies == 0.5
    assert bool((hidden.all(1) | ~hidden.any(1)).all())
    assert bool(hidden.any())
    assert bool((copies[:, 0] == 0.9).any())


def test_nothing_is_sampled_if_one_image_cannot_be_divided():
    network, images = Seen(), torch.stack([stripes(3), stripes(2)])
    with pytest.raises(InputError, match="image plain has 1 region: RegionMaskNoise needs at least 2"):
        certifier()(network, images, None, ["fine", "plain"])
    assert max(map(len, network.images)) <= 2


def test_metrics_of_parts_have_whole_radii():
    assert CertificationCallback(certifier()).radii == (1, 2, 3, 4)
    assert CertificationCallback(certifier(PatchMaskNoise(0.25, 2))).radii == (1, 2, 3, 4)
    assert CertificationCallback(certifier(GaussianNoise(0.25))).radii == (0.05, 0.1, 0.25)
