"""Annotations of others: drawn where they lie, found by the name of the image, and refused in one line."""

import json

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.regions import MaskFolder

IMAGE = torch.zeros(3, 8, 8)


def content(*annotations, **entry):
    image = {"id": 7, "file_name": "cat/1.jpg", "height": 16, "width": 16} | entry
    return {"images": [image], "annotations": [{"id": 1, "image_id": 7, "category_id": 3} | one for one in annotations]}


def write(folder, value, name="instances_val2017.json"):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return MaskFolder(str(folder))


def counts_of(mask):
    """Plain run lengths, as the format defines them: down the columns, zeros first."""
    flat, counts, value = mask.T.flatten(), [0], False
    for one in flat:
        if bool(one) != value:
            counts.append(0)
            value = bool(one)
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def test_a_box_is_what_its_centres_say(tmp_path):
    masks, numbers = write(tmp_path, content({"bbox": [4, 0, 8, 4]})).numbered(IMAGE, "cat__1.jpg")
    assert numbers == [3]
    assert masks.nonzero()[:, 1:].tolist() == [[row, column] for row in (0, 1) for column in (2, 3, 4, 5)]


def test_polygon_box_and_run_lengths_of_one_rectangle_are_one_mask(tmp_path):
    rectangle = np.zeros((16, 16), bool)
    rectangle[2:10, 4:14] = True
    outlines = [
        {"bbox": [4, 2, 10, 8], "segmentation": []},
        {"segmentation": [[4, 2, 14, 2, 14, 10, 4, 10]]},
        {"segmentation": counts_of(rectangle)},
    ]
    for size in (16, 8, 32):
        masks = write(tmp_path, content(*outlines))(torch.zeros(1, size, size), "cat__1.jpg")
        assert torch.equal(masks[0], masks[1])
        assert torch.equal(masks[0], masks[2])
        assert int(masks[0].sum()) == 80 * (size / 16) ** 2


def test_run_lengths_are_scaled_like_mask_files(tmp_path):
    mask = np.random.default_rng(0).random((16, 16)) < 0.5
    drawn = write(tmp_path, content({"segmentation": counts_of(mask)}))(torch.zeros(1, 5, 5), "cat__1.jpg")[0]
    (tmp_path / "instances_val2017.json").unlink()
    np.save(tmp_path / "a.npy", mask)
    assert torch.equal(drawn, MaskFolder(str(tmp_path))(torch.zeros(1, 5, 5), "a") == 0)


def test_several_polygons_are_one_region_and_objects_may_overlap(tmp_path):
    two = {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4], [8, 8, 16, 8, 16, 16, 8, 16]], "category_id": 9}
    masks, numbers = write(tmp_path, content(two, {"bbox": [0, 0, 16, 16]})).numbered(IMAGE, "cat__1.jpg")
    assert numbers == [9, 3]
    assert masks.sum((1, 2)).tolist() == [4 + 16, 64]


@pytest.mark.parametrize("image_id", ["cat__1.jpg", "cat__1", "cat/1.png"])
def test_an_image_is_found_with_and_without_its_extension(tmp_path, image_id):
    masks = write(tmp_path, content({"bbox": [0, 0, 4, 4]}))
    assert int(masks(IMAGE, image_id).sum()) == 4


def test_a_file_for_one_image_comes_before_the_file_for_all(tmp_path):
    write(tmp_path, content({"bbox": [0, 0, 4, 4]}))
    own = write(tmp_path, content({"bbox": [0, 0, 16, 16]}, file_name="a.png"), "a.json")
    assert int(own(IMAGE, "a").sum()) == 64
    assert int(own(IMAGE, "cat__1.jpg").sum()) == 4


def test_a_file_that_changes_is_read_again(tmp_path):
    assert int(write(tmp_path, content({"bbox": [0, 0, 4, 4]}))(IMAGE, "cat__1").sum()) == 4
    assert int(write(tmp_path, content({"bbox": [0, 0, 16, 16.0]}))(IMAGE, "cat__1").sum()) == 64


def test_the_rest_of_the_image_may_be_a_region(tmp_path):
    write(tmp_path, content({"bbox": [0, 0, 4, 4]}))
    masks, numbers = MaskFolder(str(tmp_path), background=True).numbered(IMAGE, "cat__1")
    assert masks.sum((1, 2)).tolist() == [4, 60]
    assert numbers == [3, 4]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no json", "are no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "lists of objects named images and annotations"),
        ({"images": [], "annotations": [3]}, "lists of objects"),
        ({"images": [{"id": 1}], "annotations": []}, "needs a file_name and an id"),
        ({"images": [], "annotations": [{}]}, "needs an image_id"),
        ({"images": [], "annotations": []}, "have no image named cat/1"),
        (content(), "has no region"),
        (content({"bbox": [0, 0, 4, 4]}, height=0), "height of image"),
        (content({"bbox": [0, 0, 4, 4]}, height=10**9), "height of image"),
        (content({"bbox": [0, 0, 4, 4]}, width=32), "another aspect ratio"),
        (content({"bbox": [0, 0, 4]}), "bbox must be"),
        (content({"bbox": [0, 0, -4, 4]}), "bbox must be"),
        (content({}), "bbox must be a list"),
        (content({"bbox": [0, 0, 4, float("nan")]}), "bbox must hold numbers"),
        (content({"bbox": [0, 0, 4, 10**400]}), "bbox must hold numbers"),
        (content({"bbox": [100, 100, 4, 4]}), "no pixel left"),
        (content({"bbox": [0, 0, 4, 4], "category_id": "cat"}), "category_id"),
        (content({"segmentation": "outline"}), "list of polygons or run lengths"),
        (content({"segmentation": [[1, 2, 3, 4]]}), "at least 3 corners"),
        (content({"segmentation": [[1, 2, 3, 4, 5, "6"]]}), "a polygon must hold numbers"),
        (content({"segmentation": {"size": [16, 16], "counts": "abc"}}), "compressed run lengths"),
        (content({"segmentation": {"size": [16, 16], "counts": [1, 2]}}), "add up to 256"),
        (content({"segmentation": {"size": [16, 16], "counts": [-1, 257]}}), "add up to 256"),
        (content({"segmentation": {"size": [8, 8], "counts": [64]}}), "size must be that of its image"),
    ],
)
def test_annotations_that_mean_nothing_are_refused_in_one_line(tmp_path, value, words):
    with pytest.raises(InputError, match=words) as refused:
        write(tmp_path, value)(IMAGE, "cat__1.jpg")
    assert "\n" not in str(refused.value)


def test_two_entries_for_an_image_and_two_files_for_all_are_refused(tmp_path):
    one = content({"bbox": [0, 0, 4, 4]})
    one["images"].append(one["images"][0] | {"id": 8})
    with pytest.raises(InputError, match="have 2 images named"):
        write(tmp_path, one)(IMAGE, "cat__1.jpg")
    with pytest.raises(InputError, match="several files of annotations"):
        write(tmp_path, one, "instances_train2017.json")(IMAGE, "cat__1.jpg")


def test_too_many_objects_are_refused_before_they_are_drawn(tmp_path):
    many = content(*[{"bbox": [0, 0, 4, 4]}] * 5000)
    with pytest.raises(InputError, match="5000 objects in one image are too many"):
        write(tmp_path, many)(torch.zeros(1, 512, 512), "cat__1.jpg")
