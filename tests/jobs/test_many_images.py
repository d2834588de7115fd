"""What comparing, exporting, logging and certifying again keep of the images: a few numbers, however large they are."""

import gc
import math
import tracemalloc
import weakref

import pytest
from fabricated_runs import MAKERS, make_run
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.comparison.gathered import Gathered
from lit_certattr.comparison.measures import Measure
from lit_certattr.records import RunDirectory, stored_table
from lit_certattr.reports import chosen
from lit_certattr.reports.log_run import log_run
from lit_certattr.smoothing import GaussianNoise

COUNT = 12
IDS = [f"image-{at}" for at in range(COUNT)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("many") / "run", count=COUNT)


def log(run, logger, kinds=("pixel", "topk_overlap")):
    certificates = {kind: MAKERS[kind](0.01, (0.5, 0.25)) for kind in kinds}
    certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=150, batch_size=50)
    log_run(logger, run, IDS, certifier, (0.05, 0.3))


@pytest.fixture
def alive(monkeypatch):
    """How many images were in memory at each reading of an image."""
    read, results, counts = RunDirectory.read, [], []

    def noted(self, image_id):
        gc.collect()
        counts.append(sum(one() is not None for one in results))
        record = read(self, image_id)
        results.append(weakref.ref(next(iter(record.results.values()))))
        return record

    monkeypatch.setattr(RunDirectory, "read", noted)
    return counts


@pytest.mark.parametrize("form", ["compare", "csv", "latex", "markdown", "pdf", "log"])
def test_images_are_read_one_at_a_time_and_not_kept(run, tmp_path, alive, form):
    if form == "compare":
        jobs.compare([run.path, run.path], names=["a", "b"], output=tmp_path / "compare", progress=False)
    elif form == "log":
        log(run, CSVLogger(tmp_path, "log", ""))
        assert len(alive) == COUNT, "each image is read once"
    else:
        jobs.export(run.path, form, per_image=form != "pdf")
    assert max(alive) <= 3, "the first image of each run, and the one before"


def grown(run, count, task):
    """Bytes by which a task needs more memory where a run has more images."""
    peaks = []
    for number in (1, count):
        few = make_run(run.path.parent / f"{task.__name__}{number}", count=number * COUNT)
        task(few)  # what is imported and cached
        tracemalloc.start()
        task(few)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / ((count - 1) * COUNT)


@pytest.mark.slow
def test_memory_grows_by_a_few_numbers_per_image(run):
    """Not by the points of all curves, and not by the cells of the table."""

    def table(run):
        jobs.export(run.path, "latex", per_image=True)

    assert grown(run, 16, table) < 4000


def test_only_numbers_that_tables_show_are_kept_of_each_image(run):
    (found,) = jobs.compare([run.path], radii=[0.1]).runs
    assert {one.radius for one in found.values} == {None, 0.1}
    assert len({one.radius for one in found.means}) > 20, "curves have means"
    measure = next(one for one in found.values if one.radius == 0.1)
    assert found.means[measure] == math.fsum(found.values[measure].values()) / COUNT


def test_numbers_of_images_are_a_mapping_of_those_that_have_one():
    gathered, one, two = Gathered(), Measure("a", "a", "group"), Measure("b", "b", "group")
    for at in range(4):
        gathered.add((f"image-{at}", ""), one, float(at), math.nan)
        gathered.add((f"image-{at}", ""), two, 1.0 if at == 1 else math.nan, 0.5)
    first, second = gathered.columns[one], gathered.columns[two]
    assert list(first.items()) == [((f"image-{at}", ""), float(at)) for at in range(4)]
    assert dict(second) == {("image-1", ""): 1.0}
    assert len(second) == 1
    assert ("image-0", "") not in second
    assert ("image-3", "") not in second
    assert ("else", "") not in first
    assert gathered.nulls.keys() == {two}


def test_a_table_of_any_width_is_compared(run, monkeypatch):
    """Of a foreign file no more than a limit is read, which all columns of 100,000 images may exceed: only ids are."""
    whole = stored_table.read_table(run.table, 1000)
    monkeypatch.setattr(stored_table, "_MAX_MEMORY", whole.nbytes // 2)
    monkeypatch.setattr(stored_table, "_PER_IMAGE", 0)
    assert len(jobs.compare([run.path]).runs[0].images) == COUNT


def test_a_run_without_levels_is_logged(tmp_path):
    log(make_run(tmp_path / "run", kinds=("prediction",), count=COUNT), CSVLogger(tmp_path, "log", ""), ("prediction",))
    assert "certified/prediction_r0_30" in (tmp_path / "log" / "metrics.csv").read_text()


@pytest.mark.parametrize("large", [False, True])
def test_of_a_large_run_weights_and_biases_gets_the_rows_that_the_page_shows(run, tmp_path, monkeypatch, large):
    if large:
        monkeypatch.setattr(chosen, "LARGE", COUNT - 1)
        monkeypatch.setattr(chosen, "_ROWS", 6)
    tables = {}
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    monkeypatch.setattr(WandbLogger, "log_table", lambda self, key, **given: tables.update({key: given}))
    log(run, WandbLogger(save_dir=tmp_path, offline=True))
    table = tables["certified/results"]
    assert table["columns"] == stored_table.read_table(run.table, 1000).column_names
    ids = {row[0] for row in table["data"]}
    assert len(ids) == (6 if large else COUNT)
    assert len(table["data"]) == 3 * len(ids)


def test_the_curves_of_a_pdf_are_those_of_the_report(run, monkeypatch, alive):
    monkeypatch.setattr(chosen, "LARGE", COUNT - 1)
    monkeypatch.setattr(chosen, "_CURVES", 5)
    jobs.export(run.path, "pdf")
    assert len(alive) == COUNT + 1 + 5
