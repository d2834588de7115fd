"""The page shows each image at the edge of its budget, and the audit knows these pictures."""

import io

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PredictionCertificate
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.reports.edges import as_png, edges_of, reaches
from lit_certattr.smoothing import GammaNoise, GaussianNoise, NuisanceNoise, PatchMaskNoise

CPU = jobs.TrainerOptions(accelerator="cpu", threads=1)
LAWS = {
    "gamma": GammaNoise(0.3, sigma=0.1),
    "nuisance": NuisanceNoise(0.25, brightness=0.2),
    "patches": PatchMaskNoise(0.1, 4, sigma=0.05),
    "l2": GaussianNoise(0.25),
}


def certify(folder, law, **settings):
    torch.manual_seed(0)
    certificates = [PixelCertificate([0.5]), PredictionCertificate()]
    certifier = Certifier(Gradient(), LAWS[law], certificates, num_samples=150, batch_size=50)
    data = Digits(max_images=2)
    return jobs.run(
        certifier, data, SmallCNN(image_size=8), output=folder / law, trainer=CPU, progress=False, **settings
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {law: certify(folder, law) for law in LAWS}


def ids_of(run):
    return [path.stem for path in sorted(run.images.iterdir())]


@pytest.mark.parametrize("law", ["gamma", "nuisance", "patches"])
def test_the_page_shows_the_edges_in_words_and_pictures(runs, law):
    run, page = runs[law], runs[law].report.read_text()
    assert page.count('<div class="changed">') == 2
    for name in ids_of(run):
        edges = edges_of(run.read(name))
        assert len(edges.pictures) == (4 if law == "patches" else 3)
        assert edges.words in page
        for picture in edges.pictures:
            assert (run.figures / picture.name).read_bytes() == picture.png
            assert f"<figcaption>{picture.words}</figcaption>" in page
            assert f'alt="{name}: {picture.words}"' in page
    assert "clipped to [0, 1] and rounded for display" in page
    assert "of one pixel channel" not in page  # an l2 length means nothing here


def test_a_norm_has_no_pictures(runs):
    page = runs["l2"].report.read_text()
    assert "edges" not in page
    assert not list(runs["l2"].figures.glob("*edge*"))
    assert "is, for example, a change of one pixel channel by 0.25" in page


@pytest.mark.parametrize("law", LAWS)
def test_the_edge_is_where_half_of_the_labels_still_hold(runs, law):
    record = runs[law].read(ids_of(runs[law])[0])
    result = record.results["pixel"]
    radii = result.radius[result.labels >= 0].double().sort(descending=True).values
    half, last = (reach for reach in reaches(record.results) if "pixel" in reach.holds)
    # Radii are compared in float32: an edge may be half a rounding below the radius.
    assert half.radius == pytest.approx(float(radii[-(-len(radii) // 2) - 1]), rel=1e-7)
    assert last.radius == pytest.approx(float(radii[0]), rel=1e-7)
    kept = int((radii >= half.radius).sum())
    assert half.holds == f"{kept} of {len(radii)} statements that pixel certifies hold"


def test_the_pictures_are_inside_the_budget(runs):
    for law in ("gamma", "nuisance", "patches"):
        record = runs[law].read(ids_of(runs[law])[0])
        reach = edges_of(record).reach
        budget = record.results["pixel"].change_budget
        for edge in budget.edges(record.image, reach.radius):
            coverage = record.results["pixel"].holds_for(record.image.double(), edge.image)
            assert f"{coverage.certified} of {record.results['pixel'].certified_count()[0]}" in reach.holds or (
                coverage.certified > int(reach.holds.split()[0])
            )


def test_nothing_certified_shows_nothing(runs):
    record = runs["gamma"].read(ids_of(runs["gamma"])[0])
    empty = attrs.evolve(record.results["pixel"], labels=torch.full_like(record.results["pixel"].labels, -1))
    assert list(reaches({"pixel": empty})) == []
    assert edges_of(record._replace(results={"pixel": empty})).pictures == []


def test_the_audit_accepts_the_pictures_and_finds_changed_and_foreign_ones(runs):
    run = runs["gamma"]
    assert jobs.audit(run.path).derived.findings == []
    victim = next(iter(sorted(run.figures.glob("*+edge-1.png"))))
    before = victim.read_bytes()
    stray = victim.with_name(victim.name.replace("edge-1", "edge-7"))
    try:
        stray.write_bytes(before)
        (finding,) = jobs.audit(run.path).derived.findings
        assert str(finding) == f"figures/{stray.name}: belongs to no image of the run"
        stray.unlink()
        victim.write_bytes(as_png(torch.zeros(1, 8, 8)))
        lines = [str(finding) for finding in jobs.audit(run.path).derived.findings]
        assert f"figures/{victim.name}: is not the figure of these certificates" in lines
        victim.unlink()
        assert jobs.audit(run.path).derived.findings
    finally:
        victim.write_bytes(before)
        stray.unlink(missing_ok=True)


def test_fewer_panels_and_a_new_run_leave_no_pictures_behind(tmp_path):
    run = certify(tmp_path, "gamma")
    assert len(list(run.figures.glob("*+edge-*.png"))) == 6
    certify(tmp_path, "gamma", max_panels=1)
    assert len(list(run.figures.glob("*+edge-*.png"))) == 3
    certify(tmp_path, "gamma", max_panels=0, seed=5, overwrite=True)
    assert not list(run.figures.glob("*+edge-*.png"))


def test_pictures_are_clipped_small_and_of_any_channels():
    for channels, mode in ((1, "L"), (2, "L"), (3, "RGB")):
        image = torch.linspace(-1, 2, 700).expand(channels, 400, 700)
        picture = Image.open(io.BytesIO(as_png(image)))
        assert picture.mode == mode
        assert max(picture.size) == 320
        values = np.asarray(picture).reshape(picture.size[1], picture.size[0], -1)[0, :, 0]
        assert (values[0], values[-1]) == (0, 255)
    small = Image.open(io.BytesIO(as_png(torch.full((1, 8, 8), 0.5))))
    assert small.size == (8, 8)
    assert small.getpixel((0, 0)) == 128


def test_an_id_may_look_like_that_of_a_picture(tmp_path, certified):
    directory = RunDirectory(tmp_path / "run")
    directory.open({"sigma": 0.25}, provenance={})
    ((_, image, results, clean),) = certified()
    directory.write("a-edge-1", results, image, clean, {"label": 1, "prediction": 2})
    (directory.figures / "a-edge-1.png").write_bytes(b"")
    (directory.figures / "a+edge-1.png").write_bytes(b"")  # of another image, that is not there
    own = {path.name for path in directory.own_files()}
    assert "a-edge-1.png" in own
    assert "a+edge-1.png" not in own
