"""Noise of regions: those of the clean image, fixed once; everything else is refused in one line."""

import pickle

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions
from lit_certattr.regions import Grid, Superpixels
from lit_certattr.smoothing import PatchMaskNoise, RegionMaskNoise, noise_law, noisy_images

IMAGE = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Bright(Regions):
    """Pixels above one half and the others; the first row is in no region."""

    asked = 0

    def __call__(self, image, image_id):
        Bright.asked += 1
        labels = (image[0] > 0.5).long()
        labels[0] = -1
        return labels


class Given(Regions):
    """What is in a list."""

    def __init__(self, labels):
        self.labels = labels

    def __call__(self, image, image_id):
        labels = torch.tensor(self.labels)
        return labels if labels.dtype == torch.bool else labels.long()


def drawn(noise, image=IMAGE, count=40):
    stream = noisy_images(image, noise, image_id="a", num_samples=count, batch_size=7)
    return torch.cat([block.clone() for block in stream])


def test_a_grid_of_regions_is_the_noise_of_patches_bit_by_bit():
    patches = PatchMaskNoise(keep=0.25, cells=3, sigma=0.2)
    regions = RegionMaskNoise(keep=0.25, regions=Grid(3), sigma=0.2)
    assert torch.equal(drawn(patches), drawn(regions))
    assert torch.equal(drawn(regions), drawn(regions.placed(IMAGE, "a")))


def test_regions_are_kept_or_filled_as_a_whole_and_pixels_in_none_are_always_seen():
    noise = RegionMaskNoise(keep=0.25, regions=Bright()).placed(IMAGE, "a")
    copies = drawn(noise, count=4000)
    assert torch.equal(copies[:, :, 0], IMAGE[:, 0].expand(4000, -1, -1))
    for region in (0, 1):
        inside = noise.partition == region
        seen = copies[:, 0, inside] == IMAGE[0, inside]
        assert bool((seen.all(1) | ~seen.any(1)).all())
        assert float(seen[:, 0].double().mean()) == pytest.approx(0.25, abs=5 * 0.5 / 4000**0.5)
    assert bool((copies[:, 0, noise.partition == 1] != 0.5).any())


def test_the_regions_of_a_placed_law_never_change():
    noise = RegionMaskNoise(keep=0.25, regions=Bright()).placed(IMAGE, "a")
    asked, changed = Bright.asked, 1 - IMAGE
    assert noise.placed(changed, "b") is noise
    copies = drawn(noise, changed, 200)
    inside = noise.partition == 0
    hidden = copies[:, 0, inside] == 0.5
    assert bool((hidden.all(1) | ~hidden.any(1)).all())
    noise.draw(changed[None])(changed[None])
    assert Bright.asked == asked
    # Control: the regions of the changed image are others.
    assert not torch.equal(Bright()(changed, "a"), noise.partition)


def test_a_law_that_was_not_placed_refuses_regions_of_images():
    noise = RegionMaskNoise(keep=0.25, regions=Bright())
    for use in (lambda: drawn(noise), lambda: noise.draw(IMAGE[None]), lambda: noise.size((1, 6, 8))):
        with pytest.raises(InputError, match=r"the regions of Bright depend on the image: call placed"):
            use()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([[0] * 8] * 6, "image a has 1 region: RegionMaskNoise needs at least 2"),
        ([[-1] * 8] * 6, "image a has no region"),
        ([[0, 1]], r"the regions of image a have shape \(1, 2\), but the image has 6 x 8 pixels"),
        ([[0, 2] * 4] * 6, "region 1 of image a is empty"),
        ([[[True] * 8] * 6, [[True] + [False] * 7] * 6], "the regions of image a overlap"),
        ([[[True] * 8] * 6], "image a has 1 region"),
    ],
)
def test_partitions_that_cannot_be_masked_are_refused_with_the_name_of_the_image(labels, reason):
    with pytest.raises(InputError, match=reason):
        RegionMaskNoise(keep=0.25, regions=Given(labels)).placed(IMAGE, "a")


def test_masks_that_do_not_overlap_are_labels():
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, :2], masks[1, 3:] = True, True
    placed = RegionMaskNoise(keep=0.25, regions=Given(masks.tolist())).placed(IMAGE, "a")
    assert placed.partition[:, 0].tolist() == [0, 0, -1, 1, 1, 1]


def test_an_image_of_another_size_is_refused():
    placed = RegionMaskNoise(keep=0.25, regions=Bright()).placed(IMAGE, "a")
    placed.check(IMAGE, "a")
    with pytest.raises(InputError, match="image b has 4 x 4 pixels, but the regions of this law are those of an image"):
        placed.check(torch.zeros(1, 4, 4), "b")


def test_laws_are_equal_if_their_regions_are_and_can_be_read_again():
    law = RegionMaskNoise(keep=0.25, regions=Superpixels(count=5), sigma=0.1)
    assert noise_law(repr(law)) == law
    assert noise_law(repr(law)) != law.placed(IMAGE, "a")
    assert pickle.loads(pickle.dumps(law.placed(IMAGE, "a"))) == law.placed(IMAGE, "a")
    assert noise_law("RegionMaskNoise(keep=0.25, regions=Grid(cells=2), fill=0.5, sigma=0.0)").budget.source
    for hostile in ("open('x')", "Unknown(cells=2)", "GaussianNoise(sigma=1)", "Grid(cells=0)", "2"):
        with pytest.raises(InputError, match="is no noise law"):
            noise_law(f"RegionMaskNoise(keep=0.25, regions={hostile}, fill=0.5, sigma=0.0)")


@pytest.mark.parametrize("settings", [{"keep": 0.0}, {"keep": 1.0}, {"fill": 2.0}, {"regions": 3}, {"sigma": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError):
        RegionMaskNoise(**{"keep": 0.25, "regions": Grid(2)} | settings)
