"""What all metrics of two maps share: a mean over images of a number that each pair of maps has."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.functional.pairs import Part, check_part


class MapPairMean(FixedPointMean):
    """Mean over images of a number (or several) of a clean and a perturbed map.

    Args:
        settings: All settings that the number depends on.
        size: Length of the vector per pair; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    @abstractmethod
    def value(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        """The numbers of pairs of maps ``[..., H, W]``, float ``[...]`` or ``[..., size]``; NaN where undefined."""

    def update(self, clean: Tensor, perturbed: Tensor) -> None:
        """Add pairs of maps.

        Args:
            clean: Maps of the clean images ``[B, H, W]`` (or one map ``[H, W]``), finite, any float type.
            perturbed: Maps of the perturbed images, same shape.
        """
        self.add(self.value(clean, perturbed).reshape(-1, *self.total.shape))


class ScoreMean(MapPairMean):
    """A :class:`MapPairMean` of a score, its chance level, or the score adjusted for chance.

    The adjusted score is adjusted image by image, then averaged.

    Args:
        settings: All other settings that the number depends on.
        part: ``"score"``, ``"chance"`` or ``"adjusted"``.
        size: Length of the vector per pair; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    lower_is_better = False
    """Whether the score is a dissimilarity."""
    plot_upper_bound = 1.0

    def __init__(self, *settings: object, part: Part, size: int | None = None, **kwargs: Any) -> None:
        super().__init__(*settings, part, size=size, **kwargs)
        check_part(part)
        self.part: Part = part

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """The chance level is neither good nor bad."""
        return None if self.part == "chance" else not self.lower_is_better

    @property
    def plot_lower_bound(self) -> float | None:  # type: ignore[override]
        """An adjusted score can be worse than chance."""
        return None if self.part == "adjusted" else 0.0
