"""Certified grid pointing game: the cells of the pixels that are certified important."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import centre_map
from lit_certattr.metrics.functional.certified import as_list, at_level, check_level, check_radius
from lit_certattr.metrics.functional.localisation import cell_masks
from lit_certattr.smoothing import top_k_mask


class CertifiedLocalisation(NamedTuple):
    """Numbers of each mosaic, float32 ``[B]``.

    Attributes:
        map: Share of the certified-important pixels that lie in the cell; 0 where there are none.
        centre: The same of the K pixels nearest to the centre of the mosaic.
        uniform: The same of all pixels, i.e. chance.
        no_support: 1 where no pixel is certified important.
        support: Pixels certified important: a share of few pixels says little.
    """

    map: Tensor
    centre: Tensor
    uniform: Tensor
    no_support: Tensor
    support: Tensor


def certified_gridpg(
    results: Result | Sequence[Result],
    cells: Tensor | Sequence[int],
    radius: float = 0.0,
    level: int = 0,
) -> CertifiedLocalisation:
    """Share of the pixels certified important that lie in the cell that shows the explained class.

    With the confidence of the certificate, no perturbation up to ``radius`` removes one of these pixels from the
    majority's top K; the certificate does not say that other pixels stay out of it.

    Args:
        results: One result with labels of pixels, or one per map, of 2 x 2 mosaics, each of the class of one cell.
        cells: Which cell, one a result: 0 and 1 above, 2 and 3 below, from the left.
        radius: Budget in pixel l2 units: a pixel counts if its certified radius is larger; at 0 every label counts.
        level: Which of the certificate's ``top_k`` levels.

    Returns:
        The share of each mosaic, beside the baselines and the size of what it is a share of.

    Raises:
        InputError: If an argument is out of range, a result is of another kind, or its map has odd sides.

    Reference: Anani, Lorenz, Fritz, Schiele, ICML 2025, who evaluate the upper left cell and give no support.
    """
    check_radius(radius), check_level(level)
    certified = [at_level(result, level) for result in as_list(results)]
    if not certified or len(cells) != len(certified):
        raise InputError(f"cells must name one cell per result, got {len(cells)} for {len(certified)} results")
    rows = []
    for result, cell in zip(certified, torch.as_tensor(cells).tolist(), strict=True):
        labels = result.labels_at(radius)[level]
        height, width = labels.shape
        inside = cell_masks([cell], height, width)[0]
        important = labels == 1
        central = top_k_mask(centre_map(height, width), result.sizes[level])
        support = int(important.sum())
        rows.append(
            (
                int((important & inside).sum()) / max(support, 1),
                int((central & inside).sum()) / result.sizes[level],
                float(inside.float().mean()),
                float(support == 0),
                float(support),
            )
        )
    return CertifiedLocalisation(*torch.tensor(rows).unbind(1))
