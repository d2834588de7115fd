"""A run with cosine certificates: its rows, figures and page."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate
from lit_certattr.records import RunDirectory
from lit_certattr.records.table import means
from lit_certattr.reports import image_panel
from lit_certattr.reports.figures import dataset_figure
from lit_certattr.reports.html import write_report
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise


class Curved(nn.Module):
    def forward(self, images):
        weight = torch.linspace(-1, 1, 64)
        score = ((images.flatten(1) + 1).square() * weight).sum(1)
        return torch.stack([score, -score], 1)


def entries(noise, certificates, count=3):
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ids = [f"image-{index}" for index in range(count)]
    results = Certifier(Gradient("sum"), noise, certificates, num_samples=250)(Curved(), images, ids=ids)
    maps = Gradient("sum")(Curved(), images, torch.zeros(count, dtype=torch.long))
    return list(zip(ids, images, results, maps, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "cosine")
    directory.open({"sigma": 0.25})
    found = entries(UniformBallNoise(0.25), [CosineCertificate(num_selection=32)])
    for image_id, image, results, clean in found:
        directory.write(image_id, results, image, clean, {"label": 1, "prediction": 1})
    directory.write_table([entry[0] for entry in found])
    table = pq.read_table(directory.table)
    write_report(directory, [entry[0] for entry in found])
    return directory, table, found


def test_a_row_an_image(run):
    _, table, found = run
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [entry[0] for entry in found]
    for row, (_, _, results, _) in zip(rows, found, strict=True):
        result = results["cosine"]
        assert (row["kind"], row["num_pixels"], row["size"]) == ("cosine", 64, None)
        assert row["norm"] == result.norm
        assert row["cosine_r0_05"] == result.at(0.05)
        assert row["cosine90_radius"] == result.max_radius(0.9) > 0
        assert row["overlap"] is None
    expected = np.mean([row["norm"] for row in rows])
    assert means(table)["certified/norm"] == pytest.approx(expected)


def test_the_page_says_what_is_certified(run):
    directory, _, found = run
    page = directory.report.read_text()
    result = found[0][2]["cosine"]
    assert "Certified cosine (cosine)" in page
    assert "the cosine between the smoothed map of the image and that of the perturbed image" in page
    assert result.statement() in page.replace("&#39;", "'")
    assert f"{math.floor(1000 * result.norm) / 1000:.3f}" in page
    assert "UniformBallNoise with sigma = 0.25" in page
    for alien in ("Dashed:", "In the certified map", "Abstentions", "Gaussian noise"):
        assert alien not in page


def test_the_panel_has_the_mean_map_and_the_curve(run):
    _, image, results, clean = run[2][0]
    figure = image_panel(image, results, None, clean)
    titles = [axes.get_title() for axes in figure.axes]
    assert "Smoothed, mean of unit maps" in titles
    assert "Certified cosine" in titles


@pytest.mark.parametrize("kinds", [1, 2])
def test_the_figure_of_the_data_set(kinds):
    certificates = [CosineCertificate(num_selection=32), PixelCertificate()][:kinds]
    found = entries(GaussianNoise(0.25), certificates, 2)
    figure = dataset_figure(results for _, _, results, _ in found)
    assert isinstance(figure, Figure)
    (axes,) = [axes for axes in figure.axes if axes.get_title() == "Certified cosine"]
    radii, curve = axes.lines[0].get_data()
    expected = np.mean([results["cosine"].curve(radii.tolist()).clamp(min=0).numpy() for _, _, results, _ in found], 0)
    np.testing.assert_allclose(curve, expected)
