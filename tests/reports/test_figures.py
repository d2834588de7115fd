import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lit_certattr.certificates import PixelResult, SmoothGradResult, TopKOverlapResult, present
from lit_certattr.certificates import drawing as draw
from lit_certattr.reports.figures import dataset_figure, image_panel
from lit_certattr.reports.page import render


def _png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50, metadata={"Software": None})
    return file.getvalue()


def _titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 224, 224)])
def test_panel_of_gray_and_colour(certified, shape):
    ((_, image, results, clean),) = certified(shape=shape)
    figure = image_panel(image, results, "cat $x^$ <b>", clean)
    assert figure.get_suptitle() == "cat $x^$ <b>"
    assert _titles(figure)[:2] == ["Image", "Attribution, no noise"]
    assert {"Certified", "Certified important", "Certified unimportant", "Certified overlap"} <= set(_titles(figure))
    assert _png(figure)
    assert plt.get_fignums() == [], "figures must not pile up in pyplot"


def test_maps_of_a_lower_resolution_lie_over_the_whole_image(certified):
    ((_, _, results, clean),) = certified(shape=(1, 4, 3))
    figure = image_panel(torch.rand(3, 32, 24), results, None, clean)
    shown = [
        axes.images[0] for axes in figure.axes if axes.get_title() in ("Image", "Certified", "Radius of that label")
    ]
    assert [picture.get_array().shape[:2] for picture in shown] == [(32, 24), (4, 3), (4, 3)]
    assert {tuple(picture.get_extent()) for picture in shown} == {(-0.5, 23.5, 31.5, -0.5)}
    assert {tuple(picture.axes.get_xlim()) for picture in shown} == {(-0.5, 23.5)}
    assert _png(figure)


@pytest.mark.parametrize("names", [("pixel",), ("topk_overlap",)])
def test_panel_with_one_certificate(certified, names):
    ((_, image, results, clean),) = certified(names=names)
    titles = _titles(image_panel(image, results, None, clean))
    assert ("Certified" in titles) == ("pixel" in names)
    assert ("Certified overlap" in titles) == ("topk_overlap" in names)
    assert _png(image_panel(image, results))


@pytest.mark.parametrize("top_k", [(0.5,), (0.5, 0.4, 0.3, 0.2, 0.1, 3)])
def test_any_number_of_levels(certified, top_k):
    ((_, image, results, _),) = certified(top_k=top_k)
    assert _png(image_panel(image, results))
    assert _png(results["pixel"].plot())
    assert _png(results["topk_overlap"].plot())
    assert len(set(draw.level_colours(len(top_k)))) == len(top_k)


def test_two_certificates_of_one_kind(certified):
    ((_, image, results, clean),) = certified()
    twice = {"a": results["pixel"], "b": results["pixel"], "c": results["topk_overlap"], "d": results["topk_overlap"]}
    titles = _titles(image_panel(image, twice, None, clean))
    assert {"Certified (a)", "Certified (b)", "Certified overlap (c)", "Certified overlap (d)"} <= set(titles)
    assert _png(dataset_figure([twice, twice]))


def test_a_panel_of_nothing_certified(certified):
    ((_, image, results, clean),) = certified()
    pixel = results["pixel"]
    none = PixelResult(
        labels=torch.full_like(pixel.labels, -1),
        radius=torch.zeros_like(pixel.radius),
        votes=pixel.votes,
        top_k=pixel.top_k,
        sizes=pixel.sizes,
        tau=0.5,
        threshold=pixel.num_samples + 1,
        level=pixel.level,
        num_constant=0,
        tied=pixel.tied,
        num_samples=pixel.num_samples,
        alpha=0.001,
        sigma=0.25,
        noise="GaussianNoise",
    )
    assert _png(image_panel(image, {"pixel": none}, None, clean * 0))


def test_equal_results_give_equal_pictures(certified):
    ((_, image, results, clean),) = certified()
    assert _png(image_panel(image, results, "a", clean)) == _png(image_panel(image, results, "a", clean))


def _by_hand(result: PixelResult, row: int, column: int) -> str:
    """What the certified map must say about one pixel."""
    order = sorted(range(len(result.sizes)), key=lambda level: -result.sizes[level])
    labels = [int(result.labels[level, row, column]) for level in order]
    if 1 in labels:
        smallest = max(place for place, label in enumerate(labels) if label == 1)
        return f"in the top {draw.name_of(result.top_k[order[smallest]])}"
    if labels.count(0) == len(labels):
        return "outside at every K"
    return "outside at some K" if 0 in labels else "abstain"


def test_certified_classes_and_radii_pixel_by_pixel(certified):
    ((_, _, results, _),) = certified(top_k=(0.1, 0.5, 0.25), num_samples=120)
    result = results["pixel"]
    classes, legend = result.certified_classes(), present(result).legend()
    radius = result.shown_radius()
    seen = set()
    for row in range(8):
        for column in range(8):
            name = legend[int(classes[row, column])].label
            assert name == _by_hand(result, row, column)
            seen.add(name)
            assert np.isnan(radius[row, column]) == (name == "abstain")
            if name.startswith("in the top"):
                level = [draw.name_of(top_k) for top_k in result.top_k].index(name.removeprefix("in the top "))
                assert radius[row, column] == result.radius[level, row, column].double().item()
            if name == "outside at every K":
                assert radius[row, column] == result.radius[1, row, column].double().item()
    assert {"outside at every K"} < seen


def test_curves_equal_the_shares(certified):
    ((_, _, results, _),) = certified()
    result = results["pixel"]
    radii = np.linspace(0, 0.5, 9)
    for label, key in ((1, "one"), (0, "zero")):
        shares = np.stack([result.shares(radius)[key].numpy() for radius in radii])
        scale = result.num_pixels / np.array(result.sizes) if label else 1
        assert result.share_curves(label, radii) == pytest.approx(shares * scale)


def test_dataset_figure_shows_the_mean(certified):
    results = [entry[2] for entry in certified(3)]
    figure = dataset_figure(iter(results))
    axes = next(axes for axes in figure.axes if axes.get_title() == "Certified overlap")
    line = axes.lines[0]
    expected = np.mean([entry["topk_overlap"].curve(line.get_xdata().tolist()).numpy() for entry in results], axis=0)
    assert line.get_ydata() == pytest.approx(expected)
    assert isinstance(results[0]["topk_overlap"], TopKOverlapResult)
    assert _png(figure)


def test_a_panel_of_smoothgrad_shows_its_map_and_its_curve():
    result = SmoothGradResult(
        displacement=torch.tensor([0.01, 0.02]),
        inside=torch.tensor([[True, True], [False, False]]),
        top_k=2,
        size=2,
        total=torch.tensor([[[3.0, 2.0], [-1.0, 0.0]]], dtype=torch.float64),
        square=torch.ones(1, 2, 2, dtype=torch.float64),
        spread=1.0,
        reference=0.5,
        num_selection=10,
        truncation=5.0,
        num_samples=110,
        alpha=0.001,
        sigma=0.5,
        noise="GaussianNoise",
    )
    figure = image_panel(torch.rand(1, 2, 2), {"smoothgrad": result})
    titles = [axes.get_title() for axes in figure.axes]
    assert "Smoothed gradient, absolute" in titles
    assert "Certified overlap" in titles
    shown = next(axes for axes in figure.axes if axes.get_title() == "Smoothed gradient, absolute")
    np.testing.assert_allclose(shown.images[0].get_array(), [[0.06, 0.04], [0.02, 0.0]])
    assert "Certified overlap" in [axes.get_title() for axes in dataset_figure([{"smoothgrad": result}]).axes]


@pytest.mark.slow
def test_figures_drawn_again_give_the_same_bytes(certified):
    """Constrained layout moves parts by 1e-16 from call to call; the page of a resumed run is that of a whole one."""
    ((_, image, results, clean),) = certified(shape=(1, 8, 8))

    def drawn():
        figure = image_panel(image, results, "an image", clean)
        return render(figure, dpi=100), [axes.get_window_extent().bounds for axes in figure.axes]

    first = drawn()
    for _ in range(12):
        assert drawn() == first
