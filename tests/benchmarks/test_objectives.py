"""The comparison of training objectives, at sizes that say nothing, and what its tables are made of."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import objective_runs, objectives, objectives_plot

TINY = ["--epochs=1", "--width=4", "--train-images=64", "--images=4", "--steps=2", "--restarts=1", "--samples=64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


def study(what: str, folder, *more: str) -> None:
    presets = ["--only", "cross_entropy", "noise_consistency"]
    objectives.main([what, f"--output={folder}", "--seeds", "0", *presets, "--rounds=1", *TINY, *more])


def test_run_table_and_plot(folder, capsys):
    study("run", folder)
    files = {path: path.read_text() for path in folder.glob("*.json")}
    found = {json.loads(text)["label"]: json.loads(text)["numbers"] for text in files.values()}
    assert set(found) == {"cross_entropy", "noise_consistency"}
    for numbers in found.values():
        shares = [value for name, value in numbers.items() if "kendall" not in name]
        assert all(0 <= value <= 1 for value in shares)
        assert numbers["pgd_accuracy"] <= numbers["accuracy"]
    costs = json.loads((folder / "steps/costs.json").read_text())
    assert costs["noise_consistency"] > 1

    capsys.readouterr()
    study("table", folder)
    out = capsys.readouterr().out
    share = f"{100 * found['cross_entropy']['certified_share']:.1f}"
    (line,) = [line for line in out.splitlines() if line.startswith("| `cross_entropy`") and line.count("|") == 9]
    assert line.split("|")[3].strip() == share

    study("plot", folder, f"--figure={folder}/points.png")
    assert (folder / "points.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_runs_are_kept_and_others_are_not(folder, monkeypatch, capsys):
    study("run", folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    trained = []
    real = objectives.train
    monkeypatch.setattr(objectives, "train", lambda *args: trained.append(args) or real(*args))
    study("run", folder, "--rounds=0")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == before
    assert not trained
    study("run", folder, "--rounds=0", "--epochs=2")  # another budget is another study
    assert len(trained) == 2
    capsys.readouterr()
    study("table", folder)
    assert "2 runs" in capsys.readouterr().out


def test_variations_change_one_argument_and_are_named():
    plain, varied = objectives.cases(["noise_consistency"], ["{}", "{weight: 7.5}"])
    assert varied.label == "noise_consistency {weight: 7.5}"
    assert varied.settings["init_args"] == plain.settings["init_args"] | {"weight": 7.5}
    assert objective_runs.build(varied.settings).weight.at(9) == 7.5


def test_presets_are_those_that_ship_unless_the_table_says_otherwise():
    for name in objective_runs.presets():
        shipped = yaml.safe_load((objective_runs.CONFIGS / f"{name}.yaml").read_text())["model"]["objective"]
        assert (objectives.cases([name], [])[0].settings == shipped) == (name not in objectives.REDUCED)
        assert objectives.named(name).endswith("*") == (name in objectives.REDUCED)


def test_seed_decides_the_network():
    budget = objective_runs.Budget(epochs=1, width=4, train_images=64)
    objective = objective_runs.build(objective_runs.preset("noise_gaussian", {}))
    first, again, other = (
        torch.cat([value.flatten() for value in objective_runs.train(objective, budget, seed).parameters()])
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_spread_is_that_of_seeds():
    runs = [{"numbers": {"share": value}} for value in (0.2, 0.4)]
    assert objectives.spread(runs, "share") == pytest.approx((0.3, 0.1414213562))
    assert objectives.cell(runs, "share") == "30.0 ± 14.1"
    assert objectives.cell(runs[:1], "share") == "20.0"


def test_gains_compare_runs_of_the_same_seed():
    names = ("accuracy", "certified_share", "same_class_overlap", "same_class_overlap_votes")
    base = [{"seed": seed, "numbers": dict.fromkeys(names, value)} for seed, value in ((0, 0.5), (1, 0.1), (2, 0.9))]
    runs = [{"seed": seed, "numbers": dict.fromkeys(names, value)} for seed, value in ((1, 0.2), (0, 0.7))]
    assert objectives.gains(runs, base).split(", ")[1] == "certified_share +15.0 ± 7.1"
    assert objectives.gains(runs, []).split(", ")[0] == "accuracy unknown"


def test_the_figure_of_the_page_has_every_row_of_its_tables(tmp_path):
    page = (Path(__file__).parents[2] / "docs/objectives.md").read_text()
    points = objectives_plot.points_of(page)
    for name in ("claim_hinge", "r2et", "noise_consistency_regions", "ig_norm"):
        assert name in points
    assert len(points) == 37
    (top, top_spread), (certified, certified_spread), overlap = points["r2et"]
    assert f"| `r2et` | 96.0 ± 0.6 | {100 * certified:.1f} ± {100 * certified_spread:.1f} | " in page
    assert f"| {100 * overlap:.1f} ± 0.9 | 87.0 ± 1.5 | 4.5 |" in page
    assert f"| {top:.2f} ± {top_spread:.2f} (0.84) | " in page
