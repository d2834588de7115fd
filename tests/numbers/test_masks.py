"""Masks of each image: another image's mask, a mask that nobody placed, or one that does not fit the map."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lit_certattr import Certifier
from lit_certattr.attribution import GradCAM, Gradient
from lit_certattr.certificates import Claim, ClaimCertificate, load_results, quantities_of, save_results
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import (
    Box,
    Cell,
    EnergyInside,
    GridShare,
    ImageMask,
    MoreThan,
    PointingGame,
    RegionMask,
    TopKInside,
)
from lit_certattr.regions import Grid, MaskFolder
from lit_certattr.settings.revived import revived
from lit_certattr.smoothing import GaussianNoise

IMAGE = torch.zeros(1, 8, 8)
NOISE = GaussianNoise(0.3)


@pytest.fixture
def folder(tmp_path):
    """Masks of two images: label 1 at the top left of a, at the bottom right of b; label 4 in the first column."""
    for name, corner in (("a", (0, 2)), ("b", (6, 6))):
        mask = np.zeros((8, 8), np.uint8)
        mask[:, 0] = 4
        mask[corner[0] : corner[0] + 2, corner[1] : corner[1] + 2] = 1
        np.save(tmp_path / f"{name}.npy", mask)
    return MaskFolder(str(tmp_path))


def top_left(folder, name):
    return torch.from_numpy(np.load(f"{folder.path}/{name}.npy"))


def test_each_image_has_its_own_mask(folder):
    mask = RegionMask(folder, labels=[1])
    for name in ("a", "b"):
        assert torch.equal(mask.placed(IMAGE, name).mask((8, 8)), top_left(folder, name) == 1)
    assert torch.equal(RegionMask(folder).placed(IMAGE, "a").mask((8, 8)), top_left(folder, "a") > 0)
    assert torch.equal(RegionMask(folder, [4, 1]).placed(IMAGE, "a").mask((8, 8)), top_left(folder, "a") > 0)


def test_placing_changes_neither_settings_nor_words_nor_the_number_that_others_hold(folder):
    number = MoreThan(RegionMask(folder, [1]), Box(0, 0.5, 1, 1))
    placed = number.placed(IMAGE, "a")
    assert placed.settings() == number.settings()
    assert placed.in_words() == number.in_words()
    assert not number.masks()[0].is_known
    assert placed.placed(IMAGE, "b") is placed
    assert revived({"class_path": "lit_certattr.numbers.more_than.MoreThan", "init_args": placed.settings()}) == number
    with pytest.raises(InputError, match="cannot be changed"):
        placed.more = Box(0, 0, 1, 1)


def test_a_number_without_masks_of_images_is_the_same_for_every_image():
    number = MoreThan(Box(0, 0, 1, 0.5), Box(0, 0.5, 1, 1))
    assert number.placed(IMAGE, "a") is number


def test_a_mask_that_nobody_placed_is_no_mask_of_any_image(folder):
    with pytest.raises(InputError, match="another mask for each image"):
        EnergyInside(RegionMask(folder))(torch.rand(2, 8, 8))


def test_maps_of_another_size_take_the_nearest_pixel_of_the_mask(folder):
    placed = RegionMask(folder, [1]).placed(IMAGE, "a")
    assert placed.mask((4, 4)).nonzero().tolist() == [[0, 1]]
    with pytest.raises(InputError, match="mask of image a holds no pixel of a map of 2 x 2"):
        RegionMask(folder, [1]).placed(IMAGE, "a").fixed_to(placed.mask((8, 8)) & False, "the mask of image a").mask(
            (2, 2)
        )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda masks: RegionMask(masks, [2]).placed(IMAGE, "a"), "image a has no region with label 2, only 1, 4"),
        (lambda masks: RegionMask(masks, []), "at least one region"),
        (lambda masks: RegionMask(masks, [-1]), "a label must be at least 0"),
        (lambda masks: RegionMask("masks"), "regions must be a Regions"),
        (lambda masks: RegionMask(masks).placed(IMAGE, "c"), "image c has no mask in"),
        (lambda masks: RegionMask(masks).placed(torch.zeros(1, 8, 16), "a"), "another aspect ratio"),
        (lambda masks: EnergyInside(masks), "mask must be a Box or another mask"),
        (lambda masks: Cell(4), "cell must lie in 0 to 3"),
        (lambda masks: Cell().placed(IMAGE, "a"), "does not end with one of 4 cells"),
        (lambda masks: Cell().placed(IMAGE, "grid-1-cell4"), "does not end with one of 4 cells"),
    ],
)
def test_masks_that_are_not_there_are_refused(folder, make, words):
    with pytest.raises(InputError, match=words) as refused:
        make(folder)
    assert "\n" not in str(refused.value)


def test_the_cells_of_a_mosaic_share_the_map():
    maps = torch.rand(3, 6, 8)
    shares = sum(GridShare(cell)(maps) for cell in range(4))
    assert torch.allclose(shares, torch.ones(3))
    assert torch.allclose(sum(GridShare(cell, cells=3)(maps) for cell in range(9)), torch.ones(3))
    by_id = GridShare().placed(IMAGE, "grid-1a2b3c4d5e6f7a8b-cell2")
    assert torch.equal(by_id(maps), GridShare(2)(maps))
    assert by_id.in_words() == GridShare().in_words()


def certified(folder, claims, ids, attribution=None, size=8):
    torch.manual_seed(0)
    network = SmallCNN(image_size=size).eval()
    certifier = Certifier(attribution or Gradient(), NOISE, [ClaimCertificate(claims)], num_samples=50)
    return certifier(network, torch.rand(len(ids), 1, size, size, generator=torch.Generator().manual_seed(1)), ids=ids)


def test_a_claim_is_about_the_mask_of_its_image(folder, tmp_path):
    claims = [Claim("cell", EnergyInside(RegionMask(folder, [1]))), Claim("left", PointingGame(Box(0, 0, 1, 0.5)))]
    results = [one["claims"] for one in certified(folder, claims, ["a", "b"])]
    for name, result in zip("ab", results, strict=True):
        assert torch.equal(result.masks[0], top_left(folder, name) == 1)
        assert result.covered(0) == 4 / 64
        assert result.covered(1) == 0.5
        assert "The mask covers 6.25 % of the map." in result.statement()
        boxed = [Claim("cell", EnergyInside(Box(*{"a": (0, 0.25, 0.25, 0.5), "b": (0.75, 0.75, 1, 1)}[name])))]
        alone = certified(folder, boxed, ["a", "b"])["ab".index(name)]["claims"]
        assert torch.equal(alone.below[0], result.below[0])
    save_results(tmp_path / "results.safetensors", {"claims": results[0]})
    again = load_results(tmp_path / "results.safetensors")["claims"]
    assert torch.equal(again.masks, results[0].masks)
    assert again.rederive().statement() == results[0].statement()


def test_an_attack_follows_the_stored_mask_even_if_the_file_is_gone(folder):
    result = certified(folder, [Claim("cell", EnergyInside(RegionMask(folder, [1])))], ["b"])[0]["claims"]
    inside = top_left(folder, "b") == 1
    for file in ("a", "b"):
        Path(folder.path, f"{file}.npy").unlink()
    down, up = quantities_of(result, "claims")
    maps = torch.rand(3, 1, 8, 8)
    expected = ((maps[:, 0] * inside).sum((1, 2)) / maps[:, 0].sum((1, 2))).mean()
    assert torch.allclose(down.objective(torch.device("cpu")).value(maps), -expected)
    assert torch.allclose(up.objective(torch.device("cpu")).value(maps), expected)


def test_k_above_the_pixels_of_one_mask_names_claim_and_image(folder):
    claims = [Claim("top", TopKInside(RegionMask(folder, [1]), top_k=5))]
    with pytest.raises(InputError, match="claim 'top': K of 5 pixels, but the mask of image a has 4"):
        certified(folder, claims, ["a"])


def test_a_fault_of_the_last_image_is_found_before_the_first_is_sampled(folder):
    drawn = []
    certifier = Certifier(
        Gradient(),
        NOISE,
        [ClaimCertificate([Claim("top", TopKInside(RegionMask(folder, [1, 4]), 10))])],
        num_samples=50,
    )
    np.save(f"{folder.path}/b.npy", np.eye(8, dtype=np.uint8))
    with pytest.raises(InputError, match="the mask of image b has 8"):
        certifier(SmallCNN(image_size=8).eval(), torch.rand(2, 1, 8, 8), ids=["a", "b"], on_block=drawn.append)
    assert not drawn


def test_masks_are_scaled_to_maps_of_low_resolution(folder):
    method = GradCAM(upsample=False)
    claims = [Claim("half", EnergyInside(RegionMask(Grid(2), [1, 3])))]
    result = certified(folder, claims, ["a"], method, size=28)[0]["claims"]
    assert result.masks.shape[1:] == result.mean.shape
    assert result.mean.shape == (7, 7)
    assert result.covered(0) == 4 / 7  # the column in the middle lies on the border of the cells


class Bright(ImageMask):
    """A mask of somebody else's: where the clean image is bright."""

    def __init__(self, above):
        self.above = above

    def pixels(self, image, image_id):
        return image[0] > torch.as_tensor(self.above)

    def in_words(self):
        return "the bright part of the image"


def test_a_mask_of_your_own_is_found_in_the_clean_image(folder):
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    results = certified(folder, [Claim("bright", EnergyInside(Bright(0.5)), at_least=0.2)], ["a", "b"])
    for image, result in zip(images, results, strict=True):
        assert torch.equal(result["claims"].masks[0], image[0] > 0.5)
        assert "the bright part of the image" in result["claims"].statement()
        assert [quantity.level for quantity in quantities_of(result["claims"], "claims")] == [0, 0]


class Broken(Bright):
    """A mask whose code fails."""

    def pixels(self, image, image_id):
        return {}[image_id]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Broken(0.5), "the mask of image a cannot be found: KeyError: 'a'"),
        (Bright(2.0), "the mask of image a is empty"),
        (Bright([[[0.5]], [[0.5]], [[0.5]]]), r"must be boolean, with 8 x 8 pixels, got torch.bool \(3, 8, 8\)"),
    ],
)
def test_masks_of_your_own_that_are_none_are_refused(mask, words):
    with pytest.raises(InputError, match=words):
        mask.placed(IMAGE, "a")
