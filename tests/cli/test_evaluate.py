"""``certify.py evaluate``: the table, its files, going on after a kill, refusals; every protocol parses."""

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from wandb_files import runs

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.records.evaluation_directory import means, summary_markdown

ROOT = Path(__file__).parents[2]
PROTOCOLS = sorted((ROOT / "configs/protocol").glob("*.yaml"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "digits.ckpt"
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, path)
    return path


@pytest.fixture
def arguments(tmp_path, checkpoint):
    return [
        "evaluate",
        f"--config={ROOT}/configs/protocol/mnist5k.yaml",
        f"--checkpoint={checkpoint}",
        "--data=Digits",
        "--data.init_args.max_images=60",
        "--data.init_args.batch_size=20",
        "--protocol.attribution=Gradient",
        "--protocol.objective.init_args.top_k=12",
        "--protocol.search.steps=3",
        "--protocol.prediction_search.steps=3",
        "--protocol.top_k=12",
        "--protocol.windows=[1]",
        f"--output={tmp_path / 'run'}",
        "--trainer.accelerator=cpu",
        "--trainer.threads=1",
    ]


def _files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_an_evaluation_leaves_its_tables(arguments, tmp_path, capsys):
    main(arguments)
    run = tmp_path / "run"
    said = capsys.readouterr()
    assert "natural accuracy" in said.out
    assert "Kendall tau-b" in said.out
    assert "60 images" in said.out
    images = pq.read_table(run / "images.parquet").to_pylist()
    assert len(images) == 60
    summary = {(row["search"], row["number"]): row for row in pyarrow.csv.read_csv(run / "summary.csv").to_pylist()}
    share = sum(row["correct"] for row in images) / 60
    assert 0 < share < 1  # an untrained network guesses some digits
    assert summary["", "natural_accuracy"]["mean"] == pytest.approx(share)
    kept = [row["attack_kendall"] for row in images if row["correct"]]
    assert summary["attack", "kendall"]["mean"] == pytest.approx(sum(kept) / len(kept), abs=1e-9)
    assert summary["attack", "kendall"]["num_images"] == len(kept)
    assert all(row["attack_kendall"] is None for row in images if not row["correct"])
    assert summary["random", "lens_recall_w1_chance"]["mean"] > 12 / 64
    text = (run / "summary.md").read_text()
    assert text.startswith("|  | attack | random | chance |")
    assert f"| natural accuracy | {share:.3f} ± " in text
    assert (run / "agreement.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((run / "config.yaml").read_text())["protocol"]["top_k"] == 12


def test_what_the_maps_are_worth_stands_beside_chance(arguments, tmp_path, capsys):
    main(arguments)
    run = tmp_path / "run"
    summary = {(row["search"], row["number"]): row for row in pyarrow.csv.read_csv(run / "summary.csv").to_pylist()}
    images = [row for row in pq.read_table(run / "images.parquet").to_pylist() if row["correct"]]
    for name in ("sparseness", "sparseness_centre", "sparseness_chance", "random_logit", "random_logit_chance"):
        values = [row[name] for row in images]
        assert summary["", name]["mean"] == pytest.approx(sum(values) / len(values), abs=1e-9)
    own = summary["", "sparseness"]["mean"]
    text = (run / "summary.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| sparseness (Gini index) |"))
    assert line.startswith(f"| sparseness (Gini index) | {own:.3f} ± ")
    assert line.endswith("|  | 0.414 |")
    assert "similarity to another class's map" in capsys.readouterr().out
    assert "qualities" in _refusal([*arguments, "--protocol.qualities=[]"], capsys)  # that is another evaluation


def test_an_image_without_a_mask_is_named_before_anything_is_written(arguments, tmp_path, capsys):
    quality = {
        "class_path": "lit_certattr.metrics.quality.RankAccuracyQuality",
        "init_args": {
            "mask": {
                "class_path": "lit_certattr.numbers.RegionMask",
                "init_args": {
                    "regions": {"class_path": "lit_certattr.regions.MaskFolder", "init_args": {"path": str(tmp_path)}}
                },
            }
        },
    }
    assert "has no mask in" in _refusal([*arguments, f"--protocol.qualities={json.dumps([quality])}"], capsys)
    assert not (tmp_path / "run").exists()


def test_a_killed_evaluation_goes_on_and_ends_with_the_same_bytes(arguments, tmp_path, capsys):
    main(arguments)
    run = tmp_path / "run"
    whole = _files(run)
    first, second, _ = sorted((run / "batches").glob("*.json"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:50])
    (run / "batches" / ".x.json.partial").write_bytes(b"x")
    (run / "summary.csv").unlink()
    main(arguments)
    assert _files(run) == whole
    assert "20 of 60 images are done already" in capsys.readouterr().err
    main(arguments)
    assert "60 of 60 images are done already" in capsys.readouterr().err
    assert _files(run) == whole


@pytest.mark.slow
def test_an_evaluation_that_is_repeated_goes_on_in_its_run_of_wandb(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        *arguments,
        "--max_images=20",
        "--logger=WandbLogger",
        "--logger.offline=true",
        "--logger.save_dir=runs",
    ]
    main(arguments)
    main(arguments)
    main([*arguments, "--overwrite"])
    first, again, other = (one.record for one in runs(tmp_path))
    assert first.run_id == again.run_id != other.run_id
    assert first.job_type == again.job_type == "evaluate"
    assert json.loads((tmp_path / "run" / "wandb.json").read_text()) == {"wandb_run": other.run_id}


def _refusal(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_refusals_write_nothing(arguments, tmp_path, capsys):
    for extra, said in (
        ("--protocol.search.eps=-1", "eps"),
        ("--protocol.criterion=spearman", "criterion"),
        ("--protocol.windows=[-1]", "window"),
        ("--protocol.top_k=65", "65 pixels of 64"),
        ("--protocol.objective.init_args.top_k=65", "65"),
        ("--data=Photographs", "label"),
        ("--ids=[nobody]", "nobody"),
        ("--protocol.steps=3", "steps"),
        (f"--checkpoint={tmp_path / 'absent.ckpt'}", "absent.ckpt"),
    ):
        line = _refusal([*arguments, extra], capsys)
        assert said in line, line
        assert not (tmp_path / "run").exists(), extra


def test_other_settings_are_refused(arguments, tmp_path, capsys):
    main(arguments)
    capsys.readouterr()
    before = _files(tmp_path / "run")
    assert "eps=0.3" in _refusal([*arguments, "--protocol.search.eps=0.2"], capsys)
    assert _files(tmp_path / "run") == before
    main([*arguments, "--protocol.search.eps=0.2", "--overwrite=true"])
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert "eps=0.2" in settings["searches"]["attack"]
    capsys.readouterr()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    assert "holds no evaluation" in _refusal([*arguments, f"--output={tmp_path / 'other'}"], capsys)


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_every_protocol_parses(path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", f"--config={path}", "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["protocol"]["search"]["norm"] == "linf"
    assert config["output"] == f"runs/evaluate/{path.stem}"


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert "certify.py evaluate --config configs/protocol/mnist5k.yaml" in text
    for name in ("--protocol.criterion", "--protocol.search.eps", "--protocol.random_search"):
        assert name in text


def test_means_and_their_errors():
    rows = [
        {"correct": True, "adversarial_correct": False, "attack_kendall": 0.2},
        {"correct": True, "adversarial_correct": True, "attack_kendall": 0.6},
        {"correct": False, "adversarial_correct": False},
    ]
    natural, adversarial, kendall = means(rows, ["attack"], ["kendall", "spearman"])
    assert natural.mean == pytest.approx(2 / 3)
    assert natural.standard_error == pytest.approx((2 / 9 / 2) ** 0.5)
    assert adversarial.mean == pytest.approx(1 / 3)
    assert (kendall.mean, kendall.num_images) == (pytest.approx(0.4), 2)
    assert kendall.standard_error == pytest.approx(0.2)
    assert (
        summary_markdown([kendall], ["attack"], {"kendall": "Kendall"}).splitlines()[-1]
        == "| Kendall | 0.400 ± 0.200 |  |"
    )
