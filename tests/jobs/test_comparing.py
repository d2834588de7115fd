"""Finished runs side by side: numbers, order, pairs, refusals."""

import json
import math
import os
import shutil

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fabricated_runs import make_run

from lit_certattr import jobs
from lit_certattr.comparison import UnlikeRuns
from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory
from lit_certattr.records.evaluation_directory import EvaluationDirectory
from lit_certattr.reports.compare_figure import gaps_figure
from lit_certattr.reports.compare_tables import gaps, machine_rows
from lit_certattr.smoothing import NuisanceNoise

SHARE = "certified/one_share_k25_r0_10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs of the same images: two networks, and the first one with other noise."""
    place = tmp_path_factory.mktemp("runs")
    kinds = ("pixel", "topk_overlap", "cosine", "claim", "prediction")
    make_run(place / "a", kinds=kinds)
    make_run(place / "b", network=3)
    make_run(place / "c", sigma=0.4)
    return place


@pytest.fixture(scope="module")
def found(folder):
    return jobs.compare([folder / name for name in "abc"])


def by_key(found, name, key):
    return next(mean for measure, mean in found.means[name].items() if measure.key == key)


def test_means_are_those_of_the_stored_results(folder, found):
    for name in "abc":
        results = [record.results for record in RunDirectory(folder / name).records([f"image-{i}" for i in range(4)])]
        share = by_key(found, name, SHARE)
        assert share.value == pytest.approx(np.mean([float(one["pixel"].one_share(0.1)[1]) for one in results]))
        null = [float(one["pixel"].null_shares(0.1)["one"][1]) * 64 / 16 for one in results]
        assert share.null == pytest.approx(np.mean(null))
        assert share.num_images == 4
        overlap = by_key(found, name, "certified/overlap_k50_r0_00")
        assert overlap.value == pytest.approx(np.mean([one["topk_overlap"].overlap(0) / 32 for one in results]))
        accuracy = by_key(found, name, "certified/noisy_accuracy")
        assert accuracy.value == pytest.approx(np.mean([one["pixel"].noisy_accuracy for one in results]))
    assert by_key(found, "a", "certified/accuracy").value == pytest.approx(1 / 4)
    assert by_key(found, "a", "certified/seconds_per_image").value == 2.0
    assert by_key(found, "a", "certified/num_samples").value == 150


def test_only_what_a_run_has_is_shown(found):
    every = {name: {measure.key for measure in found.means[name]} for name in "abc"}
    keys = {name: {key for key in own if "class_overlap" not in key} for name, own in every.items()}
    assert keys["b"] == keys["c"] < keys["a"]
    only = {measure.of for measure in found.means["a"] if measure.key in keys["a"] - keys["b"]}
    assert only == {"cosine", "claim", "prediction"}
    assert every["c"] - keys["c"] == {"certified/same_class_overlap_k25", "certified/different_class_overlap_k25"}


def test_the_order_is_that_of_the_chosen_number(folder, found):
    assert found.by.key == SHARE
    values = [by_key(found, run.name, SHARE).value for run in found.runs]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3
    less = jobs.compare([folder / name for name in "abc"], by="certified/seconds_per_image")
    assert [run.name for run in less.runs] == ["a", "b", "c"], "equal runs keep their order"
    lacking = jobs.compare([folder / name for name in "bca"], by="certified/cosine90_radius")
    assert lacking.runs[0].name == "a"


def test_a_comparison_shows_itself_in_one_line_and_as_a_table(found):
    frame = found.frame()
    assert list(frame.index) == [run.name for run in found.runs]
    assert frame.loc["a", SHARE] == by_key(found, "a", SHARE).value
    assert frame.loc["b"].isna().any()  # b has fewer certificates
    assert frame.loc["a"].notna().all()
    text = repr(found)
    assert "\n" not in text
    assert len(text) < 200
    assert all(word in text for word in (found.by.key, "a (", "b (", "c ("))
    page = found._repr_html_()
    assert all(word in page for word in (f"<code>{found.by.key}</code>", "<th>a</th>", "<td>–</td>"))


def test_intervals_hold_the_mean_and_shares_of_images_are_exact(found):
    for mean in found.means["a"].values():
        assert math.isnan(mean.low) or mean.low <= mean.value <= mean.high
    accuracy = by_key(found, "a", "certified/accuracy")
    assert (accuracy.low, accuracy.high) == pytest.approx((0.0063, 0.8059), abs=1e-4)  # Clopper-Pearson, 1 of 4


def test_differences_are_paired(found):
    assert found.baseline == "a"
    assert set(found.differences) == {"b", "c"}
    for name, own in found.differences.items():
        run, base = (next(run for run in found.runs if run.name == one) for one in (name, "a"))
        measure = next(one for one in own if one.key == SHARE)
        apart = [run.values[measure][image] - base.values[measure][image] for image in base.images]
        assert own[measure].value == pytest.approx(np.mean(apart))
        assert own[measure].num_larger == sum(value > 0 for value in apart)
        assert own[measure].num_images == 4
        assert not any(one.key.startswith("cosine") for one in own)


def test_only_equal_images_are_paired(tmp_path, folder):
    make_run(tmp_path / "more", network=3, count=6)
    (tmp_path / "less").mkdir()
    with pytest.raises(UnlikeRuns, match="certified other images"):
        jobs.compare([folder / "a", tmp_path / "more"])
    found = jobs.compare([folder / "a", tmp_path / "more"], force=True)
    assert found.forced == ["a and more certified other images"]
    assert {one.num_images for one in found.differences["more"].values()} == {4}
    make_run(tmp_path / "other", network=3, image_seed=2)
    other = jobs.compare([folder / "a", tmp_path / "other"], force=True)
    assert other.differences == {"other": {}}, "the ids are the same, the pixels are not"


def test_what_must_not_be_ranked_is_named_one_by_one(tmp_path, folder):
    make_run(tmp_path / "d", alpha=0.05, top_k=(0.5, 0.1), image_seed=2)
    with pytest.raises(UnlikeRuns) as refused:
        jobs.compare([folder / "b", tmp_path / "d"])
    assert refused.value.reasons == [
        "b and d certified other images",
        "certificate pixel has K = 0.5, 0.25 in b, 0.5, 0.1 in d",
        "certificate pixel has alpha = 0.01 in b, 0.05 in d",
        "certificate topk_overlap has alpha = 0.01 in b, 0.05 in d",
    ]
    assert any(setting.name == "images" for setting in refused.value.differing)
    found = jobs.compare([folder / "b", tmp_path / "d"], force=True)
    names = {measure.name for measure in found.measures if "one_share" in measure.name}
    assert names == {f"certified/one_share_k{level}" for level in (50, 25, 10)}, "another K is another column"


def test_settings_that_differ_come_in_the_order_of_the_runs(found):
    differing = {setting.name: setting.values for setting in found.differing}
    order = [run.name for run in found.runs]
    noise = dict(zip(order, differing["noise"], strict=True))
    assert noise["a"] == noise["b"] != noise["c"]
    assert "seed" in {setting.name for setting in found.shared}


def test_one_image_has_no_bootstrap_interval(tmp_path):
    make_run(tmp_path / "one", count=1)
    make_run(tmp_path / "two", network=2, count=1)
    found = jobs.compare([tmp_path / "one", tmp_path / "two"])
    mean = by_key(found, "one", SHARE)
    assert math.isnan(mean.low)
    assert math.isnan(mean.high)
    assert not any("class_overlap" in measure.key for measure in found.measures)


def test_twenty_runs(tmp_path):
    for number in range(20):
        make_run(tmp_path / f"run{number}", network=number % 3, count=2, num_samples=120 + number % 2)
    found = jobs.compare([tmp_path / f"run{number}" for number in range(20)], baseline="run7")
    assert len(found.runs) == 20
    assert len(found.differences) == 19


def test_names_and_baseline(tmp_path, folder):
    shutil.copytree(folder / "a", tmp_path / "a")
    with pytest.raises(InputError, match="two runs have the name 'a'"):
        jobs.compare([folder / "a", tmp_path / "a"])
    found = jobs.compare([folder / "a", tmp_path / "a"], names=["x", "y"], baseline=tmp_path / "a")
    assert found.baseline == "y"
    for wrong, words in (
        ({"names": ["x"]}, "1 names for 2"),
        ({"names": ["x", "x\n"]}, "distinct --names"),
        ({"names": ["x", "  "]}, "no name"),
        ({"names": ["x", "y"], "baseline": "z"}, "none of the runs"),
    ):
        with pytest.raises(InputError, match=words):
            jobs.compare([folder / "a", tmp_path / "a"], **wrong)
    with pytest.raises(InputError, match=r"did you mean certified/one_share_k25_r0_25\?"):
        jobs.compare([folder / "b", folder / "c"], by="certified/one_share_k25_r0_2")


def _spoil(run, how):
    if how == "empty":
        shutil.rmtree(run.path)
        run.path.mkdir()
    elif how == "missing":
        shutil.rmtree(run.path)
    elif how == "unfinished":
        run.table.unlink()
    elif how == "a table that is none":
        run.table.write_bytes(b"PAR1")
    elif how == "a directory for a table":
        run.table.unlink()
        run.table.mkdir()
    elif how == "a pipe":
        run.table.unlink()
        os.mkfifo(run.table)
    elif how == "no image":
        pq.write_table(pa.table({"id": pa.array([], pa.string())}), run.table)
    elif how == "an id that leaves the directory":
        pq.write_table(pa.table({"id": ["../../etc"]}), run.table)
    elif how == "a lost image":
        (run.images / "image-1.safetensors").unlink()
    elif how == "a flipped bit":
        path = run.maps / "image-1.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    elif how == "provenance":
        run.provenance_file.write_text("[]")
    elif how == "no settings":
        run.provenance_file.write_text("{}")
    elif how == "config":
        run.config.write_text("a: &a [*a]")
    else:
        started = json.dumps({"pid": 1, "host": "another machine", "started": None})
        run.lock.path.write_text(started)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "there is no provenance.json"),
        ("missing", "there is no such folder"),
        ("unfinished", "is not finished"),
        ("a table that is none", "no table, or damaged"),
        ("a directory for a table", "is a directory, not a file"),
        ("a pipe", "is a named pipe"),
        ("no image", "without images"),
        ("an id that leaves the directory", "names an image"),
        ("a lost image", "no such file"),
        ("a flipped bit", "damaged"),
        ("provenance", "is damaged"),
        ("no settings", "holds no settings"),
        ("config", "alias"),
        ("running", "in use by process"),
    ],
)
def test_a_bad_directory_is_one_line(tmp_path, how, words):
    run = make_run(tmp_path / "bad", count=2)
    _spoil(run, how)
    with pytest.raises(InputError, match=words) as refused:
        jobs.compare([run.path])
    assert "\n" not in str(refused.value)


def test_lengths_of_other_budgets_are_never_in_one_column(tmp_path, folder):
    law = NuisanceNoise(0.25, brightness=0.2)
    make_run(tmp_path / "light", law=law, kinds=("pixel",))
    with pytest.raises(UnlikeRuns) as refused:
        jobs.compare([folder / "b", tmp_path / "light"])
    (reason,) = refused.value.reasons
    assert reason.startswith("certificate pixel is about changes measured as l2 in b, NuisanceNoise(sigma=0.25")
    found = jobs.compare([folder / "b", tmp_path / "light"], force=True)
    shared = {one for one in found.means["b"] if one in found.means["light"]}
    assert not any(one.of for one in shared)
    assert found.runs[-1].name == "light", "it lacks the number that orders the runs"
    of_none = {f"certified/{name}" for name in ("noisy_accuracy", "accuracy", "num_samples")}
    assert {one.key for one in found.differences["light"]} == of_none
    columns = [key for row in machine_rows(found) for key in row if key.startswith("certified/one_share_k25_r0_10")]
    assert {key.partition("[")[0] for key in columns} >= {"certified/one_share_k25_r0_10"}
    assert any("NuisanceNoise" in key for key in columns), "a column of its own"


def test_levels_in_another_order_are_the_same_levels(tmp_path):
    make_run(tmp_path / "down", count=2)
    make_run(tmp_path / "up", top_k=(0.25, 0.5), kinds=("pixel",), count=2)
    found = jobs.compare([tmp_path / "down", tmp_path / "up"])
    assert by_key(found, "down", SHARE).value == by_key(found, "up", SHARE).value


@pytest.mark.parametrize("nested", ["lists", "mappings"])
def test_settings_that_nest_deeply_are_cut(tmp_path, nested):
    run = make_run(tmp_path / "deep", count=2)
    content = run.provenance()
    value = 1
    for _ in range(200):
        value = [value] if nested == "lists" else {"x": value}
    content["settings"]["evil"] = value
    run.provenance_file.write_text(json.dumps(content))
    found = jobs.compare([run.path])
    assert max(len(setting.values[0]) for setting in found.shared) <= 200


def test_an_old_run_without_noisy_accuracy_is_compared(tmp_path):
    run = make_run(tmp_path / "old", count=2)
    table = pq.read_table(run.table).drop_columns(["noisy_accuracy", "num_predictions", "num_extra_passes"])
    pq.write_table(table, run.table)
    content = run.provenance()
    run.provenance_file.write_text(json.dumps({"settings": content["settings"]}))
    run.config.unlink()
    found = jobs.compare([run.path])
    assert "certified/noisy_accuracy" in {measure.key for measure in found.measures}, "the results have it"
    assert "certified/seconds_per_image" not in {measure.key for measure in found.measures}


def _evaluation(path, network, values, images="images 1 4", **settings):
    directory = EvaluationDirectory(path)
    own = {"network": f"hash {network}", "structure": "s", "attribution": "Gradient()", "images": images}
    directory.open(own | {"searches": {"attack": "x"}} | settings)
    rows = [
        (
            f"image-{index}",
            {"prediction": 1, "correct": True, "adversarial_correct": index > 0, "attack_kendall": value},
        )
        for index, value in enumerate(values)
    ]
    directory.write_batch(rows)
    directory.finish([name for name, _ in rows], ["attack"], {"kendall": "Kendall"}, ["kendall"])
    return path


def test_evaluations_of_the_same_networks(tmp_path, folder):
    attribution = RunDirectory(folder / "a").provenance()["settings"]["attribution"]
    first = _evaluation(tmp_path / "first", 0, [0.5, 0.25], attribution=attribution)
    second = _evaluation(tmp_path / "second", 3, [0.25, math.nan], attribution=attribution)
    found = jobs.compare([folder / "a", folder / "b"], evaluations=[first, second])
    assert by_key(found, "a", "evaluate/attack_kendall").value == 0.375
    assert by_key(found, "b", "evaluate/attack_kendall").num_images == 1
    assert by_key(found, "b", "evaluate/adversarial_accuracy").value == 0.5
    paired = next(one for measure, one in found.differences["b"].items() if measure.key == "evaluate/attack_kendall")
    assert (paired.value, paired.num_images) == (-0.25, 1)
    other = _evaluation(tmp_path / "third", 3, [0.25], attribution=attribution, top_k=0.2)
    with pytest.raises(UnlikeRuns, match=r"top_k was None, is 0\.2"):
        jobs.compare([folder / "a", folder / "b"], evaluations=[first, other])
    stranger = _evaluation(tmp_path / "fourth", 9, [0.25], attribution=attribution)
    with pytest.raises(InputError, match="none of these runs"):
        jobs.compare([folder / "a"], evaluations=[stranger])
    with pytest.raises(InputError, match="evaluate the same run"):
        jobs.compare([folder / "b"], evaluations=[second, other])


def _attacked(run, fingerprint=None):
    from lit_certattr.records.attack_directory import schema

    settings = {"run": run.provenance()["fingerprint"] if fingerprint is None else fingerprint}
    run.attacks.open(settings)
    rows = [
        {"id": image, "certificate": "topk_overlap", "quantity": "overlap", "level": 0, "top_k": 0.5,
         "budget": budget, "certified": 0.5 - budget, "attacked_upper": 0.75}
        for image in ("image-0", "image-1") for budget in (0.0, 0.25)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), run.attacks.table)


def test_gaps_of_attacks(tmp_path):
    run = make_run(tmp_path / "attacked", count=2)
    _attacked(run)
    (only,) = jobs.compare([run.path]).runs
    assert [(one.what, one.budget, one.gap, one.num_images) for one in only.gaps] == [
        ("overlap, K = 50 % (topk_overlap)", 0.0, 0.25, 2),
        ("overlap, K = 50 % (topk_overlap)", 0.25, 0.5, 2),
    ]


def test_gaps_are_drawn_and_shown(tmp_path):
    run = make_run(tmp_path / "attacked", count=2)
    _attacked(run)
    found = jobs.compare([run.path, make_run(tmp_path / "other", network=3, count=2).path])
    figure = gaps_figure(found)
    (axes,) = (axes for axes in figure.axes if axes.get_title())
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.5, 0.25], [0.75, 0.75]]
    grid = gaps(found)
    assert grid.heads == ["run", "what", "budget", "certified", "at most", "gap", "images"]
    assert "a share of K can exceed 1" in grid.note
    assert [[cell.shown for cell in row] for row in grid.rows] == [
        ["attacked", "overlap, K = 50 % (topk_overlap)", "0.25", "0.250", "0.750", "0.500", "2"]
    ]


def test_a_level_that_is_none_is_one_line(tmp_path):
    run = make_run(tmp_path / "attacked", count=2)
    _attacked(run)
    table = pq.read_table(run.attacks.table)
    place = table.column_names.index("top_k")
    forged = table.set_column(place, "top_k", pa.array(["x"] * table.num_rows))
    pq.write_table(forged, run.attacks.table)
    with pytest.raises(InputError, match="row without numbers"):
        jobs.compare([run.path])


def test_certificates_that_somebody_forged_are_one_line(tmp_path):
    run = make_run(tmp_path / "forged", count=2)
    record = run.read("image-1")
    pixel = record.results["pixel"]
    forged = {"pixel": attrs.evolve(pixel, sizes=(0, 0))}
    run.write("image-1", forged, record.image, record.clean_map, record.facts)
    with pytest.raises(InputError, match="certificates of image image-1 cannot be used"):
        jobs.compare([run.path])


def test_attacks_on_another_run_are_refused(tmp_path):
    run = make_run(tmp_path / "attacked", count=2)
    _attacked(run, "of another run")
    with pytest.raises(InputError, match="attacks on another run"):
        jobs.compare([run.path])
