"""The images of the story about cells: their masks must be where the objects are, and no coin in both splits."""

import csv
import json

import numpy as np
from PIL import Image

from benchmarks.cell_images import OBJECT, SIDE, blood_cells, coins, write
from lit_certattr.data import ImageFolder
from lit_certattr.regions import MaskFolder


def smear(folder):
    """Two smears with one white cell each, drawn in blue where its box says."""
    (folder / "images").mkdir()
    rows = []
    for name, split, (x0, y0, x1, y1) in (("one", "train", (30, 40, 90, 110)), ("two", "test", (200.5, 100, 280, 190))):
        pixels = np.full((240, 320, 3), 255, np.uint8)
        pixels[int(y0) : int(y1), int(x0) : int(x1)] = (0, 0, 255)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg", quality=98)
        rows.append([name, split, "WBC", x0, y0, x1, y1])
        rows.append([name, split, "RBC", 0, 0, 30, 30])
    with (folder / "boxes.csv").open("w") as file:
        csv.writer(file).writerows([["image", "split", "label", "x0", "y0", "x1", "y1"], *rows])
    return folder


def test_boxes_are_where_the_cells_are(tmp_path):
    counts = write(blood_cells(smear(tmp_path)), tmp_path / "lesions")
    assert counts["train/cell"] == counts["test/cell"] == 2
    assert counts["train/other"] >= 1
    data = ImageFolder(str(tmp_path / "lesions" / "images"), size=SIDE)
    data.setup("test")
    masks = MaskFolder(str(tmp_path / "lesions" / "masks"))
    for image, label, image_id in data.predict_set:
        blue = (image[2] - image[0]) > 0.5
        if data.class_names[label] == OBJECT:
            assert (masks(image, image_id)[0] ^ blue).float().mean() < 0.06  # the pixels of the border
            assert blue.any()
        else:
            assert not blue.any()


def test_masks_of_coins_are_their_pixels(tmp_path):
    counts = write(coins(40), tmp_path)
    assert sum(counts.values()) == 40
    assert sum(count for name, count in counts.items() if name.endswith(OBJECT)) == 20
    annotations = json.loads((tmp_path / "masks" / "instances.json").read_text())["annotations"]
    assert len(annotations) == 20
    data = ImageFolder(str(tmp_path / "images"), size=SIDE)
    data.setup("test")
    masks = MaskFolder(str(tmp_path / "masks"))
    for image, label, image_id in data.predict_set:
        if data.class_names[label] == OBJECT:
            assert 0.05 < float(masks(image, image_id).float().mean()) < 0.5
