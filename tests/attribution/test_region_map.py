"""Maps of regions: the reference, and regions that never follow a noisy image."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lit_certattr.attribution import Gradient, InputXGradient, RegionMap, SmoothGrad
from lit_certattr.errors import InputError
from lit_certattr.partitions import as_masks
from lit_certattr.regions import Felzenszwalb, Grid, Regions, Superpixels
from lit_certattr.smoothing import GaussianNoise

MASKS = torch.zeros(2, 8, 8, dtype=torch.bool)
MASKS[0, :4], MASKS[1, 2:6, :5] = True, True


class Overlapping(Regions):
    """Two regions that overlap, and pixels in none."""

    def __call__(self, image, image_id):
        return MASKS


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(256, 3)).eval()


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("regions", [Grid(3), Superpixels(count=9), Felzenszwalb(min_size=6), Overlapping()])
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_values_are_those_of_a_loop_over_the_regions(net, images, regions, pooling):
    targets, base = torch.tensor([0, 1, 2, 0]), InputXGradient("sum")
    method = RegionMap(base, regions, pooling).placed(images[0], "a")
    values, maps = method(net, images, targets), base(net, images, targets)
    masks = as_masks(method.partition).numpy()
    assert values.shape == (4, 1, len(masks))
    for number, mask in enumerate(masks):
        pool = getattr(np, pooling)
        expected = [pool(one[mask], dtype=np.float64) for one in maps.numpy()]
        np.testing.assert_allclose(values[:, 0, number], expected, rtol=1e-4, atol=1e-6)


def test_regions_stay_those_of_the_clean_image(net, images):
    method, targets = RegionMap(Gradient(), Superpixels(count=9)), torch.tensor([1])
    placed, other = method.placed(images[0], "a"), method.placed(images[1], "b")
    assert not torch.equal(placed.partition, other.partition)
    held = placed.partition.clone()
    alone = placed(net, images[1:2], targets)
    assert torch.equal(placed.partition, held)
    assert placed.placed(images[1], "b") is placed
    assert alone.shape[2] == int(held.max()) + 1
    assert torch.allclose(placed(net, images, targets.expand(4))[1], alone[0], atol=1e-6)
    assert method.partition is None


def test_regions_of_the_image_need_the_clean_image(net, images):
    method = RegionMap(Gradient(), Superpixels(count=9))
    for unplaced in (method, SmoothGrad(method, GaussianNoise(0.1), draws=2)):
        with pytest.raises(InputError, match=r"call placed\(image, image_id\) with the clean image"):
            unplaced(net, images, torch.zeros(4, dtype=torch.long))


def test_a_grid_needs_no_image(net, images):
    targets, method = torch.zeros(4, dtype=torch.long), RegionMap(Gradient(), Grid(2))
    assert torch.equal(method(net, images, targets), method.placed(images[0], "a")(net, images, targets))


def test_placed_methods_of_other_regions_are_other_methods(images):
    method = RegionMap(Gradient(), Superpixels(count=9))
    placed, other = method.placed(images[0], "a"), method.placed(images[1], "b")
    assert repr(placed) == repr(method)
    assert placed == method.placed(images[0], "a")
    assert len({id(one) for one in (placed, other, method)}) == 3
    assert placed != other
    assert placed != method
    assert method == RegionMap(Gradient(), Superpixels(count=9))
    for copied in (copy.deepcopy(placed), pickle.loads(pickle.dumps(placed))):
        assert copied == placed


def test_gradients_reach_the_image(net, images):
    method = RegionMap(Gradient(), Grid(2), "sum")
    points = images.clone().requires_grad_()
    method(net, points, torch.zeros(4, dtype=torch.long), create_graph=True)[:, 0, 1].sum().backward()
    assert bool((points.grad.flatten(1).norm(dim=1) > 0).all())
    assert not method(net, images, torch.zeros(4, dtype=torch.long)).requires_grad


def test_half_precision_and_autocast_do_not_coarsen_the_sums(net, images):
    method, targets = RegionMap(Gradient(), Grid(2)), torch.zeros(4, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        maps, values = method.base(net, images, targets), method(net, images, targets)
    assert values.dtype == torch.float32
    expected = maps.float().unflatten(2, (2, 4)).unflatten(1, (2, 4)).mean((2, 4)).flatten(1)
    torch.testing.assert_close(values[:, 0], expected)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RegionMap(Gradient(), 7), "regions must be a Regions"),
        (lambda: RegionMap(Gradient(), Grid), "the class Grid"),
        (lambda: RegionMap(7, Grid(2)), "attribution must be"),
        (lambda: RegionMap(Gradient(), Grid(2), "max"), "pooling must be one of mean, sum"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_maps_of_another_size_are_refused(net, images):
    coarse = RegionMap(Gradient(), Grid(2)).placed(torch.zeros(3, 4, 4), "small")
    with pytest.raises(InputError, match=r"needs maps of the size of the regions, \[4, 4\]"):
        coarse(net, images, torch.zeros(4, dtype=torch.long))


def test_a_map_that_is_not_finite_gives_no_value(net, images):
    broken = images.clone()
    broken[0, 0, 0, 0] = torch.nan
    values = RegionMap(InputXGradient("sum"), Grid(2))(net, broken, torch.zeros(4, dtype=torch.long))
    assert bool(values[0].isnan().all())
    assert bool(values[1:].isfinite().all())


def first_channel(model, images, targets):
    return images[:, 0]


class MostlyNone(Regions):
    """One region, and pixels in none."""

    def __call__(self, image, image_id):
        labels = torch.full(image.shape[-2:], -1)
        labels[2:4, 3:6] = 0
        return labels


@pytest.mark.parametrize("regions", [Grid(3), Superpixels(count=9), Overlapping(), MostlyNone()], ids=repr)
def test_the_bits_of_a_map_do_not_depend_on_the_maps_beside_it(regions):
    maps = torch.randn(37, 8, 8, generator=torch.Generator().manual_seed(0))
    method = RegionMap(first_channel, regions).placed(torch.rand(3, 8, 8), "a")
    asked = (nn.Identity(), maps[:, None], torch.zeros(37, dtype=torch.long))
    together = method(*asked)
    for size in (1, 2, 5, 36):
        parts = [method(nn.Identity(), part, asked[2][: len(part)]) for part in maps[:, None].split(size)]
        assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("regions", [Grid(3), Overlapping(), MostlyNone()], ids=repr)
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_cpu_and_an_accelerator_give_the_same_up_to_rounding(net, images, regions, pooling):
    method = RegionMap(Gradient(), regions, pooling).placed(images[0], "a")
    maps = method.base(net, images, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(method._sums_in_order(maps), method._sums_by_product(maps))


class Broken(Regions):
    """Regions whose code fails."""

    def __call__(self, image, image_id):
        return {}[image_id]


def test_regions_whose_code_fails_are_named_with_the_image():
    with pytest.raises(InputError, match="Broken cannot divide image cat: KeyError: 'cat'"):
        RegionMap(Gradient(), Broken()).placed(torch.zeros(1, 4, 4), "cat")
