"""The metric classes of two maps: one tester for all of them, class against function against loops."""

import pickle
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import lens as slow
from torchmetrics import MetricCollection

from lit_certattr.errors import InputError
from lit_certattr.metrics import (
    LENS,
    CentreShift,
    DiverseTopKIntersection,
    LENSDissimilarity,
    LENSKendall,
    LENSPrecision,
    LENSPrecisionCurve,
    LENSRecall,
    LENSRecallCurve,
    LENSSpearman,
    MapCosine,
    MapKendall,
    MapL2Distance,
    MapPairMean,
    MapPearson,
    MapSpearman,
    MapSSIM,
    MeanLENSDissimilarity,
    MeanSetDifference,
    TopKIntersection,
)
from lit_certattr.metrics import functional as F

CLEAN = torch.rand(5, 8, 9, generator=torch.Generator().manual_seed(0)).half().float()
PERTURBED = (CLEAN + 0.3 * torch.rand(5, 8, 9, generator=torch.Generator().manual_seed(1))).half().float()
KS = (3, 10, 36)


def adjusted(value, chance):
    return (value - chance) / (1 - chance)


def all_lens(a, b, window):
    """The numbers of ``LENS(6, [window])`` in their order."""
    s = slow.intersection(a, b, 6), 6 / a.size
    p = slow.precision(a, b, 6, window), slow.chance(b, 6, window)
    r = slow.recall(a, b, 6, window), slow.chance(a, 6, window)
    return [number for pair in (s, p, r) for number in (*pair, adjusted(*pair))]


def over_k(value):
    return lambda a, b: np.mean([value(a, b, k) for k in range(1, a.size + 1)])


def distance(a, b, order):
    a, b = (m / np.linalg.norm(m.ravel(), order) for m in (a, b))
    return np.linalg.norm(a - b)


# How to make it, the function of the same name, and one pair the slow way.
CASES = {
    "top_k_intersection": (
        lambda: TopKIntersection(6),
        lambda a, b: F.top_k_intersection(a, b, 6),
        lambda a, b: slow.intersection(a, b, 6),
    ),
    "precision": (
        lambda: LENSPrecision(6, 1),
        lambda a, b: F.lens_precision(a, b, 6, 1),
        lambda a, b: slow.precision(a, b, 6, 1),
    ),
    "precision_div": (
        lambda: LENSPrecision(0.2, 2, diverse=True),
        lambda a, b: F.lens_precision(a, b, 0.2, 2, diverse=True),
        lambda a, b: slow.precision(a, b, 14, 2, div=True),
    ),
    "precision_adjusted": (
        lambda: LENSPrecision(6, 1, part="adjusted"),
        lambda a, b: F.lens_precision(a, b, 6, 1, part="adjusted"),
        lambda a, b: adjusted(slow.precision(a, b, 6, 1), slow.chance(b, 6, 1)),
    ),
    "recall": (
        lambda: LENSRecall(6, 2),
        lambda a, b: F.lens_recall(a, b, 6, 2),
        lambda a, b: slow.recall(a, b, 6, 2),
    ),
    "recall_chance": (
        lambda: LENSRecall(6, 2, part="chance"),
        lambda a, b: F.lens_recall(a, b, 6, 2, part="chance"),
        lambda a, b: slow.chance(a, 6, 2),
    ),
    "intersection_div": (
        lambda: DiverseTopKIntersection(6, 1),
        lambda a, b: F.diverse_top_k_intersection(a, b, 6, 1),
        lambda a, b: slow.intersection(a, b, 6, 1, div=True),
    ),
    "precision_curve": (
        lambda: LENSPrecisionCurve(KS, 1),
        lambda a, b: F.lens_curves(a, b, 1, KS).precision,
        lambda a, b: [slow.precision(a, b, k, 1) for k in KS],
    ),
    "recall_curve": (
        lambda: LENSRecallCurve(KS, 1, part="chance"),
        lambda a, b: F.lens_curves(a, b, 1, KS).recall_chance,
        lambda a, b: [slow.chance(a, k, 1) for k in KS],
    ),
    "dissimilarity": (
        lambda: LENSDissimilarity(6, 1),
        lambda a, b: F.lens_dissimilarity(a, b, 6, 1),
        lambda a, b: slow.dissimilarity(a, b, 6, 1),
    ),
    "mean_dissimilarity": (
        lambda: MeanLENSDissimilarity(1),
        lambda a, b: F.mean_lens_dissimilarity(a, b, 1),
        over_k(lambda a, b, k: slow.dissimilarity(a, b, k, 1)),
    ),
    "set_difference": (lambda: MeanSetDifference(), F.mean_set_difference, over_k(slow.set_difference)),
    "lens": (lambda: LENS(6, [2]), None, lambda a, b: all_lens(a, b, 2)),
    "spearman": (lambda: MapSpearman(), F.spearman, slow.spearman),
    "kendall": (lambda: MapKendall(), F.kendall, slow.kendall),
    "pearson": (lambda: MapPearson(), F.pearson, slow.pearson),
    "lens_spearman": (
        lambda: LENSSpearman(2, "paper"),
        lambda a, b: F.lens_spearman(a, b, 2, "paper"),
        lambda a, b: slow.spearman(slow.smooth(a, 2, "zero"), slow.smooth(b, 2, "zero")),
    ),
    "lens_kendall": (
        lambda: LENSKendall(1),
        lambda a, b: F.lens_kendall(a, b, 1),
        lambda a, b: slow.kendall(slow.smooth(a, 1, "symmetric"), slow.smooth(b, 1, "symmetric")),
    ),
    "cosine": (lambda: MapCosine(), F.cosine_similarity, slow.cosine),
    "ssim": (lambda: MapSSIM(), F.ssim, slow.ssim),
    "centre_shift": (
        lambda: CentreShift(),
        F.centre_shift,
        lambda a, b: np.linalg.norm(slow.centre(a) - slow.centre(b)),
    ),
    "l2": (lambda: MapL2Distance(), F.l2_distance, lambda a, b: distance(a, b, 2)),
    "l1_scaled": (
        lambda: MapL2Distance("sum"),
        lambda a, b: F.l2_distance(a, b, "sum"),
        lambda a, b: distance(a, b, 1),
    ),
}
MAKE = {name: case[0] for name, case in CASES.items()}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def flat(value):
    """The value of a metric as one tensor."""
    return torch.stack(list(value.values())) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def loops():
    """The mean of the slow references, by name."""
    pairs = list(zip(CLEAN.double().numpy(), PERTURBED.double().numpy(), strict=True))
    return {name: torch.tensor(np.mean([slow(a, b) for a, b in pairs], 0)) for name, (_, _, slow) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_class_equals_function_equals_loops(name, loops):
    make, function, _ = CASES[name]
    metric = make()
    metric.update(CLEAN[:2], PERTURBED[:2])
    metric.update(CLEAN[2], PERTURBED[2])  # one map
    metric.update(CLEAN[:0], PERTURBED[:0])  # and none
    metric.update(CLEAN[3:], PERTURBED[3:])
    value = flat(metric.compute())
    assert value.dtype == torch.float32
    assert torch.allclose(value.double(), loops[name], atol=2e-6)
    if function:
        assert torch.allclose(value, function(CLEAN, PERTURBED).mean(0), atol=1e-6)


@every
def test_forward_reset_pickle_and_state_dict(make):
    metric = make()
    metric.persistent(True)
    first = flat(metric(CLEAN[:2], PERTURBED[:2]))
    metric(CLEAN[2:], PERTURBED[2:])
    both = flat(metric.compute())
    again = make()
    again.load_state_dict(metric.state_dict())
    again._update_count = 2
    assert torch.equal(flat(again.compute()), both)
    assert torch.equal(flat(pickle.loads(pickle.dumps(metric)).compute()), both)
    metric.reset()
    metric.update(CLEAN[:2], PERTURBED[:2])
    assert torch.equal(flat(metric.compute()), first)


@every
def test_neither_precision_nor_batches_nor_order_touch_the_value(make):
    metric, other = make(), make().half().set_dtype(torch.float16)
    metric.update(CLEAN, PERTURBED)
    for i in reversed(range(len(CLEAN))):
        other.update(CLEAN[i : i + 1].half(), PERTURBED[i : i + 1].half())  # exact: the maps are rounded
    assert torch.allclose(flat(metric.compute()), flat(other.compute()), rtol=0, atol=3e-7)
    assert not any(isinstance(state, list) for state in metric.metric_state.values())


@every
def test_plot(make):
    metric = make()
    metric.update(CLEAN, PERTURBED)
    _, axes = metric.plot()
    if isinstance(metric, LENSPrecisionCurve):
        assert axes.lines[0].get_xdata().tolist() == list(KS)
    metric.plot([metric.compute(), metric.compute()])
    plt.close("all")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every
def test_devices_agree(make):
    here, there = make(), make().to("cuda")
    here.update(CLEAN, PERTURBED)
    there.update(CLEAN.to("cuda"), PERTURBED.to("cuda"))
    assert torch.allclose(flat(here.compute()), flat(there.compute()).cpu(), atol=1e-6)


def test_metrics_that_agree_at_first_do_not_merge():
    """Identical maps first: torchmetrics' default collection would let all these share one state for good."""
    settings = {
        "p1": lambda: LENSPrecision(6, 1),
        "p2": lambda: LENSPrecision(6, 2),
        "r1": lambda: LENSRecall(6, 1),
        "k": lambda: LENSPrecision(0.2, 1),
        "div": lambda: LENSPrecision(6, 1, diverse=True),
        "adjusted": lambda: LENSPrecision(6, 1, part="adjusted"),
        "tau": lambda: MapKendall(),
        "rho": lambda: MapSpearman(),
        "same": lambda: LENSPrecision(6, 1),
    }
    collection = MetricCollection({name: make() for name, make in settings.items()})
    for clean in (PERTURBED, CLEAN):
        collection.update(clean, PERTURBED)
    values = collection.compute()
    for name, make in settings.items():
        alone = make()
        alone.update(PERTURBED, PERTURBED)
        alone.update(CLEAN, PERTURBED)
        assert values[name] == alone.compute(), name
    assert len({float(value) for value in values.values()}) == len(settings) - 1
    assert ["p1", "same"] in collection.compute_groups.values()  # equal metrics are computed once


def test_names_of_all_numbers():
    plain, div = LENS(3, (1, 2)), LENS(3, (1, 2), diverse=True)
    collection = MetricCollection({"plain": plain, "div": div}).clone(prefix="val/")
    collection.update(CLEAN, PERTURBED)
    values = collection.compute()
    parts = ("", "_chance", "_adjusted")
    names = ["top_k_intersection", *(f"lens_{s}_w{w}" for w in (1, 2) for s in ("precision", "recall"))]
    names += [f"diverse_{n}_w{w}" for w in (1, 2) for n in ("top_k_intersection", "lens_precision", "lens_recall")]
    picks = {f"val/diverse_picks_{side}_w{w}" for side in ("clean", "perturbed") for w in (1, 2)}
    assert set(values) == {f"val/{name}{part}" for name in names for part in parts} | picks
    for name, metric in {
        "lens_recall_w2_adjusted": LENSRecall(3, 2, part="adjusted"),
        "top_k_intersection": TopKIntersection(3),
        "diverse_lens_precision_w2": LENSPrecision(3, 2, diverse=True),
        "diverse_top_k_intersection_w1_chance": DiverseTopKIntersection(3, 1, part="chance"),
    }.items():
        metric.update(CLEAN, PERTURBED)
        assert values[f"val/{name}"] == metric.compute()
    made = F.diverse_top_k(CLEAN, 3, 2).sum((1, 2)).float().mean()
    assert values["val/diverse_picks_clean_w2"] == made


def test_the_example_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = {"clean_maps": CLEAN, "perturbed_maps": PERTURBED}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1] + "\nvalues = metrics.compute()", names)
    assert {"lens_precision_w1", "lens_precision_w1_chance", "lens_precision_w1_adjusted", "tau"} <= set(
        names["values"]
    )


def test_undefined_pairs_are_left_out_counted_and_reported():
    clean = CLEAN.clone()
    clean[1] = 0.5
    for metric in (MapSpearman(), MapKendall(), MapPearson(), LENSSpearman(1)):
        metric.update(clean, PERTURBED)
        with pytest.warns(UserWarning, match=f"{type(metric).__name__} is not defined for 1 images; the mean leaves"):
            value = metric.compute()
        rest = metric.clone()
        rest.reset()
        rest.update(clean[[0, 2, 3, 4]], PERTURBED[[0, 2, 3, 4]])
        assert value == rest.compute()
        assert (metric.num_undefined, metric.num_images) == (1, 4)
        metric.reset()
        metric.update(clean[1], PERTURBED[1])
        with pytest.warns(UserWarning, match="not defined"):
            assert metric.compute().isnan()
    lens = LENS(60, [1, 4])
    lens.update(CLEAN, PERTURBED)
    with pytest.warns(UserWarning, match="LENS is not defined for 5 images"):
        value = lens.compute()
    assert value["lens_precision_w4_chance"] == 1
    assert value["lens_precision_w4_adjusted"].isnan()


@given(st.lists(st.floats(-50, 2), min_size=1, max_size=20), st.randoms())
def test_sums_do_not_depend_on_order(values, random):
    class Fixed(MapPairMean):
        def value(self, clean, perturbed):
            return clean[..., 0, 0].double()

    maps = torch.tensor(values, dtype=torch.float64)[:, None, None]
    one, two = Fixed(), Fixed()
    one.update(maps, maps)
    random.shuffle(values)
    for value in values:
        two.update(torch.tensor([[value]], dtype=torch.float64), torch.zeros(1, 1))
    assert torch.equal(one.compute(), two.compute())
    assert float(one.compute()) == pytest.approx(np.mean(values), abs=1e-5)


def test_higher_is_better_and_bounds():
    assert LENSPrecision(3).higher_is_better is True
    assert LENSPrecision(3, part="chance").higher_is_better is None
    assert LENSDissimilarity(3, part="adjusted").higher_is_better is False
    assert CentreShift().higher_is_better is False
    assert (LENSPrecision(3).plot_lower_bound, LENSPrecision(3, part="adjusted").plot_lower_bound) == (0, None)
    assert (MapCosine().plot_lower_bound, MapCosine("adjusted").plot_lower_bound, MapPearson.plot_lower_bound) == (
        -1,
        None,
        -1,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LENSPrecision(0), "k must be"),
        (lambda: LENSRecall(3, -1), "window must be"),
        (lambda: TopKIntersection(3, part="null"), "part must be one of score, chance, adjusted"),
        (lambda: DiverseTopKIntersection(3, 1.5), "window must be"),
        (lambda: LENS(3, []), "windows must be"),
        (lambda: LENS(3, [2, 1]), "windows must be"),
        (lambda: LENS(1.0), "k must be"),
        (lambda: LENSPrecisionCurve([]), "ks must name"),
        (lambda: LENSPrecisionCurve([3, 0]), "k must be"),
        (lambda: LENSDissimilarity(-3), "k must be"),
        (lambda: MeanLENSDissimilarity(-1), "window must be"),
        (lambda: MeanSetDifference("luck"), "part must be"),
        (lambda: LENSSpearman(-1), "window must be"),
        (lambda: LENSKendall(1, "zero"), "padding must be"),
        (lambda: MapL2Distance("max"), "scaling must be"),
        (lambda: MapCosine("null"), "part must be"),
        (lambda: LENSPrecision(73).update(CLEAN, PERTURBED), "k=73 selects 73 pixels of 72"),
        (lambda: MapSpearman().update(CLEAN, PERTURBED[:1]), "same shape"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
