"""Localisation against counts pixel by pixel, and against maps whose numbers are known."""

import math
import pickle

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from lit_certattr.errors import InputError
from lit_certattr.metrics import EnergyInMask, GridPG, PointingGame, RelevanceRankAccuracy
from lit_certattr.metrics.functional import (
    box_masks,
    cell_masks,
    centre_map,
    energy_in_mask,
    gridpg,
    pointing_game,
    random_maps,
    relevance_rank_accuracy,
    removal_ranks,
)


def random_case(seed, count=6, height=8, width=10):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, height, width, generator=generator)
    masks = torch.rand(count, height, width, generator=generator) < 0.2
    masks[:, 0, 0] = True
    return maps, masks


def energy_reference(values, mask):
    inside = total = 0.0
    for row, mask_row in zip(values.tolist(), mask.tolist(), strict=True):
        for value, here in zip(row, mask_row, strict=True):
            total += max(value, 0.0)
            inside += max(value, 0.0) * here
    return inside / total if total else 0.0


def pointing_reference(values, mask, tolerance):
    height, width = values.shape
    best = max(range(height * width), key=lambda place: (float(values.flatten()[place]), -place))
    return any(
        bool(mask[i, j]) and math.dist((i, j), divmod(best, width)) <= tolerance
        for i in range(height)
        for j in range(width)
    )


@given(st.integers(0, 2**31), st.sampled_from([0, 1, 2, 5]))
def test_each_image_equals_the_reference(seed, tolerance):
    maps, masks = random_case(seed, count=2, height=5, width=6)
    energy, pointing = energy_in_mask(maps, masks), pointing_game(maps, masks, tolerance)
    centre = centre_map(5, 6)
    for i in range(len(maps)):
        assert float(energy.map[i]) == pytest.approx(energy_reference(maps[i], masks[i]), abs=1e-6)
        assert float(energy.centre[i]) == pytest.approx(energy_reference(centre, masks[i]), abs=1e-6)
        assert float(energy.uniform[i]) == pytest.approx(energy_reference(torch.ones(5, 6), masks[i]), abs=1e-6)
        assert bool(pointing.map[i]) == pointing_reference(maps[i], masks[i], tolerance)
        assert bool(pointing.centre[i]) == pointing_reference(centre, masks[i], tolerance)
        hits = sum(pointing_reference(one.reshape(5, 6), masks[i], tolerance) for one in torch.eye(30))
        assert float(pointing.uniform[i]) == pytest.approx(hits / 30)


@given(st.integers(0, 2**31))
def test_rank_accuracy_equals_a_count_in_the_sorted_list(seed):
    maps, masks = random_case(seed, count=3, height=5, width=6)
    maps = maps.round()  # with ties
    found = relevance_rank_accuracy(maps, masks)
    for i in range(3):
        order = sorted(range(30), key=lambda place: (-float(maps[i].flatten()[place]), place))
        size = int(masks[i].sum())
        hits = sum(bool(masks[i].flatten()[place]) for place in order[:size])
        assert float(found.map[i]) == pytest.approx(hits / size)
        assert float(found.uniform[i]) == pytest.approx(size / 30)


def test_gridpg_of_known_maps():
    cells = torch.arange(4)
    masks = cell_masks(cells, 6, 8)
    assert torch.equal(masks.sum(0), torch.ones(6, 8, dtype=torch.long))  # the cells tile the mosaic
    assert masks[1, :3, 4:].all()
    assert masks[2, 3:, :4].all()
    own, spread = masks.float(), torch.ones(4, 6, 8)
    assert gridpg(own, cells).map.tolist() == [1, 1, 1, 1]
    assert gridpg(own, cells.flip(0)).map.tolist() == [0, 0, 0, 0]
    assert gridpg(spread, cells).map.tolist() == pytest.approx([0.25] * 4)
    mixed = gridpg(
        own - 5 * masks.roll(2, 0).float() + 0.5 * masks.roll(1, 0).float(), cells
    )  # negative mass is no mass
    assert mixed.map.tolist() == pytest.approx([1 / 1.5] * 4)  # negative mass is no mass
    assert mixed.centre.tolist() == pytest.approx([0.25] * 4)
    assert mixed.uniform.tolist() == [0.25] * 4


def test_random_maps_reach_chance():
    maps = random_maps(20, 20, [f"image-{i}" for i in range(400)])
    masks = torch.zeros(400, 20, 20, dtype=torch.bool)
    masks[:, :5, :8] = True
    for found in (energy_in_mask(maps, masks), pointing_game(maps, masks, 2), relevance_rank_accuracy(maps, masks)):
        error = 4 * (float(found.uniform[0]) / 400) ** 0.5
        assert float(found.map.mean()) == pytest.approx(float(found.uniform[0]), abs=error)


def test_a_centred_object_is_found_by_a_map_that_saw_nothing():
    masks = torch.zeros(1, 21, 21, dtype=torch.bool)
    masks[:, 7:14, 7:14] = True
    found = pointing_game(torch.eye(21)[None], masks)
    assert found.centre == 1
    assert found.uniform == pytest.approx(49 / 441)
    assert found.map == 0  # of the tied maxima the first pixel counts
    energy = energy_in_mask(torch.ones(1, 21, 21), masks)
    assert energy.centre > 2 * energy.uniform


def test_maps_that_point_nowhere_count_as_zero_and_are_counted():
    maps = torch.stack([torch.zeros(4, 4), -torch.ones(4, 4), torch.full((4, 4), 2.0), torch.eye(4)])
    masks = torch.ones(4, 4, 4, dtype=torch.bool)
    energy, pointing = energy_in_mask(maps, masks), pointing_game(maps, masks)
    assert (energy.map.tolist(), energy.empty.tolist()) == ([0, 0, 1, 1], [1, 1, 0, 0])
    assert (pointing.map.tolist(), pointing.empty.tolist()) == ([0, 0, 0, 1], [1, 1, 1, 0])
    ranks = relevance_rank_accuracy(maps, masks)
    assert (ranks.map.tolist(), ranks.empty.tolist()) == ([0, 0, 0, 1], [1, 1, 1, 0])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale):
    maps, masks = random_case(0)
    assert torch.allclose(energy_in_mask(maps * scale, masks).map, energy_in_mask(maps, masks).map, atol=1e-6)


def test_boxes_cover_the_pixels_whose_centre_they_hold():
    boxes = [torch.tensor([[1.0, 0.0, 3.0, 2.0], [5.4, 2.6, 6.4, 3.6]]), torch.tensor([[0, 0, 7, 4]])]
    masks = box_masks(boxes, 4, 7)
    assert masks[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2], [3, 5]]
    assert masks[1].all()
    assert not box_masks([torch.empty(0, 4)], 4, 7).any()


def test_classes_are_means_over_images_whatever_the_batches():
    maps, masks = random_case(1)
    grids = maps[:, :, :10]
    cases = [
        (GridPG, {}, (grids, torch.tensor([0, 1, 2, 3, 0, 1])), lambda: gridpg(grids, [0, 1, 2, 3, 0, 1])),
        (PointingGame, {"tolerance": 1}, (maps, masks), lambda: pointing_game(maps, masks, 1)),
        (EnergyInMask, {}, (maps, masks), lambda: energy_in_mask(maps, masks)),
        (RelevanceRankAccuracy, {}, (maps, masks), lambda: relevance_rank_accuracy(maps, masks)),
    ]
    for kind, settings, arguments, reference in cases:
        whole, parts = kind(**settings), kind(**settings)
        whole.update(*arguments)
        for begin, end in ((4, 6), (0, 1), (1, 4)):
            parts.update(*(argument[begin:end] for argument in arguments))
        expected = reference()
        name = whole.names[0]
        assert whole.compute() == parts.compute()
        values = [float(value) for value in whole.compute().values()]
        assert values == pytest.approx([float(part.mean()) for part in expected], abs=1e-6)
        assert list(whole.compute()) == [name, f"{name}_centre", f"{name}_uniform", f"{name}_empty"]
        assert pickle.loads(pickle.dumps(whole)).compute() == whole.compute()
        assert kind(**settings).half().set_dtype(torch.float16).total.dtype == torch.int64
        whole.plot()
    plt.close("all")


def test_in_a_collection_the_names_stay_apart():
    maps, masks = random_case(2)
    collection = MetricCollection({"near": PointingGame(0), "far": PointingGame(5), "energy": EnergyInMask()})
    collection.update(maps, masks)
    values = collection.compute()
    assert values["far_pointing_game"] >= values["near_pointing_game"]
    assert values["energy_energy_in_mask"] == energy_in_mask(maps, masks).map.mean()


def test_ranks_break_ties_by_index():
    maps = torch.tensor([[[2.0, 5.0], [5.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert removal_ranks(maps).tolist() == [[[2, 0], [1, 3]], [[0, 1], [2, 3]]]


def test_the_random_map_of_an_image_depends_on_its_id_and_the_seed_alone():
    one, two = random_maps(4, 5, ["a", "b"]), random_maps(4, 5, ["b", "c"])
    assert torch.equal(one[1], two[0])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], random_maps(4, 5, ["a"], seed=1)[0])


MAP, MASK = torch.ones(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_in_mask(MAP * torch.nan, MASK), "finite"),
        (lambda: energy_in_mask(MAP[0], MASK), r"must be a float tensor \[B, H, W\]"),
        (lambda: energy_in_mask(MAP, MASK[:, :3]), "masks must be boolean"),
        (lambda: energy_in_mask(MAP, MASK.float()), "masks must be boolean"),
        (lambda: pointing_game(MAP, ~MASK), "mask 0 is empty"),
        (lambda: pointing_game(MAP, MASK, -1), "tolerance must be"),
        (lambda: PointingGame(0.5), "tolerance must be"),
        (lambda: gridpg(MAP, [4]), "cells must be 0, 1, 2 or 3"),
        (lambda: gridpg(MAP, [0, 1]), "one cell per map"),
        (lambda: gridpg(torch.ones(1, 3, 4), [0]), "even sides"),
        (lambda: box_masks([torch.ones(4)], 2, 2), "boxes must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
