"""A table with one row per image: pictures of image, map and certified pixels beside the numbers of that image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.certificates.capabilities import LabelsPixels
from lit_certattr.comparison.reading import RunNumbers
from lit_certattr.metrics.naming import PREFIX, metric_name
from lit_certattr.partitions import spread
from lit_certattr.records.run_directory import Record, RunDirectory

Picture = npt.NDArray[np.uint8]
_SIDE = 128
"""Pixels of the shorter side of a picture, at least; small images are enlarged pixel by pixel."""
_IMPORTANT, _UNIMPORTANT, _STRENGTH = (0.84, 0.37, 0.0), (0.0, 0.45, 0.70), 0.6


def image_table(
    directory: RunDirectory, ids: Sequence[str], run: RunNumbers, radius: float
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows, with pictures as arrays ``[H, W, 3]``.

    The pictures are the image, its map without noise, and the image with its certified pixels at the middle level of K:
    orange where important, blue where unimportant, without colour where nothing is certified.

    Args:
        directory: The run.
        ids: Images of the rows.
        run: The numbers of the run.
        radius: Radius of the certified pixels.
    """
    rows: list[dict[str, Any]] = []
    images = {image[0]: image for image in run.images}
    for record in directory.records(ids):
        facts, image = {name: record.facts.get(name) for name in ("label", "prediction")}, images[record.id]
        numbers = {one.key: own[image] for one, own in run.values.items() if image in own}
        rows.append({"id": record.id, **facts, **_pictures(record, radius), **numbers})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return columns, [[row.get(column) for column in columns] for row in rows]


def _pictures(record: Record, radius: float) -> dict[str, Picture]:
    image = _colours(record.image)
    partition = next((one.partition for one in record.results.values() if one.partition is not None), None)
    clean = record.clean_map if partition is None else spread(record.clean_map, partition)[0]
    found = {"image": _enlarged(image), "map": _enlarged(_heat(clean))}
    for name, result in record.results.items():
        if isinstance(result, LabelsPixels):
            order = sorted(range(len(result.sizes)), key=lambda place: -result.sizes[place])
            level = order[len(order) // 2]
            labels = result.labels_at(radius)[level]
            if partition is not None:  # pixels in no region are NaN, and have no label
                labels = spread(labels.float(), partition)[0].nan_to_num(nan=-1.0)
            title = metric_name("labels", radius, result.top_k[level])
            column = f"{PREFIX}{title}" if name == result.kind else f"{PREFIX}{name}_{title}"
            found[column] = _enlarged(_painted(image, labels))
    return found


def _colours(image: Tensor) -> npt.NDArray[np.float32]:
    pixels: npt.NDArray[np.float32] = image.float().clamp(0, 1).permute(1, 2, 0).numpy()
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2)


def _heat(values: Tensor) -> npt.NDArray[np.float32]:
    """Small values white, large ones black; negative ones blue, if there are any."""
    values = values.float().nan_to_num()
    top = float(torch.quantile(values.abs().flatten()[:: 1 + values.numel() // 10**6], 0.995)) or 1.0
    scaled = (values / top).clamp(-1, 1).numpy()
    if (scaled < 0).any():
        rest = 1 - np.abs(scaled)
        return np.stack([np.where(scaled < 0, rest, 1), rest, np.where(scaled < 0, 1, rest)], axis=2)
    return np.repeat(1 - scaled[:, :, None], 3, axis=2)


def _painted(image: npt.NDArray[np.float32], labels: Tensor) -> npt.NDArray[np.float32]:
    """The image with colours over its certified pixels; maps of a lower resolution cover it in rectangles."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(size) * own // size for size, own in zip((height, width), labels.shape, strict=True))
    spread_labels = labels.numpy()[rows][:, columns]
    painted = image.copy()
    for label, colour in ((1, _IMPORTANT), (0, _UNIMPORTANT)):
        here = spread_labels == label
        painted[here] = (1 - _STRENGTH) * painted[here] + _STRENGTH * np.asarray(colour, dtype=np.float32)
    return painted


def _enlarged(picture: npt.NDArray[np.float32]) -> Picture:
    factor = max(1, -(-_SIDE // min(picture.shape[:2])))
    return (255 * picture).round().astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
