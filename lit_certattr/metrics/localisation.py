"""Metrics of localisation, each with the image centre and chance beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.metrics.functional.certified import check_level, check_radius
from lit_certattr.metrics.functional.certified_gridpg import certified_gridpg
from lit_certattr.metrics.functional.localisation import (
    Localisation,
    energy_in_mask,
    gridpg,
    pointing_game,
    relevance_rank_accuracy,
)
from lit_certattr.metrics.named_means import NamedMeans


class LocalisationMetric(NamedMeans):
    """Base class of the metrics of localisation: four means over images under one name.

    ``compute`` gives ``name`` (the maps), ``name_centre`` (the image-centre baseline), ``name_uniform`` (chance) and
    ``name_empty`` (share of the maps that point nowhere, which count as 0).

    Args:
        name: Name of the number.
        settings: All settings that the number depends on.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, name: str, *settings: object, **kwargs: Any) -> None:
        super().__init__((name, f"{name}_centre", f"{name}_uniform", f"{name}_empty"), *settings, **kwargs)

    def add_all(self, found: Localisation) -> None:
        """Add the numbers of some images."""
        self.add(torch.stack(found, dim=1))


class GridPG(LocalisationMetric):
    """Grid pointing game: positive mass in the cell that shows the explained class, mean over maps.

    See :func:`~lit_certattr.metrics.functional.gridpg`; :class:`~lit_certattr.data.GridMosaics` makes the images.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = GridPG()
        >>> metric.update(torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), [0])
        >>> metric.compute()
        {'gridpg': tensor(0.7500), 'gridpg_centre': tensor(0.2500),
         'gridpg_uniform': tensor(0.2500), 'gridpg_empty': tensor(0.)}
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("gridpg", **kwargs)

    def update(self, maps: Tensor, cells: Tensor | Sequence[int]) -> None:
        """Add maps ``[B, H, W]`` of mosaics and the cell ``[B]`` whose class each explains."""
        self.add_all(gridpg(maps, cells))


class PointingGame(LocalisationMetric):
    """Share of the maps whose largest value lies on the object, or near it.

    See :func:`~lit_certattr.metrics.functional.pointing_game`.

    Args:
        tolerance: Distance in pixels that still counts as a hit.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If ``tolerance`` is no distance; on update, if maps or masks are unusable.

    Example:
        >>> metric = PointingGame()
        >>> metric.update(torch.tensor([[[3.0, 1.0, 0.0]]]), torch.tensor([[[False, True, False]]]))
        >>> {name: round(float(value), 2) for name, value in metric.compute().items()}
        {'pointing_game': 0.0, 'pointing_game_centre': 1.0, 'pointing_game_uniform': 0.33, 'pointing_game_empty': 0.0}
    """

    def __init__(self, tolerance: int = 0, **kwargs: Any) -> None:
        super().__init__("pointing_game", tolerance, **kwargs)
        pointing_game(torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), tolerance)  # checks
        self.tolerance = tolerance

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Add maps ``[B, H, W]`` and the boolean masks ``[B, H, W]`` of their objects."""
        self.add_all(pointing_game(maps, masks, self.tolerance))


class EnergyInMask(LocalisationMetric):
    """Share of the positive mass that lies in a mask or in boxes, mean over maps.

    See :func:`~lit_certattr.metrics.functional.energy_in_mask`;
    :func:`~lit_certattr.metrics.functional.box_masks` makes masks of boxes.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: On update, if maps or masks are unusable.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("energy_in_mask", **kwargs)

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Add maps ``[B, H, W]`` and the boolean masks ``[B, H, W]`` of their objects."""
        self.add_all(energy_in_mask(maps, masks))


class RelevanceRankAccuracy(LocalisationMetric):
    """Share of the K largest pixels of a map that lie in a mask of K pixels, mean over maps.

    See :func:`~lit_certattr.metrics.functional.relevance_rank_accuracy`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: On update, if maps or masks are unusable.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("relevance_rank_accuracy", **kwargs)

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Add maps ``[B, H, W]`` and the boolean masks ``[B, H, W]`` of their objects."""
        self.add_all(relevance_rank_accuracy(maps, masks))


class CertifiedGridPG(NamedMeans):
    """Share of the certified-important pixels that lie in the cell of the explained class, mean over maps.

    ``compute`` gives ``certified_gridpg``, ``certified_gridpg_centre`` (the K pixels nearest to the centre),
    ``certified_gridpg_uniform`` (chance), ``certified_gridpg_no_support`` (share of the maps without a certified pixel,
    which count as 0) and ``certified_gridpg_support`` (certified pixels per map). See
    :func:`~lit_certattr.metrics.functional.certified_gridpg`.

    Args:
        radius: Budget in pixel l2 units; at 0 every label counts.
        level: Which of the certificate's ``top_k`` levels.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range; on update, if results and cells do not fit.
    """

    higher_is_better = True

    def __init__(self, radius: float = 0.0, level: int = 0, **kwargs: Any) -> None:
        name = "certified_gridpg"
        names = (name, f"{name}_centre", f"{name}_uniform", f"{name}_no_support", f"{name}_support")
        super().__init__(names, radius, level, **kwargs)
        self.radius, self.level = check_radius(radius), check_level(level)

    def update(self, results: Result | Sequence[Result], cells: Tensor | Sequence[int]) -> None:
        """Add the pixel certificates of some mosaics and the cell whose class each explains."""
        self.add(torch.stack(certified_gridpg(results, cells, self.radius, self.level), dim=1))
