"""Metric names, and the metrics of a certificate under these names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from torchmetrics import Metric, MetricCollection

from lit_certattr.certificates import Certificate
from lit_certattr.certificates.measures import (
    USUAL_OVERLAP,
    ClaimMeasure,
    CosineMeasure,
    LabelMeasure,
    Measure,
    NumberMeasure,
    OverlapMeasure,
)
from lit_certattr.errors import InputError
from lit_certattr.metrics.claim import VERDICTS, CertifiedClaim, VerdictCount
from lit_certattr.metrics.cosine import CertifiedCosine
from lit_certattr.metrics.number import CertifiedNumber
from lit_certattr.metrics.overlap import CertifiedOverlap
from lit_certattr.metrics.pixel import CertifiedFraction, CertifiedOneShare, MeanCertifiedRadius

PREFIX = "certified/"
"""What the names of all certified metrics begin with."""


def metric_name(name: str, radius: float | None = None, top_k: float | None = None) -> str:
    """A metric's name with its level and radius.

    There is never a ``.`` in it: torchmetrics' collections cannot hold one.

    Args:
        name: Name of the quantity.
        radius: Budget in pixel l2 units.
        top_k: Level, as a share of the pixels (named in percent) or a count of pixels.

    Example:
        >>> metric_name("certified", 0.1), metric_name("one_share", 0.125, 0.25), metric_name("overlap", 2, 200)
        ('certified_r0_10', 'one_share_k25_r0_125', 'overlap_k200px_r2_00')
    """
    if top_k is not None:
        percent = Decimal(str(top_k)) * 100
        name += f"_k{percent.normalize():f}" if 0 < top_k < 1 else f"_k{top_k:.0f}px"
    if radius is not None:
        short = f"{radius:.2f}"
        name += "_r" + (short if float(short) == radius else f"{Decimal(str(radius)):f}")
    return name.replace(".", "_")


def prefix_of(name: str, kind: str) -> str:
    """What the names of a certificate's metrics begin with, in training and in runs of certification alike.

    Args:
        name: Name of the certificate.
        kind: Its name if the user gives none, which is the kind of its results.

    Example:
        >>> prefix_of("pixel", "pixel"), prefix_of("coarse", "pixel")
        ('certified/', 'certified/coarse_')
    """
    return PREFIX if name == kind else f"{PREFIX}{name}_"


def column_word(column: str, kind: str, norm: str = "l2") -> str:
    """The first word of a metric that is the mean of a column of the table of a run.

    Several kinds bound an overlap; those that are not the usual one are named, as their metrics at a radius are.

    Args:
        column: Column of ``results.parquet``.
        kind: Kind of the results.
        norm: What the radii of the row are lengths of.

    Example:
        >>> column_word("half_radius", "topk_overlap"), column_word("lp_half_radius", "renyi", "linf")
        ('half_radius', 'renyi_half_radius_linf')
    """
    word = column.removeprefix("lp_")
    if word not in ("overlap", "half_radius"):
        return column
    word = word if kind == USUAL_OVERLAP else f"{kind}_{word}"
    return word if norm == "l2" else f"{word}_{norm}"


def free_prefix(name: str, kind: str, words: Iterable[str], taken: set[str]) -> str:
    """The prefix of a certificate's metrics, if some of their names may be taken by another certificate.

    Args:
        name: Name of the certificate.
        kind: Its name if the user gives none.
        words: Names of its metrics, without prefix.
        taken: Names with prefix that others have; those of this one are added.

    Example:
        >>> taken = {"certified/claim_left"}
        >>> free_prefix("percentiles", "percentiles", ["claim_left"], taken), len(taken)
        ('certified/percentiles_', 2)
    """
    words = list(words)
    prefix = prefix_of(name, kind)
    if any(prefix + word in taken for word in words):
        prefix = f"{PREFIX}{name}_"
    taken.update(prefix + word for word in words)
    return prefix


def named_metrics(certificates: Mapping[str, Certificate], radii: Sequence[float]) -> dict[str, MetricCollection]:
    """New metrics of each certificate that names some, under the names that loggers get.

    Two certificates may have claims of one name: then the names of the second begin with the name of its certificate.

    Args:
        certificates: The certificates by name.
        radii: Budgets in pixel units.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.

    Example:
        >>> from lit_certattr.certificates import CosineCertificate
        >>> [list(metrics) for metrics in named_metrics({"angle": CosineCertificate()}, [0.1]).values()]
        [['certified/angle_cosine_r0_10']]
    """
    named: dict[str, MetricCollection] = {}
    taken: set[str] = set()
    for name, certificate in certificates.items():
        metrics = metrics_for(certificate, radii)
        if metrics is None:
            continue
        named[name] = metrics.clone(prefix=free_prefix(name, certificate.name, map(str, metrics), taken))
    return named


def directions_of(named: Mapping[str, MetricCollection]) -> dict[str, Literal["max", "min"]]:
    """Whether a larger or a smaller value is better; null baselines and others without a better direction are left out.

    Args:
        named: The metrics, see :func:`named_metrics`.

    Example:
        >>> from lit_certattr.certificates import PixelCertificate
        >>> directions_of(named_metrics({"pixel": PixelCertificate([0.25])}, [0.1]))["certified/one_share_k25_r0_10"]
        'max'
    """
    better = {name: metric.higher_is_better for one in named.values() for name, metric in one.items()}
    known = {f"{PREFIX}noisy_accuracy": True} | better
    return {name: "max" if up else "min" for name, up in known.items() if up is not None}


def certified_metrics(radii: Sequence[float], top_k: Sequence[float]) -> MetricCollection:
    """The metrics of certified labels of pixels, to be updated with results.

    For each level: ``mean_radius_k25``, and for each radius ``fraction_k25_r0_10`` (certified pixels),
    ``null_k25_r0_10`` (the same for independent random maps) and ``one_share_k25_r0_10`` (certified-important
    pixels as a share of K, which may exceed 1).

    Args:
        radii: Budgets in pixel l2 units.
        top_k: The certificate's levels, in its order.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.

    Example:
        >>> list(certified_metrics(radii=[0.1], top_k=[0.25]))
        ['fraction_k25_r0_10', 'mean_radius_k25', 'null_k25_r0_10', 'one_share_k25_r0_10']
    """
    metrics: dict[str, Metric] = {}
    for level, share in enumerate(top_k):
        metrics[metric_name("mean_radius", top_k=share)] = MeanCertifiedRadius(level)
        for radius in _distinct(radii):
            metrics[metric_name("fraction", radius, share)] = CertifiedFraction(radius, level)
            metrics[metric_name("null", radius, share)] = CertifiedFraction(radius, level, part="null")
            metrics[metric_name("one_share", radius, share)] = CertifiedOneShare(radius, level)
    return MetricCollection(metrics)  # type: ignore[arg-type]


def overlap_metrics(radii: Sequence[float], top_k: float, name: str = "overlap", norm: str = "l2") -> MetricCollection:
    """The metrics of a certified overlap of the top K.

    Args:
        radii: Budgets in pixel units.
        top_k: The certificate's K.
        name: First word of the metrics' names.
        norm: Norm of the budgets; named in the metrics where it is not l2.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.

    Example:
        >>> list(overlap_metrics(radii=[0.05, 0.1], top_k=0.2))
        ['overlap_k20_r0_05', 'overlap_k20_r0_10']
        >>> list(overlap_metrics(radii=[0.01], top_k=0.2, norm="linf"))
        ['overlap_linf_k20_r0_01']
    """
    name = name if norm == "l2" else f"{name}_{norm}"
    metrics: dict[str, Metric] = {
        metric_name(name, radius, top_k): CertifiedOverlap(radius, norm) for radius in _distinct(radii)
    }
    return MetricCollection(metrics)  # type: ignore[arg-type]


def cosine_metrics(radii: Sequence[float]) -> MetricCollection:
    """The metrics of a certified cosine.

    Args:
        radii: Budgets in pixel l2 units.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.

    Example:
        >>> list(cosine_metrics(radii=[0.05, 0.1]))
        ['cosine_r0_05', 'cosine_r0_10']
    """
    metrics: dict[str, Metric] = {metric_name("cosine", radius): CertifiedCosine(radius) for radius in _distinct(radii)}
    return MetricCollection(metrics)  # type: ignore[arg-type]


def claim_metrics(radii: Sequence[float], name: str, claim: int | str) -> MetricCollection:
    """The metrics of a claim with bounds.

    For each radius ``name_r0_10``, the share of the images whose claim holds there, and ``name_r0_10_low`` and
    ``name_r0_10_high``, the ends of its 95 % interval (:class:`CertifiedClaim`); and the number of images of each
    verdict, ``name_holds``, ``name_not_shown`` and ``name_refuted``.

    Args:
        radii: Budgets in pixel l2 units.
        name: First word of the metrics' names.
        claim: Index or name of the claim.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.

    Example:
        >>> list(claim_metrics([0.1], "claim_left", 0))[:3]
        ['claim_left_holds', 'claim_left_not_shown', 'claim_left_r0_10']
    """
    metrics: dict[str, Metric] = {}
    for radius in _distinct(radii):
        whole = metric_name(name, radius)
        metrics[whole] = CertifiedClaim(claim, radius)
        metrics[f"{whole}_low"] = CertifiedClaim(claim, radius, "low")
        metrics[f"{whole}_high"] = CertifiedClaim(claim, radius, "high")
    for verdict in VERDICTS:
        word = verdict.split(" at ")[0].replace(" ", "_")
        metrics[f"{name}_{word}"] = VerdictCount(claim, verdict)
    return MetricCollection(metrics)  # type: ignore[arg-type]


def metrics_for(certificate: Certificate, radii: Sequence[float]) -> MetricCollection | None:
    """The metrics of a certificate at these radii; ``None`` for a kind that names none.

    Args:
        certificate: Its :meth:`~lit_certattr.certificates.Certificate.measures` say what of its results is worth one.
        radii: Budgets in pixel units.

    Raises:
        InputError: If a radius is NaN, infinite, negative or given twice.
    """
    named: dict[str, Metric] = {}
    for measure in certificate.measures():
        named |= dict(_metrics_of(measure, radii).items())
    return MetricCollection(named) if named else None  # type: ignore[arg-type]


def _metrics_of(measure: Measure, radii: Sequence[float]) -> MetricCollection:
    match measure:
        case LabelMeasure(top_k):
            return certified_metrics(radii, top_k)
        case OverlapMeasure(top_k, name, norm):
            return overlap_metrics(radii, top_k, name, norm)
        case CosineMeasure():
            return cosine_metrics(radii)
        case ClaimMeasure(name, claim):
            return claim_metrics(radii, name, claim)
        case NumberMeasure(name, _, top_k):
            numbers = {
                metric_name(name, radius, top_k): CertifiedNumber(measure, radius) for radius in _distinct(radii)
            }
            return MetricCollection(numbers)  # type: ignore[arg-type]


def _distinct(radii: Sequence[float]) -> Sequence[float]:
    if not radii or len({metric_name("", radius) for radius in radii if 0 <= radius < math.inf}) < len(radii):
        raise InputError(f"radii must be different numbers, finite, none negative and at least one, got {list(radii)}")
    return radii
