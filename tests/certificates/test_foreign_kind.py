"""A kind of certificate that is written in this file alone is certified, tabled, shown, measured, attacked, audited.

What it certifies is the *peak*: the pixel that is the largest of most noisy maps. It shows everything that a kind may
offer, so it is also the longest example of how to write one.
"""

import json
import shutil

import attrs
import numpy as np
import pyarrow.parquet as pq
import pytest
import quick_figures
import torch
from scipy.special import ndtri
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig, PixelVotes
from lit_certattr.attribution import Gradient
from lit_certattr.audit.audit import audit_run
from lit_certattr.audit.fresh import contradictions, count_claims
from lit_certattr.certificates import (
    Certificate,
    PixelCertificate,
    Presentation,
    Quantity,
    Result,
    UnknownResult,
    load_results,
    present,
    quantities_of,
    save_results,
)
from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.base import Accumulator
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.count_bounds import upper_bounds_of_counts
from lit_certattr.certificates.measures import NumberMeasure
from lit_certattr.certificates.presentation import Picture, Sheet, SheetColumn, Tile, percent
from lit_certattr.certificates.quantity import Verdict
from lit_certattr.certificates.result import check_same_shape
from lit_certattr.certification import AllDecided, Futility
from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError
from lit_certattr.metrics import metrics_for
from lit_certattr.metrics.functional import (
    certified_fraction,
    certified_gridpg,
    certified_lens_recall,
    certified_one_share,
    certified_overlap,
    mean_certified_radius,
)
from lit_certattr.metrics.naming import named_metrics
from lit_certattr.records import RunDirectory
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.table import means
from lit_certattr.reports import image_panel
from lit_certattr.reports.attack_page import violation, write_attack_page
from lit_certattr.reports.figures import dataset_figure
from lit_certattr.reports.html import write_report
from lit_certattr.robustness import SandwichAttack, quantities
from lit_certattr.settings import discovery
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import clopper_pearson_lower
from lit_certattr.statistics.rounding import at_least, confidence

pytestmark = pytest.mark.figures  # here the audit draws again what users get

# --- the kind ---------------------------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class PeakResult(Result):
    """The peak, and the l2 radius within which it stays the peak of most noisy maps.

    The lower bound of its vote is the Clopper-Pearson bound at alpha / N for N pixels, since the samples choose it.
    With a vote of at least p > 1/2 it keeps the majority under every perturbation shorter than
    sigma * Phi^-1(p) (Cohen et al., 2019).
    """

    kind = "peak"
    statistics = ("votes",)

    votes: torch.Tensor
    lower: float
    radius: float

    @classmethod
    def from_votes(cls, votes, record):
        alpha = record["alpha"] * record["alpha_share"] - record["alpha_slack"]
        lower = float(clopper_pearson_lower(int(votes.max()), record["num_samples"], alpha / votes.numel()))
        quantile = float(ndtri(lower)) if lower > 0.5 else 0.0
        radius = max(0.0, record["sigma"] * (quantile - 1e-12 * (1 + quantile)))
        return cls(votes=votes, lower=lower, radius=radius, **record)

    @property
    def map_shape(self):
        return tuple(self.votes.shape)

    @property
    def place(self):
        return np.unravel_index(int(self.votes.argmax()), self.votes.shape)

    def statement(self, radius=None):
        if not self.radius:
            return "Nothing is certified: no pixel is the largest of most noisy maps beyond doubt."
        row, column = self.place
        return (
            f"With probability at least {confidence(self.alpha)}: for every perturbation with l2 norm below "
            f"{at_least(self.radius)}, the pixel ({row}, {column}) is the largest of most noisy maps."
        )

    def certified_count(self, radius=0.0):
        return int(self.radius > radius), 1

    @property
    def top_k(self):
        return (1,)

    @property
    def sizes(self):
        return (1,)

    def labels_at(self, radius):
        labels = torch.full((1, *self.votes.shape), -1, dtype=torch.int8)
        if self.radius > radius:
            labels[0][self.place] = 1
        return labels

    def smoothed_map(self):
        return self.votes.float() / self.num_samples

    def rederive(self):
        record = {field.name: getattr(self, field.name) for field in attrs.fields(Result)}
        return self.from_votes(self.votes, record | {"flags": ()})

    def claims(self):
        claimed = torch.zeros(self.votes.shape, dtype=torch.float64)
        claimed[self.place] = self.lower
        return {"vote for the peak": claimed}

    def upper_bounds(self, fresh, level):
        check_same_shape(self.votes, fresh.votes)
        return {"vote for the peak": upper_bounds_of_counts(fresh.votes, fresh.num_samples, level)}


class PeakAccumulator(Accumulator[PeakResult]):
    def allocate(self):
        self.add_state("votes", torch.zeros(self.num_pixels, dtype=torch.int64), dist_reduce_fx="sum")

    def count(self, block):
        maps = block.maps.flatten(1)
        varies = maps.amax(1) > maps.amin(1)  # a constant map has no peak
        self.votes += torch.bincount(maps.argmax(1)[varies], minlength=self.num_pixels)

    def conclude(self, share):
        votes = self.votes.view(self.map_shape).to(torch.int32).cpu()
        return PeakResult.from_votes(votes, self.record(share))


class PeakCertificate(Certificate):
    name = "peak"
    result = PeakResult
    laws = (GaussianNoise,)
    anytime = True

    def __init__(self, alpha: float = 0.001, sync_on_compute: bool = False) -> None:
        super().__init__(alpha, sync_on_compute)

    def start(self, noise, map_shape, dimension=None, share=1.0):
        return PeakAccumulator(self, noise, map_shape, dimension, share)

    def smallest_num_samples(self, num_pixels, share=1.0):
        return int(np.ceil(np.log2(num_pixels / (self.alpha * share)))) + 1

    def measures(self):
        return [NumberMeasure("peak_kept", lambda result, radius: float(result.radius > radius))]


class PeakPresentation(Presentation):
    def columns(self, radii):
        return {"peak_row": int, "peak_column": int, "peak_radius": float} | {
            column_at("peak", radius): float for radius in radii
        }

    def rows(self, radii):
        row, column = self.result.place
        kept = {column_at("peak", radius): float(self.result.radius > radius) for radius in radii}
        return [
            {"level": 0, "peak_row": int(row), "peak_column": int(column), "peak_radius": self.result.radius} | kept
        ]

    def general(self):
        return "The pixel that is the largest of most noisy maps stays it within the radius stated there."

    def notes(self):
        return ["A peak says nothing of the other pixels."]

    def summary(self):
        return f"peak certified up to radius {at_least(self.result.radius)}"

    def tiles(self, rows, suffix):
        share = sum(row["peak_radius"] > 0 for row in rows) / len(rows)
        return [Tile(percent(share), f"of the images have a certified peak{suffix}")]

    def sheet(self, names):
        columns = [SheetColumn("row", "peak_row"), SheetColumn("radius", "peak_radius", form="radius")]
        return Sheet("Certified peak", columns, "The largest pixel of most noisy maps.")

    def pictures(self, suffix):
        def paint(axes, slot):
            draw.title(axes, f"Votes for the peak{suffix}")
            share = self.result.smoothed_map().numpy()
            draw.paint_votes(axes, slot, share, self.result.num_samples)

        return [Picture(paint)]

    def plots(self, suffix):
        return [lambda axes: self.paint_trend(axes, 0, self.trends(self.radii())[0][None], suffix)]

    def radii(self):
        return np.linspace(0, 4 * self.result.sigma, 50)

    def trends(self, radii):
        return [(self.result.radius > radii)[:, None].astype(float)]

    def paint_trend(self, axes, index, curves, suffix):
        draw.paint_band(axes, self.radii(), curves[:, :, 0], draw.OVERLAP, "")
        draw.style_curve(axes, f"Certified peak{suffix}", "share of the images", self.radii()[-1])


present.register(PeakResult, PeakPresentation)


class PeakQuantity(Quantity):
    kind, name, names, title, unit = "peak", "peak", ("peak",), "The peak", "share that keeps it"

    def __init__(self, certificate, result):
        super().__init__(certificate)
        self.result = result

    def certified(self, radius):
        return float(self.result.radius > radius)

    def reach(self):
        return self.result.radius

    def objective(self, device):
        change = torch.zeros(self.result.map_shape, dtype=torch.int32, device=device)
        change[self.result.place] = -1
        return PixelVotes(change[None], size=1)

    def measure(self, results, clean):
        return results[self.certificate].votes[self.result.place].double() / results[self.certificate].num_samples

    def left(self, measured):
        return float(measured > 0.5)

    def judge(self, evaluation, error):
        fresh = evaluation.results[self.certificate]
        upper = upper_bounds_of_counts(fresh.votes, fresh.num_samples, error)[self.result.place]
        return Verdict(*((value > 0.5).double() for value in (self.measure(evaluation.results, {}), upper)))


@quantities_of.register
def _(result: PeakResult, certificate: str):
    yield PeakQuantity(certificate, result)


# --- what becomes of it -----------------------------------------------------------------------------------------------

IDS = ["one", "two"]


class Curved(nn.Module):
    """A network whose gradients are proportional to the brightness, with another factor for each pixel."""

    def __init__(self):
        super().__init__()
        weight = torch.linspace(-1, 1, 64)
        weight[27] = 1.8
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        score = ((images.flatten(1) + 1).square() * self.weight).sum(1)
        return torch.stack([score, -score], 1)


def certifier(seed=0, num_samples=400, stopping=(), certificates=None):
    certificates = certificates or [PeakCertificate(), PixelCertificate([0.25])]
    return Certifier(
        Gradient(), GaussianNoise(0.25), certificates, num_samples=num_samples, seed=seed, stopping=stopping
    )


def images():
    """Images in which one pixel is the peak, as long as it is bright."""
    found = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found[:, 0, 3, 3] = 1.0
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run as the command leaves it, from Python."""
    network, samples = Curved(), SampleSet(images(), [0, 0], IDS)
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "peak")
    settings = run_settings(certifier(), network, samples)
    directory.open(settings, provenance=provenance(network, 0, "cpu", (1, 8, 8)))
    results = certifier()(network, images(), ids=IDS)
    for image_id, image, entry in zip(IDS, images(), results, strict=True):
        target = entry["peak"].sampling["target"]
        clean = Gradient()(network, image[None], torch.tensor([target]))[0].detach()
        directory.write(image_id, entry, image, clean, {"label": 0, "prediction": target, "target": target})
    directory.write_table(IDS)
    write_report(directory, IDS)
    return directory, results


def test_it_is_certified_and_read_again_bit_by_bit(run, tmp_path):
    _, results = run
    for entry in results:
        assert entry["peak"].place == (3, 3)
        assert 0.25 < entry["peak"].radius < 1
        save_results(tmp_path / "file", entry)
        again = load_results(tmp_path / "file")["peak"]
        assert isinstance(again, PeakResult)
        assert torch.equal(again.votes, entry["peak"].votes)
        assert again.rederive().radius == entry["peak"].radius


def test_it_has_rows_and_columns_of_its_own(run):
    directory, results = run
    table = pq.read_table(directory.table)
    assert table.column_names[-8:] == [
        "peak_row",
        "peak_column",
        "peak_radius",
        *(column_at("peak", r) for r in (0.05, 0.1, 0.2, 0.3, 0.5)),
    ]
    rows = [row for row in table.to_pylist() if row["certificate"] == "peak"]
    assert [row["peak_radius"] for row in rows] == [entry["peak"].radius for entry in results]
    assert [(row["kind"], row["peak_row"], row["overlap"]) for row in rows] == [("peak", 3, None)] * 2
    assert means(table)["certified/peak_radius"] == pytest.approx(np.mean([row["peak_radius"] for row in rows]))
    assert [row["peak_radius"] for row in table.to_pylist() if row["certificate"] == "pixel"] == [None, None]


def test_it_is_on_the_page_and_in_the_figures(run):
    directory, results = run
    page = directory.report.read_text()
    for words in (
        "Certified peak (peak)",
        "of the images have a certified peak",
        "stays it within the radius stated there",
        "A peak says nothing of the other pixels.",
        "peak: peak certified up to radius",
    ):
        assert words in page
    titles = [axes.get_title() for axes in image_panel(images()[0], results[0]).axes]
    assert {"Votes for the peak", "Certified peak", "Certified"} <= set(titles)
    assert "Certified peak" in [axes.get_title() for axes in dataset_figure(results).axes]
    twice = {"a": results[0]["peak"], "b": results[0]["peak"]}
    assert {"Certified peak (a)", "Certified peak (b)"} <= {axes.get_title() for axes in dataset_figure([twice]).axes}
    assert [axes.get_title() for axes in results[0]["peak"].plot().axes] == ["Certified peak"]


def test_it_is_measured(run):
    _, results = run
    metrics = metrics_for(PeakCertificate(), [0.1, 0.9])
    assert list(metrics) == ["peak_kept_r0_10", "peak_kept_r0_90"]
    metrics.update([entry["peak"] for entry in results])
    assert {name: float(value) for name, value in metrics.compute().items()} == {
        "peak_kept_r0_10": 1.0,
        "peak_kept_r0_90": 0.0,
    }
    named = named_metrics({"top": PeakCertificate()}, [0.1])
    assert list(named["top"].keys()) == ["certified/top_peak_kept_r0_10"]


def test_metrics_take_what_it_offers_and_name_a_kind_that_offers_the_rest(run):
    found = [entry["peak"] for entry in run[1]]
    assert float(certified_one_share(found, 0.1)) == 1
    assert float(certified_fraction(found, 0.1)) == pytest.approx(1 / 64)
    assert float(certified_one_share(found, 9.0)) == 0
    assert certified_gridpg(found, [0, 3], 0.1).map.tolist() == [1.0, 0.0]
    for call, missing in (
        (lambda: mean_certified_radius(found), "needs a PixelResult, got PeakResult"),
        (lambda: certified_fraction(found, part="null"), "needs a PixelResult, got PeakResult"),
        (lambda: certified_overlap(found), "needs an OverlapResult, got PeakResult"),
        (lambda: certified_lens_recall(found), "needs a PixelResult, got PeakResult"),
    ):
        with pytest.raises(InputError, match=missing):
            call()


def test_it_stops_the_sampling():
    stopped = certifier(num_samples=1600, stopping=[AllDecided(), Futility()], certificates=[PeakCertificate()])
    result = stopped(Curved(), images()[:1], ids=IDS[:1])[0]["peak"]
    assert result.radius > 0
    assert result.num_samples < 1600


def test_it_is_attacked(run, tmp_path):
    _, results = run
    certificates = [PeakCertificate()]
    network, image = Curved(), images()[0]
    attack = SandwichAttack(
        certifier(1, certificates=certificates), AttackConfig(eps=1.0, steps=8, smooth_beta=5.0), [0.1, 12.0]
    )
    own = {"peak": results[0]["peak"]}
    assert [one.name for one in quantities(own)] == ["peak"]
    sandwich = attack(network, image, own, "one", 0.001)
    rows = [row for row in sandwich.rows if row["quantity"] == "peak"]
    assert [(row["budget"], row["certified"], row["contradicted"]) for row in rows] == [
        (0.0, 1.0, 0),
        (0.1, 1.0, 0),
        (12.0, 0.0, 0),
    ]
    assert [row["attacked"] for row in rows] == [1.0, 1.0, 0.0], "a large perturbation moves the peak"
    lie = attack(network, image, {"peak": attrs.evolve(own["peak"], radius=20.0)}, "one", 0.001).rows
    assert [row["contradicted"] > 0 for row in lie] == [False, False, True]
    assert "peak, budget 12" in violation(lie[-1])

    directory = RunDirectory(tmp_path / "run")
    directory.open({"sigma": 0.25})
    directory.write("one", own, image, image[0].clone(), {"label": 0, "prediction": 0})
    attacks = directory.attacks
    attacks.open({"num_samples": 400, "error": 0.001, "budgets": [0.1, 12.0]})
    attacks.write("one", sandwich)
    attacks.write_table(["one"])
    write_attack_page(directory, ["one"])
    assert "peak" in attacks.page.read_text()


def test_it_is_audited_like_any_other(run):
    directory, _ = run
    audit = audit_run(directory)
    assert [str(finding) for finding in audit.findings] == []
    assert audit.tallies["peak"] == ("peak", 2, 2)
    assert not any("unknown" in note for note in audit.notes)
    assert count_claims(directory, IDS)[1] == []


def _changed(directory, path, **fields):
    """A copy of a run in which fields of the first image's peak are others; with small figures."""
    quick_figures.use(True)
    copy = RunDirectory(path)
    settings = directory.provenance()
    copy.open(
        settings["settings"],
        provenance={key: settings[key] for key in settings if key not in ("settings", "fingerprint", "sessions")},
    )
    for record in directory.records(IDS):
        results = dict(record.results)
        if record.id == "one":
            results["peak"] = attrs.evolve(results["peak"], **fields)
        copy.write(record.id, results, record.image, record.clean_map, record.facts)
    copy.write_table(IDS)
    write_report(copy, IDS)
    return copy


def test_a_radius_that_was_altered_is_found(run, tmp_path):
    audit = audit_run(_changed(run[0], tmp_path / "altered", radius=2.0), pages=False)
    assert any(str(one).startswith("one, peak: radius: stored 2.0") for one in audit.findings)


def test_claims_that_fresh_noise_contradicts_are_found(run):
    stored, fresh = run[1][0]["peak"], certifier(7)(Curved(), images()[:1], ids=IDS[:1])[0]["peak"]
    assert contradictions("one", "peak", stored, fresh, 0.001) == []
    other = attrs.evolve(fresh, votes=stored.votes.flip(0))
    (found,) = contradictions("one", "peak", stored, other, 0.001)
    assert "vote for the peak" in str(found)


def test_a_run_whose_presentation_fails_is_kept_and_passes_its_audit(run, tmp_path, monkeypatch):
    def fail(self, *_):
        raise ValueError("a mistake")

    for method in ("columns", "rows", "general", "notes", "summary", "tiles", "sheet"):
        monkeypatch.setattr(PeakPresentation, method, fail)
    with pytest.warns(UserWarning, match=r"PeakPresentation, \w+\(\): failed and is left out") as warned:
        copy = _changed(run[0], tmp_path / "kept")
    assert len(warned) == 7
    assert copy.report.is_file()
    assert [str(finding) for finding in audit_run(copy).findings] == []
    assert torch.equal(copy.read("one").results["peak"].votes, run[1][0]["peak"].votes)


@pytest.fixture
def nobody_imports(monkeypatch):
    """As in a process that has never seen this file."""
    every = discovery.subclasses
    monkeypatch.setattr(discovery, "subclasses", lambda base: filter(discovery.is_own, every(base)))


def test_where_nobody_imports_it_the_audit_says_so_and_audits_the_rest(run, tmp_path, nobody_imports):
    directory, _ = run
    assert isinstance(directory.read("one").results["peak"], UnknownResult)
    audit = audit_run(directory)
    (finding,) = audit.findings
    assert "unknown kind, not audited" in str(finding)
    assert "PeakCertificate" in str(finding)
    assert "--import" in str(finding)
    assert "damaged" not in str(finding)
    assert audit.tallies["pixel"] == ("pixel", 2, 2)
    assert audit.tallies["peak"] == ("unknown", 0, 2)

    table = pq.read_table(directory.table)
    column = [2.0 if row["certificate"] == "pixel" else row["max_radius"] for row in table.to_pylist()]
    place = table.column_names.index("max_radius")
    copy = tmp_path / "altered"
    shutil.copytree(directory.path, copy)
    pq.write_table(table.set_column(place, "max_radius", [column]), copy / "results.parquet")
    found = [str(one) for one in audit_run(RunDirectory(copy)).findings]
    assert any("max_radius" in one for one in found), "the rest is audited"


def test_a_run_of_an_unknown_kind_can_be_shown(run, nobody_imports):
    """Its numbers stay in the file; the page says that nothing is claimed."""
    record = run[0].read("one")
    assert "nothing is claimed" in present(record.results["peak"]).general()
    assert image_panel(record.image, record.results, None, record.clean_map)
    assert json.dumps(record.results["peak"].plain)
