"""What metrics report of a certificate's results: the certificate names it, and metrics are built from it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class LabelMeasure(NamedTuple):
    """Shares and radii of labels of pixels (:class:`~lit_certattr.certificates.capabilities.LabelsPixels`).

    Attributes:
        top_k: Levels of K of the labels.
    """

    top_k: Sequence[float]


class OverlapMeasure(NamedTuple):
    """A certified overlap at each radius (:class:`~lit_certattr.certificates.capabilities.KeepsOverlap`).

    Attributes:
        top_k: K.
        name: First word of the metrics' names.
        norm: Norm of the radii.
    """

    top_k: float
    name: str = "overlap"
    norm: str = "l2"


USUAL_OVERLAP = "topk_overlap"
"""The kind whose overlap is called just "overlap"; the names of other kinds begin with the kind."""


class CosineMeasure(NamedTuple):
    """A certified cosine at each radius (:class:`~lit_certattr.certificates.capabilities.KeepsCosine`)."""


class NumberMeasure(NamedTuple):
    """Any other number of a result at a radius.

    Attributes:
        name: Name of the metrics; the radius is appended.
        value: Gives the number of a result at a radius.
        top_k: Level of K in the names; ``None`` for none.
        higher_is_better: Whether a larger mean is better; ``None`` for neither.
    """

    name: str
    value: Callable[[Any, float], float]
    top_k: float | None = None
    higher_is_better: bool | None = True


class ClaimMeasure(NamedTuple):
    """Whether a claim holds (:class:`~lit_certattr.certificates.capabilities.HasVerdicts`), and its verdicts.

    Attributes:
        name: First word of the metrics' names.
        claim: Index of the claim in the results.
    """

    name: str
    claim: int


Measure = LabelMeasure | OverlapMeasure | CosineMeasure | NumberMeasure | ClaimMeasure
