"""Images of objects with their masks: cut from blood smears with boxes, or coins of scikit-image on other textures."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 48
OBJECT, OTHER = "cell", "other"
Pixels = npt.NDArray[np.uint8]


class Piece(NamedTuple):
    """An image with what an annotation says of its object.

    Attributes:
        split: Folder of the split.
        name: Name of the file, without its extension.
        pixels: The image.
        annotation: ``bbox`` or ``segmentation`` of the object, in pixels of the image; nothing without an object.
    """

    split: str
    name: str
    pixels: Pixels
    annotation: dict[str, Any] | None


def write(pieces: Iterator[Piece], folder: Path) -> dict[str, int]:
    """Write images as folders of classes, and all masks to one file of annotations.

    Args:
        pieces: The images.
        folder: Gets ``images/SPLIT/CLASS/NAME.png`` and ``masks/instances.json``.

    Returns:
        Number of images of each split and class.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: dict[str, int] = defaultdict(int)
    for number, piece in enumerate(pieces):
        kind = OTHER if piece.annotation is None else OBJECT
        name = f"{piece.split}/{kind}/{piece.name}.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece.pixels).save(path)
        counts[f"{piece.split}/{kind}"] += 1
        height, width = piece.pixels.shape[:2]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        if piece.annotation is not None:
            annotations.append({"id": number, "image_id": number, "category_id": 1} | piece.annotation)
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "masks" / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return dict(counts)


def blood_cells(folder: Path, window: int = 160) -> Iterator[Piece]:
    """Square windows of blood smears: with one whole white cell, somewhere in it, or without any part of one.

    Args:
        folder: Holds ``boxes.csv`` and ``images``; the splits are those of the table.
        window: Side of the windows in pixels; they are scaled to :data:`SIDE`.
    """
    generator = np.random.default_rng(0)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (folder / "boxes.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["image"]].append(row)
    for name, boxes in rows.items():
        picture = Image.open(folder / "images" / f"{name}.jpg").convert("RGB")
        corners = [[float(one[key]) for key in ("x0", "y0", "x1", "y1")] for one in boxes if one["label"] == "WBC"]
        places = np.stack(
            np.meshgrid(np.arange(0, picture.width - window, 4), np.arange(0, picture.height - window, 4)), -1
        ).reshape(-1, 2)
        whole, touched = _contained(places, corners, window)
        alone = (whole.sum(1) == 1) & (touched.sum(1) == 1)
        for kind, fitting, most in ((OBJECT, alone, 2), (OTHER, ~touched.any(1), 4)):
            for number, place in enumerate(generator.permutation(np.flatnonzero(fitting))[:most]):
                left, top = places[place]
                cut = picture.resize((SIDE, SIDE), Image.Resampling.BOX, (left, top, left + window, top + window))
                annotation = None
                if kind == OBJECT:
                    x0, y0, x1, y1 = corners[int(whole[place].argmax())]
                    scale = SIDE / window
                    box = [(x0 - left) * scale, (y0 - top) * scale, (x1 - x0) * scale, (y1 - y0) * scale]
                    annotation = {"bbox": [float(round(one, 3)) for one in box]}
                yield Piece(boxes[0]["split"], f"{name}-{number}", np.asarray(cut), annotation)


def _contained(places: npt.NDArray[np.int64], corners: list[list[float]], window: int) -> tuple[Any, Any]:
    """Which windows hold each box wholly, and which touch it, bool ``[windows, boxes]``."""
    boxes = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
    x, y = places[:, :1], places[:, 1:]
    whole = (x <= boxes[:, 0]) & (y <= boxes[:, 1]) & (boxes[:, 2] <= x + window) & (boxes[:, 3] <= y + window)
    touched = (boxes[:, 0] < x + window) & (boxes[:, 2] > x) & (boxes[:, 1] < y + window) & (boxes[:, 3] > y)
    return whole, touched


def coins(num_images: int = 3000) -> Iterator[Piece]:
    """Coins of scikit-image on textures of scikit-image, cut out by their outlines, or the textures alone.

    The test images have coins and parts of the textures that no training image has.

    Args:
        num_images: Images of all splits together, half of them with a coin.
    """
    from skimage import data

    generator = np.random.default_rng(0)
    cut = _cut_coins(data.coins())
    textures = [np.asarray(one(), dtype=np.uint8) for one in (data.brick, data.grass, data.gravel)]
    for number in range(num_images):
        split = ("train", "train", "train", "val", "test")[number % 5]
        own = [coin for place, coin in enumerate(cut) if (place % 4 == 3) == (split == "test")]
        texture = textures[int(generator.integers(len(textures)))]
        half = texture[:256] if split != "test" else texture[256:]
        top, left = (int(generator.integers(side - SIDE + 1)) for side in half.shape)
        pixels = half[top : top + SIDE, left : left + SIDE].copy()
        annotation = None
        if number // 5 % 2 == 0:
            coin, inside = own[int(generator.integers(len(own)))]
            height, width = inside.shape
            y, x = int(generator.integers(SIDE - height + 1)), int(generator.integers(SIDE - width + 1))
            pixels[y : y + height, x : x + width][inside] = coin[inside]
            mask = np.zeros((SIDE, SIDE), dtype=bool)
            mask[y : y + height, x : x + width] = inside
            annotation = {"segmentation": _run_lengths(mask)}
        yield Piece(split, f"{number:04d}", pixels, annotation)


def _cut_coins(picture: Pixels) -> list[tuple[Pixels, npt.NDArray[np.bool_]]]:
    """Each coin at half size with its pixels, from a watershed on the edges as in scikit-image's own example."""
    from scipy import ndimage
    from skimage.filters import sobel
    from skimage.measure import regionprops
    from skimage.segmentation import clear_border, watershed

    markers = np.where(picture < 30, 1, np.where(picture > 150, 2, 0))
    filled = ndimage.binary_fill_holes(watershed(sobel(picture), markers) == 2)
    labels, _ = ndimage.label(clear_border(ndimage.binary_opening(filled, iterations=2)))
    found = []
    for region in regionprops(labels):
        if region.area > 800:
            top, left, bottom, right = region.bbox
            coin = Image.fromarray(picture[top:bottom, left:right])
            size = ((right - left) // 2, (bottom - top) // 2)
            inside = Image.fromarray(region.image_filled.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
            found.append((np.asarray(coin.resize(size, Image.Resampling.BOX)), np.asarray(inside) > 127))
    return found


def _run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Plain run lengths of a mask, down its columns, zeros first."""
    flat = mask.T.flatten()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}
