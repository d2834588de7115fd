"""Metrics of deletion and insertion, each with the image centre and a random ranking beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.functional.deletion import RemovalCurves


class RemovalMetric(FixedPointMean):
    """Base class of the metrics of removal: mean areas and mean curves of three rankings.

    ``compute`` gives the mean areas: ``name`` (the maps), ``name_centre`` and ``name_random``. They are updated with
    finished curves, since torchmetrics updates without gradients and would make a network part of the metric.

    Args:
        name: Name of the number.
        position: Where the points of the curves lie.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    plot_upper_bound = 1.0
    axis = "share of the pixels"

    def __init__(self, name: str, position: Sequence[float], **kwargs: Any) -> None:
        numbers = 4 * (len(position) + 1)  # three curves and the removed share, a number at the end of each
        super().__init__(tuple(position), size=numbers, **kwargs)
        self.name, self.position = name, tuple(position)

    def update(self, curves: RemovalCurves) -> None:
        """Add the curves of some images.

        Args:
            curves: Curves of new images.

        Raises:
            InputError: If they have another number of points than the metric.
        """
        points = curves.map.shape[1]
        if points != len(self.position):
            raise InputError(f"{type(self).__name__} averages curves of {len(self.position)} points, got {points}")
        areas = (*curves.areas(), (curves.removed[:, -1] == 0).float())
        values = torch.stack([curves.map, curves.centre, curves.random, curves.removed], dim=1)
        self.add(torch.cat([values, torch.stack(areas, dim=1)[:, :, None]], dim=2).flatten(1))

    def means(self) -> Tensor:
        """Means ``[4, P + 1]``: three curves and the removed share, then their areas and the share of no support."""
        return super().compute().reshape(4, -1)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Mean area of each ranking, a float32 scalar in [0, 1]; NaN before the first image."""
        areas = self.means()[:3, -1]
        return dict(zip((self.name, f"{self.name}_centre", f"{self.name}_random"), areas, strict=True))

    def curves(self) -> RemovalCurves:
        """The mean curves, in the form of the curves of one image."""
        map_, centre, random, removed = self.means()[:, None, :-1]
        position = torch.tensor(self.position, device=map_.device)
        return RemovalCurves(position, map_, centre, random, removed)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the three mean curves; with ``val`` the values of :meth:`compute`, one or one per step."""
        if val is not None:
            return super().plot(val, ax)
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.2, 3.0), layout="constrained") if ax is None else ax.figure
        axes = figure.add_subplot() if ax is None else ax
        styles = {"map": "-", "centre": "--", "random": ":"}
        curves, areas = self.curves(), self.means()[:3, -1].tolist()
        for (label, style), area in zip(styles.items(), areas, strict=True):
            curve = getattr(curves, label)[0].cpu().numpy()
            axes.plot(self.position, curve, style, label=f"{label}: area {area:.3f}")
        axes.set(xlabel=self.axis, ylabel="probability of the class", title=self.name, ylim=(0, 1))
        axes.legend(frameon=False, fontsize="small")
        return figure, axes


class Deletion(RemovalMetric):
    """Area under the deletion curve, mean over images; small is good, if it is below the baselines.

    Args:
        steps: Parts in which the pixels were removed, as in :func:`~lit_certattr.metrics.functional.deletion`.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If ``steps`` is below 1; on update, if the curves have another number of points.

    Example:
        >>> from lit_certattr.metrics.functional import deletion
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Deletion(steps=4)
        >>> images, maps, targets = torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), torch.tensor([0, 1, 1])
        >>> metric.update(deletion(net, images, maps, targets, steps=4))
        >>> list(metric.compute())
        ['deletion', 'deletion_centre', 'deletion_random']
    """

    higher_is_better = False
    axis = "share of the pixels removed"

    def __init__(self, steps: int = 50, **kwargs: Any) -> None:
        super().__init__("deletion", _grid(steps), **kwargs)


class Insertion(RemovalMetric):
    """Area under the insertion curve, mean over images; large is good, if it is above the baselines.

    Args:
        steps: Parts in which the pixels were inserted, as in :func:`~lit_certattr.metrics.functional.insertion`.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If ``steps`` is below 1; on update, if the curves have another number of points.
    """

    higher_is_better = True
    axis = "share of the pixels inserted"

    def __init__(self, steps: int = 50, **kwargs: Any) -> None:
        super().__init__("insertion", _grid(steps), **kwargs)


class CertifiedDeletion(RemovalMetric):
    """Area under the certified deletion curve over the levels K, mean over images; small is good.

    Beside the three areas ``compute`` gives ``certified_deletion_removed``, the mean share of the pixels removed at the
    largest K, and ``certified_deletion_no_support``, the share of the images without a certified important pixel, of
    which nothing was removed.

    Args:
        top_k: The certificates' levels, as shares of the pixels in (0, 1), in any order.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If a level is not in (0, 1) or there is none; on update, if the curves have other levels.
    """

    higher_is_better = False
    axis = "K: share of the pixels"

    def __init__(self, top_k: Sequence[float] = (0.5, 0.25, 0.1), **kwargs: Any) -> None:
        if not top_k or not all(0 < share < 1 for share in top_k):
            raise InputError(f"top_k must be shares of the pixels in (0, 1), at least one, got {list(top_k)}")
        super().__init__("certified_deletion", (0.0, *sorted(top_k)), **kwargs)

    def update(self, curves: RemovalCurves) -> None:
        """Add the curves of some images, see :func:`~lit_certattr.metrics.functional.certified_deletion`.

        Args:
            curves: Curves of new images.

        Raises:
            InputError: If they have other levels than the metric.
        """
        found = [round(float(share), 6) for share in curves.position]
        if found != [round(share, 6) for share in self.position]:
            raise InputError(f"these curves have the levels {found[1:]}, the metric {list(self.position[1:])}")
        super().update(curves)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Mean areas, the mean share removed, and the share of images without support."""
        extra = {f"{self.name}_removed": self.means()[3, -2], f"{self.name}_no_support": self.means()[3, -1]}
        return super().compute() | extra


def _grid(steps: int) -> list[float]:
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    return [step / steps for step in range(steps + 1)]
