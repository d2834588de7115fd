"""Metrics of certified results, against plain recounts of the labels."""

import json
import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import processes
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lit_certattr.certificates import PixelCertificate, PixelResult, TopKOverlapCertificate, TopKOverlapResult
from lit_certattr.errors import InputError
from lit_certattr.metrics import (
    CertifiedCosine,
    CertifiedDeletion,
    CertifiedFraction,
    CertifiedGridPG,
    CertifiedLENSPrecision,
    CertifiedLENSRecall,
    CertifiedOneShare,
    CertifiedOverlap,
    CertifiedOverlapCurve,
    Deletion,
    ImageMean,
    Insertion,
    MeanCertifiedRadius,
    PointingGame,
    SameClassOverlap,
    certified_metrics,
    metric_name,
    overlap_metrics,
)
from lit_certattr.metrics.functional import (
    certified_fraction,
    certified_one_share,
    certified_overlap,
    certified_overlap_curve,
    mean_certified_radius,
)
from lit_certattr.smoothing import GaussianNoise

TOP_K = (0.5, 0.25)
RADII = (0.0, 0.05, 0.1)


def noisy(seed: int, signal: float = 3.0) -> Tensor:
    """Maps of 200 samples in which the order of the pixels is partly stable."""
    generator = torch.Generator().manual_seed(seed)
    return signal * torch.rand(1, 6, 8, generator=generator) + torch.randn(200, 6, 8, generator=generator)


def pixel(seed: int, **kwargs) -> PixelResult:
    certificate = PixelCertificate(top_k=TOP_K, alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (6, 8))
    accumulator.update(noisy(seed, **kwargs))
    return accumulator.compute()


def overlap(seed: int) -> TopKOverlapResult:
    certificate = TopKOverlapCertificate(top_k=0.25, alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (6, 8))
    accumulator.update(noisy(seed))
    return accumulator.compute()


PIXEL = [pixel(seed) for seed in range(5)]
OVERLAP = [overlap(seed) for seed in range(5)]

CASES = [
    pytest.param(lambda r=r, k=k, p=p: CertifiedFraction(r, k, p), PIXEL, id=f"fraction-{p}-{r}-{k}")
    for p in ("certified", "one", "zero", "abstain", "null")
    for r in (0.0, 0.1)
    for k in (0, 1)
] + [
    pytest.param(lambda: CertifiedOneShare(0.05, 1), PIXEL, id="one_share"),
    pytest.param(lambda: MeanCertifiedRadius(1), PIXEL, id="mean_radius"),
    pytest.param(lambda: CertifiedOverlap(0.05), OVERLAP, id="overlap"),
    pytest.param(lambda: CertifiedOverlapCurve(RADII), OVERLAP, id="curve"),
]


def recount(metric: ImageMean, result) -> Tensor:
    """What the metric means, pixel by pixel."""
    if isinstance(metric, CertifiedOverlapCurve):
        return torch.tensor([sum(d > r for d in result.displacement.tolist()) / result.size for r in metric.radii])
    if isinstance(metric, CertifiedOverlap):
        return torch.tensor(sum(d > metric.radius for d in result.displacement.tolist()) / result.size)
    labels = result.labels[metric.level].flatten().tolist()
    radii = result.radius[metric.level].flatten().tolist()
    if isinstance(metric, MeanCertifiedRadius):
        return torch.tensor(sum(radii) / len(radii))
    kept = [label for label, r in zip(labels, radii, strict=True) if label >= 0 and r > metric.radius]
    if isinstance(metric, CertifiedOneShare):
        return torch.tensor(kept.count(1) / result.sizes[metric.level])
    if metric.part == "null":
        return result.null_shares(metric.radius)["certified"][metric.level].float()
    count = {
        "certified": len(kept),
        "one": kept.count(1),
        "zero": kept.count(0),
        "abstain": len(labels) - len(kept),
    }
    return torch.tensor(count[metric.part] / len(labels))


def test_the_fixtures_say_something():
    shares = [result.shares(0.1)["certified"] for result in PIXEL]
    assert all(((share > 0) & (share < 1)).all() for share in shares)
    assert 0 < float(certified_overlap(OVERLAP, 0.05)) < 1


@pytest.mark.parametrize(("make", "results"), CASES)
def test_mean_over_images_equals_a_recount(make, results):
    metric = make()
    expected = torch.stack([recount(metric, result) for result in results]).mean(0)
    metric.update(results[0])
    metric.update(results[1:])  # several at once
    assert torch.allclose(metric.compute(), expected, atol=1e-6)
    assert metric.compute().dtype == torch.float32


@pytest.mark.parametrize(("make", "results"), CASES)
def test_forward_reset_pickle_and_state_dict(make, results):
    metric = make()
    metric.persistent(True)
    assert torch.allclose(metric(results[0]), recount(metric, results[0]), atol=1e-6)
    metric(results[1])
    both = metric.compute()
    again = make()
    again.load_state_dict(metric.state_dict())
    again._update_count = 2
    assert torch.equal(again.compute(), both)
    assert torch.equal(pickle.loads(pickle.dumps(metric)).compute(), both)
    metric.reset()
    metric.update(results[1])
    assert torch.allclose(metric.compute(), recount(metric, results[1]), atol=1e-6)


@pytest.mark.parametrize(("make", "results"), CASES)
def test_precision_and_order_do_not_touch_the_value(make, results):
    metric, other = make(), make().half().set_dtype(torch.float16).to("cpu")
    metric.update(results)
    for result in reversed(results):
        other.update(result)
    assert torch.equal(metric.compute(), other.compute())


@pytest.mark.parametrize(("make", "results"), CASES)
def test_plot(make, results):
    metric = make()
    metric.update(results)
    _, axes = metric.plot()
    if isinstance(metric, CertifiedOverlapCurve):
        assert axes.lines[0].get_xdata().tolist() == torch.tensor(RADII).tolist()
        metric.plot([metric.compute(), metric.compute()])
    elif not isinstance(metric, MeanCertifiedRadius):
        assert axes.get_ylim()[0] <= 0 <= 1 <= axes.get_ylim()[1]
    plt.close("all")


def test_functional_twins():
    metrics = {
        CertifiedFraction(0.05, 1, "one"): certified_fraction(PIXEL, 0.05, 1, "one"),
        CertifiedOneShare(0.05, 1): certified_one_share(PIXEL, 0.05, 1),
        MeanCertifiedRadius(1): mean_certified_radius(PIXEL, 1),
    }
    for metric, value in metrics.items():
        metric.update(PIXEL)
        assert torch.allclose(metric.compute(), value, atol=1e-6)
    curve = CertifiedOverlapCurve(RADII)
    curve.update(OVERLAP)
    assert torch.allclose(curve.compute(), certified_overlap_curve(OVERLAP, RADII), atol=1e-6)
    assert torch.equal(certified_overlap(OVERLAP, RADII[1]), certified_overlap_curve(OVERLAP, RADII)[1])


@given(st.lists(st.sampled_from(range(5)), min_size=1, max_size=12), st.floats(0, 0.3))
@settings(max_examples=40, deadline=None)
def test_parts_add_up_and_shrink_with_the_radius(chosen, radius):
    results = [PIXEL[i] for i in chosen]
    one, zero, certified, abstain = (
        float(certified_fraction(results, radius, 0, part)) for part in ("one", "zero", "certified", "abstain")
    )
    assert one + zero == pytest.approx(certified, abs=1e-6)
    assert certified + abstain == pytest.approx(1, abs=1e-6)
    assert certified <= float(certified_fraction(results, radius / 2, 0)) + 1e-6


def test_noise_reaches_its_null_baseline_and_no_share_of_k():
    noise = [pixel(seed, signal=0.0) for seed in range(20)]
    for part_of_k in (0, 1):
        found = float(certified_fraction(noise, 0.0, part_of_k))
        assert found == pytest.approx(float(certified_fraction(noise, 0.0, part_of_k, "null")), abs=0.02)
    assert float(certified_fraction(noise, 0.0, 1)) > 0.9  # K = 25 %: emptiness is rewarded ...
    assert float(certified_one_share(noise, 0.0, 1)) == 0  # ... but not here


def test_fixed_point_does_not_drift():
    metric = MeanCertifiedRadius(0)
    metric.update(PIXEL[0])
    first = metric.compute()
    # As float32 sums, fifty thousand equal additions would be off in the third digit.
    metric.total, metric.num_images = metric.total * 50_000, metric.num_images * 50_000
    metric.update(PIXEL[0])
    metric._computed = None
    assert float(metric.compute()) == pytest.approx(float(first), rel=3e-7)


def test_works_after_a_reset_under_inference_mode():
    metric = CertifiedOneShare()
    with torch.inference_mode():
        metric.update(PIXEL[0])
        metric.reset()
    metric.update(PIXEL[1])
    assert torch.allclose(metric.compute(), recount(metric, PIXEL[1]), atol=1e-6)


def test_two_radii_that_agree_on_the_first_image_do_not_merge():
    first, second = _agree_on_first_only()
    collection = certified_metrics(radii=(0.05, 0.1), top_k=TOP_K)
    for result in (first, second):
        collection.update(result)
    values = collection.compute()
    for radius in (0.05, 0.1):
        alone = CertifiedFraction(radius)
        alone.update([first, second])
        assert values[metric_name("fraction", radius, 0.5)] == alone.compute()
    assert values["fraction_k50_r0_05"] > values["fraction_k50_r0_10"]


def _agree_on_first_only() -> tuple[PixelResult, PixelResult]:
    """A result whose labels all have one large radius, and one with a spread of radii."""
    certificate = PixelCertificate(top_k=TOP_K, alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (6, 8))
    accumulator.update(torch.arange(48.0).reshape(1, 6, 8).expand(200, 6, 8))
    first = accumulator.compute()
    assert torch.equal(first.shares(0.05)["certified"], first.shares(0.1)["certified"])
    return first, PIXEL[0]


def test_collections_keep_metrics_apart_that_agree_on_the_first_image_only():
    """Torchmetrics merges metrics whose states agree after the first update; the name of an empty one forbids it."""
    from torchmetrics import MetricCollection

    class Careless(CertifiedFraction):
        def __init__(self, radius):
            super().__init__(radius)
            self._defaults = {name: state for name, state in self._defaults.items() if "settings" not in name}

    for kind, apart in ((Careless, False), (CertifiedFraction, True)):
        default = MetricCollection({"a": kind(0.05), "b": kind(0.1), "c": kind(0.1)})
        for result in _agree_on_first_only():
            default.update(result)
        values = default.compute()
        assert (values["a"] != values["b"]) == apart
        assert values["b"] == values["c"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: CertifiedOneShare(0.1, 2), lambda: CertifiedOneShare(0.1, 0)),
        (lambda: MeanCertifiedRadius(0), lambda: MeanCertifiedRadius(1)),
        (lambda: CertifiedFraction(0.1, part="one"), lambda: CertifiedFraction(0.1, part="zero")),
        (lambda: CertifiedOverlap(0.1), lambda: CertifiedOverlap(0.1, "linf")),
        (lambda: CertifiedOverlapCurve([0.1]), lambda: CertifiedOverlapCurve([0.2])),
        (lambda: CertifiedCosine(1e-16), lambda: CertifiedCosine(1e16)),
        (lambda: CertifiedLENSRecall(0.1, 2), lambda: CertifiedLENSRecall(0, 1, 2)),
        (lambda: CertifiedLENSRecall(0.1), lambda: CertifiedLENSPrecision(0.1)),
        (lambda: CertifiedGridPG(0.1), lambda: CertifiedGridPG(0.2)),
        (lambda: PointingGame(1), lambda: PointingGame(2)),
        (lambda: SameClassOverlap(3, (4, 4), 0.5), lambda: SameClassOverlap(3, (4, 4), 0.25)),
        (lambda: Deletion(5), lambda: Insertion(5)),
        (lambda: CertifiedDeletion((0.5,)), lambda: CertifiedDeletion((0.25,))),
    ],
)
def test_different_settings_have_different_states(first, second):
    assert first()._defaults.keys() != second()._defaults.keys()
    assert first()._defaults.keys() == first()._defaults.keys()


def test_collections_route_prefix_and_flatten():
    collection = certified_metrics(RADII[1:], TOP_K).clone(prefix="val/")
    collection.update(PIXEL)
    values = collection.compute()
    assert len(values) == 2 * (1 + 2 * 3)
    assert all(name.startswith("val/") and "." not in name for name in values)
    assert values["val/one_share_k25_r0_10"] == pytest.approx(float(certified_one_share(PIXEL, 0.1, 1)), abs=1e-6)
    overlaps = overlap_metrics(RADII, 0.25)
    overlaps.update(OVERLAP)
    assert torch.stack(
        [overlaps.compute()[metric_name("overlap", radius, 0.25)] for radius in RADII]
    ).tolist() == pytest.approx(certified_overlap_curve(OVERLAP, RADII).tolist(), abs=1e-6)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=6, unique=True))
def test_names_are_distinct_and_without_dots(radii):
    names = {metric_name("certified", radius) for radius in radii}
    assert len(names) == len(radii)
    assert all(name.isidentifier() for name in names)


def test_higher_is_better():
    assert CertifiedFraction().higher_is_better is True
    assert CertifiedFraction(part="abstain").higher_is_better is False
    assert CertifiedFraction(part="null").higher_is_better is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CertifiedFraction(-0.1), "radius must be"),
        (lambda: CertifiedFraction(float("nan")), "radius must be"),
        (lambda: CertifiedFraction(level=-1), "level must be"),
        (lambda: CertifiedFraction(level=0.5), "level must be"),
        (lambda: CertifiedFraction(part="some"), "part must be one of certified, one, zero"),
        (lambda: CertifiedOverlapCurve([]), "at least one radius"),
        (lambda: CertifiedOverlap(float("inf")), "radius must be"),
        (lambda: MeanCertifiedRadius(2).update(PIXEL[0]), "level 2 is unknown: the result has levels 0 to 1"),
        (lambda: CertifiedOneShare().update(OVERLAP[0]), "needs a PixelResult, got TopKOverlapResult"),
        (lambda: CertifiedOverlap().update(PIXEL[0]), "needs an OverlapResult, got PixelResult"),
        (lambda: certified_fraction([]), "at least one result"),
        (lambda: certified_metrics([0.1, 0.1], [0.5]), "different numbers"),
        (lambda: overlap_metrics([], 0.5), "at least one"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_give_the_same_bits_as_one(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    (done,) = processes.run(tmp_path, script.read_text(), (tmp_path / "rendezvous",))
    assert done.status == 0, done.stderr
    values = json.loads(done.stdout)
    assert 0 < values["one"][0] < 1
    assert values["two"] == [values["one"], values["one"]]
