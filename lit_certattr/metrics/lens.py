"""Locality-sensitive overlap (LENS) of the top pixels of clean and perturbed maps, mean over images.

Reference: Kamath, Mittal, Deshpande, Balasubramanian, "Rethinking robustness of model attributions", AAAI 2024.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.metrics.functional.lens import (
    LENSScores,
    diverse_top_k_intersection,
    lens_precision,
    lens_recall,
    lens_scores,
    top_k_intersection,
)
from lit_certattr.metrics.functional.pairs import Part, check_k
from lit_certattr.metrics.functional.windows import check_window, check_windows
from lit_certattr.metrics.map_pair_mean import MapPairMean, ScoreMean


class TopKIntersection(ScoreMean):
    """Top-k intersection :func:`~lit_certattr.metrics.functional.top_k_intersection`, mean over images.

    Args:
        k: Share in (0, 1) or count of pixels.
        part: ``"score"``, its ``"chance"`` level k / n, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    def __init__(self, k: float, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(k, part=part, **kwargs)
        self.k = check_k(k)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return top_k_intersection(clean, perturbed, self.k, self.part)


class LENSPrecision(ScoreMean):
    """w-LENS-prec@k :func:`~lit_certattr.metrics.functional.lens_precision`, mean over images.

    The share of the *clean* top pixels that are near perturbed ones.

    Args:
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        diverse: Compare diverse top-k sets (the "-div" number).
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.

    Example:
        >>> clean, perturbed = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
        >>> clean[0, 3, 3], perturbed[0, 3, 4] = 1, 1
        >>> metric = LENSPrecision(k=1, window=1)
        >>> metric.update(clean, perturbed)
        >>> metric.compute(), LENSPrecision(k=1, window=1, part="chance")(clean, perturbed)
        (tensor(1.), tensor(0.1406))
    """

    def __init__(self, k: float, window: int = 1, diverse: bool = False, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(k, window, diverse, part=part, **kwargs)
        self.k, self.window, self.diverse = check_k(k), check_window(window), diverse

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_precision(clean, perturbed, self.k, self.window, self.diverse, self.part)


class LENSRecall(LENSPrecision):
    """w-LENS-recall@k :func:`~lit_certattr.metrics.functional.lens_recall`, mean over images.

    The share of the *perturbed* top pixels that are near clean ones.

    Args:
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        diverse: Compare diverse top-k sets (the "-div" number).
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_recall(clean, perturbed, self.k, self.window, self.diverse, self.part)


class DiverseTopKIntersection(ScoreMean):
    """Top-k-div intersection :func:`~lit_certattr.metrics.functional.diverse_top_k_intersection`, mean over images.

    Args:
        k: Share in (0, 1) or count of pixels.
        window: w: picks block each other within this distance.
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    def __init__(self, k: float, window: int = 1, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(k, window, part=part, **kwargs)
        self.k, self.window = check_k(k), check_window(window)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return diverse_top_k_intersection(clean, perturbed, self.k, self.window, self.part)


class LENS(MapPairMean):
    """All LENS numbers for several windows, with their chance levels and adjusted scores, from one pass.

    :meth:`compute` gives a dictionary, which collections flatten and ``log_dict`` takes: ``lens_precision_w1``,
    ``lens_precision_w1_chance``, ``lens_precision_w1_adjusted``, the same of ``lens_recall`` and ``top_k_intersection``
    (which has a window only if ``diverse``), and for diverse sets the picks made, ``picks_clean_w1`` and
    ``picks_perturbed_w1``. The names of all numbers of diverse sets start with ``diverse_``.

    Args:
        k: Share in (0, 1) or count of pixels.
        windows: w: distances that a pixel may move, ascending.
        diverse: Compare diverse top-k sets (the "-div" numbers).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.

    Example:
        >>> metric = LENS(k=2, windows=[1])
        >>> metric.update(torch.eye(4), torch.eye(4).flip(0))
        >>> {name: round(float(value), 3) for name, value in metric.compute().items() if "recall" in name}
        {'lens_recall_w1': 0.5, 'lens_recall_w1_chance': 0.562, 'lens_recall_w1_adjusted': -0.143}
    """

    def __init__(self, k: float, windows: Sequence[int] = (1, 2, 3), diverse: bool = False, **kwargs: Any) -> None:
        windows = check_windows(windows)
        columns = list(_columns(windows, diverse))
        super().__init__(k, windows, diverse, size=len(columns), **kwargs)
        self.k, self.windows, self.diverse = check_k(k), windows, diverse
        self.columns = columns

    @property
    def plot_lower_bound(self) -> None:  # type: ignore[override]
        """An adjusted score can be worse than chance."""
        return

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        scores = lens_scores(clean, perturbed, self.k, self.windows, self.diverse)
        return torch.stack([_value(scores, column) for column in self.columns], dim=-1)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The means by name, float32."""
        return {column.name: mean for column, mean in zip(self.columns, super().compute(), strict=True)}


class Column(NamedTuple):
    """One number of :class:`LENS`: its name, and where it is among the scores."""

    name: str
    field: str
    part: Part | None
    window: int


def _columns(windows: Sequence[int], diverse: bool) -> Iterator[Column]:
    first = "diverse_" if diverse else ""
    for index, window in enumerate(windows):
        for field in ("intersection", "precision", "recall"):
            name = f"{first}top_k_intersection" if field == "intersection" else f"{first}lens_{field}"
            if field != "intersection" or diverse:
                name += f"_w{window}"
            elif index:  # the plain intersection is the same for all windows
                continue
            for part in get_args(Part):
                yield Column(name if part == "score" else f"{name}_{part}", field, part, index)
        for field in ("picks_clean", "picks_perturbed") if diverse else ():
            yield Column(f"{first}{field}_w{window}", field, None, index)


def _value(scores: LENSScores, column: Column) -> Tensor:
    values: Tensor = scores.part(column.field, column.part) if column.part else getattr(scores, column.field)
    return values[..., column.window]
