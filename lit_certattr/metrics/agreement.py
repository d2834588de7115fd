"""Agreement of clean and perturbed maps, mean over images: correlations, structure, centre of mass, distance."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from lit_certattr.metrics.functional.agreement import Scaling, centre_shift, check_scaling, l2_distance, ssim
from lit_certattr.metrics.functional.correlation import cosine_similarity, pearson, spearman
from lit_certattr.metrics.functional.kendall_tau import kendall
from lit_certattr.metrics.functional.lens_correlation import Padding, check_padding, lens_kendall, lens_spearman
from lit_certattr.metrics.functional.pairs import Part
from lit_certattr.metrics.functional.windows import check_window
from lit_certattr.metrics.map_pair_mean import MapPairMean, ScoreMean


class _Correlation(MapPairMean):
    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0


class MapSpearman(_Correlation):
    """Spearman correlation of the pixels :func:`~lit_certattr.metrics.functional.spearman`, mean over images.

    It is undefined for pairs with a constant map, see :class:`FixedPointMean`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = MapSpearman()
        >>> metric(torch.tensor([[[1.0, 2.0], [2.0, 3.0]]]), torch.tensor([[[1.0, 3.0], [2.0, 2.0]]]))
        tensor(0.5000)
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return spearman(clean, perturbed)


class MapKendall(_Correlation):
    """Kendall's tau-b of the pixels :func:`~lit_certattr.metrics.functional.kendall`, mean over images.

    It is undefined for pairs with a constant map, see :class:`FixedPointMean`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return kendall(clean, perturbed)


class MapPearson(_Correlation):
    """Pearson correlation of the pixels :func:`~lit_certattr.metrics.functional.pearson`, mean over images.

    It is undefined for pairs with a constant map, see :class:`FixedPointMean`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return pearson(clean, perturbed)


class LENSSpearman(_Correlation):
    """LENS-Spearman :func:`~lit_certattr.metrics.functional.lens_spearman`, mean over images.

    It is undefined for pairs with a constant smoothed map, see :class:`FixedPointMean`.

    Args:
        window: w, in pixels.
        padding: ``"symmetric"``, or ``"paper"`` for zeros, which makes independent maps correlate.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    def __init__(self, window: int = 1, padding: Padding = "symmetric", **kwargs: Any) -> None:
        super().__init__(window, padding, **kwargs)
        check_padding(padding)
        self.window, self.padding = check_window(window), padding

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_spearman(clean, perturbed, self.window, self.padding)


class LENSKendall(LENSSpearman):
    """LENS-Kendall :func:`~lit_certattr.metrics.functional.lens_kendall`, mean over images.

    It is undefined for pairs with a constant smoothed map, see :class:`FixedPointMean`.

    Args:
        window: w, in pixels.
        padding: ``"symmetric"``, or ``"paper"`` for zeros, which makes independent maps correlate.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the maps do not fit.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return lens_kendall(clean, perturbed, self.window, self.padding)


class MapCosine(ScoreMean):
    """Cosine of two maps :func:`~lit_certattr.metrics.functional.cosine_similarity`, mean over images.

    It is undefined for pairs with a zero map, see :class:`FixedPointMean`.

    Args:
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the part is unknown, or on update if the maps do not fit.
    """

    def __init__(self, part: Part = "score", **kwargs: Any) -> None:
        super().__init__(part=part, **kwargs)

    @property
    def plot_lower_bound(self) -> float | None:  # type: ignore[override]
        """A cosine can be negative."""
        return None if self.part == "adjusted" else -1.0

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return cosine_similarity(clean, perturbed, self.part)


class MapSSIM(_Correlation):
    """Structural similarity :func:`~lit_certattr.metrics.functional.ssim`, mean over images.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return ssim(clean, perturbed)


class CentreShift(MapPairMean):
    """Shift of the centre of mass in pixels :func:`~lit_certattr.metrics.functional.centre_shift`, mean over images.

    It is undefined for pairs with a zero map, see :class:`FixedPointMean`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    higher_is_better = False

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return centre_shift(clean, perturbed)


class MapL2Distance(MapPairMean):
    """Distance of scaled maps :func:`~lit_certattr.metrics.functional.l2_distance`, mean over images.

    It is undefined for pairs with a zero map, see :class:`FixedPointMean`.

    Args:
        scaling: ``"norm"`` for unit norm or ``"sum"`` for unit sum of magnitudes.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the scaling is unknown, or on update if the maps do not fit.
    """

    higher_is_better = False
    plot_upper_bound = 2.0

    def __init__(self, scaling: Scaling = "norm", **kwargs: Any) -> None:
        super().__init__(scaling, **kwargs)
        check_scaling(scaling)
        self.scaling: Scaling = scaling

    @override
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return l2_distance(clean, perturbed, self.scaling)
