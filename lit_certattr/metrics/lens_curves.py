"""LENS numbers as curves over k, and dissimilarities over one k or all, mean over images.

Reference: Kamath, Mittal, Deshpande, Balasubramanian, "Rethinking robustness of model attributions", AAAI 2024.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.plot import plot_curve
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.lens_curves import (
    lens_curves,
    lens_dissimilarity,
    mean_lens_dissimilarity,
    mean_set_difference,
)
from lit_certattr.metrics.functional.pairs import Part, check_k
from lit_certattr.metrics.functional.windows import check_window
from lit_certattr.metrics.map_pair_mean import ScoreMean


class LENSPrecisionCurve(ScoreMean):
    """w-LENS-prec@k for several k from one pass, mean over images.

    Args:
        ks: Shares in (0, 1) or counts of pixels.
        window: w: distance that a pixel may move; 0 gives the top-k intersection.
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.

    Example:
        >>> metric = LENSPrecisionCurve(ks=[1, 2, 3], window=1)
        >>> metric(torch.tensor([[[2.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 2.0]]]))
        tensor([0., 1., 1.])
    """

    def __init__(self, ks: Sequence[float], window: int = 1, part: Part = "score", **kwargs: Any) -> None:
        if not len(ks):
            raise InputError("ks must name at least one number of pixels")
        super().__init__(tuple(ks), window, part=part, size=len(ks), **kwargs)
        self.ks, self.window = tuple(check_k(k) for k in ks), check_window(window)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_curves(clean, perturbed, self.window, self.ks).part("precision", self.part)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot the curve against k; ``val`` is one curve of :meth:`compute` or several, default now's."""
        curves = self.compute() if val is None else val
        ks, names = torch.tensor(self.ks), ("k", f"{type(self).__name__}, {self.part}")
        if isinstance(curves, Tensor):
            return plot_curve((ks, curves, ks), ax=ax, label_names=names, name=type(self).__name__)
        many = ([ks] * len(curves), list(curves), [ks] * len(curves))
        return plot_curve(many, ax=ax, label_names=names, legend_name="step", name=type(self).__name__)


class LENSRecallCurve(LENSPrecisionCurve):
    """w-LENS-recall@k for several k from one pass, mean over images.

    Args:
        ks: Shares in (0, 1) or counts of pixels.
        window: w: distance that a pixel may move; 0 gives the top-k intersection.
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_curves(clean, perturbed, self.window, self.ks).part("recall", self.part)


class LENSDissimilarity(ScoreMean):
    """:func:`~lit_certattr.metrics.functional.lens_dissimilarity` at one k, mean over images. Not a metric.

    Args:
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        part: ``"score"`` (0 is perfect), its ``"chance"`` level, or ``"adjusted"``, their ratio.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    lower_is_better = True

    def __init__(self, k: float, window: int = 1, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(k, window, part=part, **kwargs)
        self.k, self.window = check_k(k), check_window(window)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_dissimilarity(clean, perturbed, self.k, self.window, self.part)


class MeanLENSDissimilarity(ScoreMean):
    """:func:`~lit_certattr.metrics.functional.mean_lens_dissimilarity` over all k, mean over images. Not a metric.

    Every k has the same weight.

    Args:
        window: w: distance that a pixel may move.
        part: ``"score"`` (0 is perfect), its ``"chance"`` level, or ``"adjusted"``, their ratio.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    lower_is_better = True

    def __init__(self, window: int = 1, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(window, part=part, **kwargs)
        self.window = check_window(window)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return mean_lens_dissimilarity(clean, perturbed, self.window, part=self.part)


class MeanSetDifference(ScoreMean):
    """:func:`~lit_certattr.metrics.functional.mean_set_difference` over all k, mean over images.

    Args:
        part: ``"score"`` (0 is perfect, 2 the most), its ``"chance"`` level, or ``"adjusted"``, their ratio.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the part is unknown, or on update if the maps do not fit.
    """

    lower_is_better = True
    plot_upper_bound = 2.0

    def __init__(self, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(part=part, **kwargs)

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return mean_set_difference(clean, perturbed, part=self.part)
