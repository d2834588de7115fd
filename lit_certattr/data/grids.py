"""Mosaics of images of known classes, for the grid pointing game."""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import load_network
from lit_certattr.models.modes import frozen

CELLS = 4


class GridMosaics(ImageDataModule):
    """2 x 2 mosaics of images of four different classes that a network recognises with confidence.

    Every mosaic appears four times in the test set, once for the class of each cell, in the order of the cells: all
    four are evaluated, so that a preference for a corner becomes visible. Each image is used once. The id of a sample,
    ``grid-1a2b3c4d5e6f7a8b-cell2``, is computed from the ids of its four images and the cell.

    Args:
        data: A labelled data set; its test images are used, except images without a label.
        network: Selects the images: it must predict the label of an image with at least ``min_confidence``. Its mode,
            flags and gradients stay unchanged. A string is the path of a checkpoint of ``train.py fit``.
        num_grids: Number of mosaics; ``None`` for as many as possible. A larger number keeps the mosaics of a smaller
            one and adds more.
        min_confidence: Smallest softmax probability of the label, in [0, 1].
        shrink: Halve the images, so that a mosaic has the size of one image: for networks that take one size only.
            They then see objects at half the size at which the images were selected.
        seed: Determines which images form a mosaic, and in which cell each lies.
        batch_size: Mosaics per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.

    Attributes:
        cells: The cell of each test sample: 0 top left, 1 top right, 2 bottom left, 3 bottom right; known after
            ``setup``.
        parts: The ids of the four images of each test sample, in the order of the cells; known after ``setup``.

    Raises:
        InputError: If a number is out of range; on ``setup``, if the images have no labels or are too few.

    Reference: Boehle, Fritz, Schiele, CVPR 2021; Rao, Boehle, Schiele, CVPR 2022 (probability 0.99, 500 mosaics).
    """

    cells: list[int]
    parts: list[tuple[str, ...]]

    def __init__(
        self,
        data: ImageDataModule,
        network: nn.Module | str,
        num_grids: int | None = None,
        min_confidence: float = 0.99,
        shrink: bool = False,
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        if num_grids is not None and num_grids < 1:
            raise InputError(f"num_grids must be at least 1, or null for as many as possible, got {num_grids}")
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence must lie in [0, 1], got {min_confidence}")
        self.data, self.network = data, load_network(network) if isinstance(network, str) else network
        self.num_grids, self.min_confidence, self.shrink, self.seed = num_grids, min_confidence, shrink, seed
        self.num_classes, self.class_names = data.num_classes, data.class_names
        channels, height, width = data.image_shape
        if shrink and (height % 2 or width % 2):
            raise InputError(f"shrink halves images, which needs even sides, got {height} x {width}")
        scale = 1 if shrink else 2
        self.image_shape = (channels, scale * height, scale * width)

    def prepare_data(self) -> None:
        """Let the data set download missing files."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Compute the confidence of the network in every test image and form the mosaics; once.

        Raises:
            InputError: If no image has a label, or too few are recognised for ``num_grids`` mosaics.
        """
        if self.test_set is not None:
            return
        self.data.setup("test")
        self.class_names = self.data.class_names  # some data sets know them only now
        images = self.data.predict_set
        if set(images.targets) <= {NO_LABEL}:
            raise InputError(f"mosaics need labels, and no image of {type(self.data).__name__} has one")
        sure = confident(self.network, self.data, self.min_confidence)
        grids = mosaics([images.targets[index] for index in sure], self.seed)
        if not grids or len(grids) < (self.num_grids or 1):
            raise InputError(
                f"{self.num_grids or 1} mosaics of 4 classes need more images: {len(grids)} can be made of the "
                f"{len(sure)} of {len(images)} that are recognised with min_confidence={self.min_confidence:g}"
            )
        chosen = [[sure[place] for place in grid] for grid in grids[: self.num_grids]]
        self.parts = [tuple(images.ids[index] for index in grid) for grid in chosen for _ in range(CELLS)]
        self.cells = [cell for _ in chosen for cell in range(CELLS)]
        ids = [f"{_grid_id(part)}-cell{cell}" for part, cell in zip(self.parts, self.cells, strict=True)]
        targets = [images.targets[grid[cell]] for grid in chosen for cell in range(CELLS)]
        self.test_set = SampleSet(MosaicImages(images, chosen, self.shrink), targets, ids)


class MosaicImages:
    """Mosaics that are assembled on access, each one four times in a row.

    Args:
        images: The images of which the mosaics consist.
        grids: Indices of the four images of each mosaic, in the order of the cells.
        shrink: Average over 2 x 2 pixels, so that a mosaic has the size of one image.
    """

    def __init__(self, images: SampleSet, grids: Sequence[Sequence[int]], shrink: bool) -> None:
        self.images, self.grids, self.shrink = images, grids, shrink

    def __getitem__(self, index: int) -> Tensor:
        first, second, third, fourth = (self.images[part].image for part in self.grids[index // CELLS])
        mosaic = torch.cat([torch.cat([first, second], dim=2), torch.cat([third, fourth], dim=2)], dim=1)
        return F.avg_pool2d(mosaic, 2) if self.shrink else mosaic


def confident(network: nn.Module, data: ImageDataModule, min_confidence: float) -> list[int]:
    """Indices of the images of ``data.predict_set`` whose label the network predicts with confidence.

    Args:
        network: From images in [0, 1] to logits; its mode and flags stay unchanged.
        data: The data set, after ``setup``.
        min_confidence: Smallest softmax probability of the label, in [0, 1].
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    found: list[Tensor] = []
    with torch.inference_mode(False), torch.no_grad(), frozen(network):
        for batch in data.predict_dataloader():
            probabilities = network(batch.image.to(device)).float().softmax(1)
            highest = probabilities.max(1)
            found.append((highest.values >= min_confidence) & (highest.indices == batch.target.to(device)))
    return torch.cat(found).nonzero()[:, 0].tolist()


def mosaics(targets: Sequence[int], seed: int) -> list[list[int]]:
    r"""As many groups of four images of different classes as possible, each image in at most one group.

    Each step takes one image of each of the four classes with the most images left. This gives the largest number m of
    groups, which is the largest m with :math:`\sum_c \min(n_c, m) \ge 4m` (no class can be in a group twice).

    Args:
        targets: Class of each image.
        seed: Determines the images of a group, their cells and the order of the groups.

    Returns:
        Indices of the four images of each group, in the order of the cells; the groups in random order.

    Example:
        >>> len(mosaics([0, 0, 1, 1, 2, 2, 3, 3, 4], seed=0))
        2
    """
    # RandomState is the one generator of NumPy whose stream is frozen; a mosaic must survive upgrades.
    random = np.random.RandomState(seed)
    left: dict[int, list[int]] = defaultdict(list)
    for index in random.permutation(len(targets)).tolist():
        left[int(targets[index])].append(index)
    heap = [(-len(left[label]), random.random_sample(), label) for label in sorted(left)]  # ties at random
    heapq.heapify(heap)
    groups = []
    while len(heap) >= CELLS:
        labels = [heapq.heappop(heap)[2] for _ in range(CELLS)]
        groups.append([left[labels[place]].pop() for place in random.permutation(CELLS)])
        for label in labels:
            if left[label]:
                heapq.heappush(heap, (-len(left[label]), random.random_sample(), label))
    return [groups[place] for place in random.permutation(len(groups))]


def _grid_id(parts: Sequence[str]) -> str:
    return "grid-" + hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).hexdigest()
