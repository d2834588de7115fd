"""A radius in another norm than l2 says so wherever it is shown, and stands in no column of l2 radii."""

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import RenyiCertificate, TopKOverlapCertificate
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedOverlap, CertifiedOverlapCurve, metrics_for
from lit_certattr.metrics.functional import certified_overlap
from lit_certattr.records import RunDirectory
from lit_certattr.records.table import means
from lit_certattr.reports import image_panel
from lit_certattr.reports.figures import dataset_figure
from lit_certattr.reports.html import write_report
from lit_certattr.smoothing import GaussianNoise

NAMES = {"two": "l2", "four": "l4", "largest": "linf"}


class Curved(nn.Module):
    def forward(self, images):
        weight = torch.linspace(-1, 1, 64).sign() * torch.linspace(-1, 1, 64).square()
        score = ((images.flatten(1) + 1).square() * weight).sum(1)
        return torch.stack([score, -score], 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "norms")
    directory.open({"sigma": 0.25})
    certificates = {name: RenyiCertificate(4, radius_norm=norm) for name, norm in NAMES.items()}
    certificates["overlap"] = TopKOverlapCertificate(4)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ids = ["image-0", "image-1"]
    results = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=400)(Curved(), images, ids=ids)
    for image_id, image, entry in zip(ids, images, results, strict=True):
        directory.write(image_id, entry, image, image[0].clone(), {"label": 1, "prediction": 1})
    directory.write_table(ids)
    table = pq.read_table(directory.table)
    write_report(directory, ids)
    return directory, table, images, results


def test_the_radii_are_different_lengths(run):
    for entry in run[3]:
        two, four, largest = (entry[name].displacement.double() for name in NAMES)
        seen = (two > 0) & two.isfinite()
        assert seen.any()
        torch.testing.assert_close(four[seen], two[seen] * 64 ** (1 / 4 - 1 / 2), rtol=1e-6, atol=0)
        torch.testing.assert_close(largest[seen], two[seen] / 8, rtol=1e-6, atol=0)


def test_statements_name_the_norm(run):
    for name, norm in NAMES.items():
        assert f"with {norm} norm below" in run[3][0][name].statement()
        assert f"with {norm} norm at most 0.1" in run[3][0][name].statement(0.1)
    assert "with l2 norm below" in run[3][0]["overlap"].statement()


def test_plots_name_the_norm(run):
    _, _, images, results = run
    for name, norm in NAMES.items():
        (axes,) = results[0][name].plot().axes
        assert axes.get_xlabel() == f"{norm} radius (pixel units)"
    for figure in (image_panel(images[0], results[0]), dataset_figure(results)):
        labels = {axes.get_title(): axes.get_xlabel() for axes in figure.axes}
        for name, norm in NAMES.items():
            assert labels[f"Certified overlap ({name})"] == f"{norm} radius (pixel units)"


def test_the_axes_of_a_data_set_reach_beyond_its_radii(run):
    for entry in run[3]:
        for name in NAMES:
            assert entry[name].longest_radius() >= float(entry[name].max_radius(0.5))


def test_the_table_keeps_the_norms_apart(run):
    _, table, _, results = run
    for row in table.to_pylist():
        result = results[int(row["id"][-1])][row["certificate"]]
        assert row["radius_norm"] == result.radius_norm
        assert row["overlap"] == result.overlap(0) / 4
        l2 = row["radius_norm"] == "l2"
        assert row["half_radius"] == (result.max_radius(0.5) if l2 else None)
        assert row["overlap_r0_1"] == (result.overlap(0.1) / 4 if l2 else None)
        assert row["lp_half_radius"] == (None if l2 else result.max_radius(0.5))
    averages = means(table)
    assert "certified/largest_renyi_half_radius_linf_k4px" in averages
    assert "certified/two_renyi_half_radius_k4px" in averages
    assert not any(name.startswith("certified/largest_renyi_half_radius_k") for name in averages)


def test_the_page_names_the_norms(run):
    directory, _, _, results = run
    page = directory.report.read_text()
    assert "linf radius of 50 %" in page
    assert "(an linf length, not an l2 length)" in page
    for name in ("four", "largest"):
        assert f"<b>{name}</b> are {NAMES[name]} lengths instead" in page.replace("\n", " ")
    for name in NAMES:
        assert results[0][name].statement() in page.replace("&#39;", "'")


def test_metrics_name_the_norm_and_refuse_another():
    certificate = RenyiCertificate(0.2, radius_norm="linf")
    (name,) = metrics_for(certificate, [0.01])
    assert name == "renyi_overlap_linf_k20_r0_01"


def test_metrics_refuse_radii_of_another_norm(run):
    results = run[3]
    assert 0 <= float(certified_overlap(results[0]["largest"], 0.001, norm="linf")) <= 1
    for metric in (CertifiedOverlap(0.1), CertifiedOverlapCurve([0.1])):
        with pytest.raises(InputError, match="needs a result with l2 radii, got one with linf radii"):
            metric.update(results[0]["largest"])
    with pytest.raises(InputError, match="needs a result with linf radii, got one with l2 radii"):
        certified_overlap(results[0]["overlap"], 0.1, norm="linf")
