"""Partitions: what counts as one, what is said about it, and that it depends on nothing but the clean image."""

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.partitions import as_masks, check_partition, count_regions, in_words, partition_hash, spread
from lit_certattr.regions import Felzenszwalb, Grid, Superpixels

OVERLAPPING = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], dtype=torch.bool)


def test_cells_of_a_grid_differ_by_a_pixel_at_most():
    labels = Grid(3)(torch.zeros(1, 8, 10), "any")
    assert labels.unique().tolist() == list(range(9))
    heights = [int((labels[:, 0] == label).sum()) for label in (0, 3, 6)]
    widths = [int((labels[0] == label).sum()) for label in (0, 1, 2)]
    assert sorted(heights) == [2, 3, 3]
    assert sorted(widths) == [3, 3, 4]


def test_grid_finer_than_the_image_is_refused():
    with pytest.raises(InputError, match="at most 4"):
        Grid(5)(torch.zeros(3, 4, 9), "small")


@pytest.mark.parametrize("regions", [Superpixels(count=12), Felzenszwalb(min_size=20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_superpixels_are_a_fixed_function_of_the_image(regions, channels):
    image = torch.rand(channels, 32, 40, generator=torch.Generator().manual_seed(3))
    labels = regions(image, "a")
    assert torch.equal(labels, regions(image.clone(), "another id"))
    assert torch.equal(check_partition(labels, (32, 40), "image"), labels)
    assert not torch.equal(labels, regions(image.flip(-1), "a"))


@pytest.mark.parametrize("regions", [Superpixels(), Felzenszwalb()])
def test_constant_image_has_superpixels(regions):
    assert count_regions(check_partition(regions(torch.zeros(3, 24, 24), "black"), (24, 24), "black")) >= 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grid(0),
        lambda: Grid(2.5),
        lambda: Superpixels(count=0),
        lambda: Superpixels(compactness=0),
        lambda: Superpixels(sigma=float("nan")),
        lambda: Felzenszwalb(scale=-1.0),
        lambda: Felzenszwalb(min_size=0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize(
    ("partition", "match"),
    [
        (torch.zeros(4, 4), "int64 labels"),
        (torch.zeros(4, 5, dtype=torch.int64), "4 x 4"),
        (torch.zeros(4, 4, dtype=torch.bool), "shape"),
        (torch.full((4, 4), -1), "no region"),
        (torch.full((4, 4), -2), "at least -1"),
        (torch.zeros(0, 4, 4, dtype=torch.bool), "no region"),
        (torch.tensor([[0, 0, 2, 2]] * 4), "region 1 of cat is empty"),
        (torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]).bool(), "region 1 of cat is empty"),
    ],
)
def test_what_is_no_partition_is_refused(partition, match):
    with pytest.raises(InputError, match=match):
        check_partition(partition, (4, 4), "cat")


def test_more_regions_than_memory_holds_are_refused():
    with pytest.raises(InputError, match="more than the 1024"):
        check_partition(torch.arange(512 * 512).view(512, 512), (512, 512), "cat")


def test_pixels_without_a_region_and_overlap_are_said():
    assert in_words(OVERLAPPING) == (
        "2 regions; 25.0 % of the pixels lie in no region; 25.0 % of the pixels lie in several regions"
    )
    assert in_words(Grid(2)(torch.zeros(1, 4, 4), "any")) == "4 regions"


def test_labels_and_masks_say_the_same():
    labels = torch.tensor([[0, 1, -1], [1, 1, 2]])
    masks = as_masks(labels)
    assert masks.sum().item() == 5
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(spread(values, labels), spread(values, masks))
    assert spread(values, labels).shape == (2, 2, 3)
    assert spread(values, labels)[0, 0].isnan().tolist() == [False, False, True]


def test_spread_shows_the_first_of_overlapping_regions_and_nothing_outside():
    assert spread(torch.tensor([7, 8]), OVERLAPPING).tolist() == [[7, 7, 8, 0]]
    assert spread(torch.tensor([True, True]), OVERLAPPING).tolist() == [[True, True, True, False]]


def test_hash_tells_shapes_and_kinds_apart():
    labels = torch.zeros(2, 8, dtype=torch.int64)
    others = [labels.view(4, 4), labels.view(1, 2, 8).bool(), labels + 1]
    assert len({partition_hash(one) for one in [labels, *others]}) == 4
