"""``certify.py attack``: the sandwich of an honest run, its files, going on after a kill, a fake that is exposed."""

import json
import re
import shutil
from pathlib import Path

import attrs
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records import RunDirectory
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.reports.html import write_report
from lit_certattr.robustness import PRESETS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 2
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise:
    class_path: lit_certattr.smoothing.GaussianNoise
    init_args:
      sigma: 0.3
  certificates:
    - class_path: lit_certattr.certificates.PixelCertificate
      init_args:
        top_k: [0.5, 0.2]
    - class_path: lit_certattr.certificates.TopKOverlapCertificate
      init_args:
        top_k: 0.5
  num_samples: 300
  batch_size: 50
max_panels: 1
trainer:
  accelerator: cpu
  threads: 1
"""
QUICK = ("--search.steps=3", "--draws=2", "--judge_draws=8", "--budgets=[0.05,1.5]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and its attacks; never touched."""
    folder = tmp_path_factory.mktemp("attacked")
    torch.manual_seed(0)
    network = SmallCNN(image_size=8)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "digits.ckpt")
    (folder / "digits.yaml").write_text(CONFIG)
    main(
        [
            "run",
            f"--config={folder / 'digits.yaml'}",
            f"--checkpoint={folder / 'digits.ckpt'}",
            f"--output={folder / 'run'}",
        ]
    )
    shutil.copytree(folder / "run", folder / "plain")
    main(["attack", str(folder / "run"), *QUICK, "--random_search"])
    return folder / "run"


@pytest.fixture
def attacked(finished, tmp_path):
    return RunDirectory(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def plain(finished, tmp_path):
    return RunDirectory(shutil.copytree(finished.parent / "plain", tmp_path / "run"))


def _attack(run, capsys, *extra):
    """Exit status, standard output and error."""
    capsys.readouterr()
    try:
        main(["attack", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    return status, *capsys.readouterr()


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_is_a_sandwich(finished):
    attacks = AttackDirectory(RunDirectory(finished))
    rows = pq.read_table(attacks.table).to_pylist()
    quantities = {(row["certificate"], row["quantity"], row["top_k"]) for row in rows}
    assert quantities == {
        ("pixel", "important", 0.5), ("pixel", "unimportant", 0.5), ("pixel", "important", 0.2),
        ("pixel", "unimportant", 0.2), ("topk_overlap", "overlap", 0.5),
    }  # fmt: skip
    assert {row["budget"] for row in rows} == {0.0, 0.05, 1.5}
    assert len(rows) == 2 * 5 * 3
    run = RunDirectory(finished)
    for row in rows:
        assert row["certified"] <= row["attacked_upper"]
        assert row["contradicted"] == 0
        result = run.read(row["id"]).results[row["certificate"]]
        if row["quantity"] == "overlap":
            assert row["certified"] == result.overlap(row["budget"]) / result.size
        else:
            share = result.one_share if row["quantity"] == "important" else lambda r: result.shares(r)["zero"]  # noqa: B023
            assert row["certified"] == pytest.approx(float(share(row["budget"])[row["level"]]))
    largest = [row for row in rows if row["budget"] == 1.5]
    assert sum(row["attacked"] for row in largest) < sum(row["random"] for row in largest)
    assert sum(row["attacked_upper"] for row in rows if row["budget"] == 1.5) < sum(
        row["attacked_upper"] for row in rows if row["budget"] == 0.05
    )
    text = pyarrow.csv.read_csv(attacks.csv).to_pylist()
    assert [row["attacked"] for row in text] == [row["attacked"] for row in rows]


def test_the_page_stands_alone(finished):
    page = AttackDirectory(RunDirectory(finished)).page.read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64") == 1 + 2 * 2
    assert "No certified number is contradicted" in page
    assert '<a href="../report.html">' in page
    assert "<b>Random</b>" in page


def test_perturbed_images_are_kept(finished):
    run = RunDirectory(finished)
    attacks = AttackDirectory(run)
    for image_id in sorted(attacks.finished()):
        sandwich, image = attacks.read(image_id), run.read(image_id).image
        assert len(sandwich.candidates) == 1 + (3 + 1) * 2 * 2  # the prediction is attacked too
        for one, point in zip(sandwich.candidates, sandwich.images, strict=True):
            assert float((point.double() - image.double()).norm()) == pytest.approx(one.length)
            assert one.length <= one.budget


def test_goes_on_after_a_kill_and_ends_with_the_same_bytes(finished, plain, capsys, monkeypatch):
    real, calls = AttackModule.predict_step, []

    def killed(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 2:
            raise RuntimeError("the power went off")
        return real(self, batch, batch_idx)

    arguments = ("attack", str(plain.path), *QUICK, "--random_search")
    with monkeypatch.context() as patch:
        patch.setattr(AttackModule, "predict_step", killed)
        with pytest.raises(RuntimeError, match="power"):
            main(arguments)
    attacks = AttackDirectory(plain)
    assert len(attacks.finished()) == 1
    assert not attacks.table.exists()
    damaged = next(attacks.images.glob("*.safetensors"))
    (attacks.images / ".half.safetensors.partial").write_bytes(b"half")
    status, out, _ = _attack(plain, capsys, *arguments[2:])
    assert status == 0, out
    assert _files(plain.attack) == _files(finished / "attack")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert len(attacks.finished()) == 1, "a damaged file is made again"
    assert _attack(plain, capsys, *arguments[2:])[0] == 0
    assert _files(plain.attack) == _files(finished / "attack")


def test_other_settings_are_refused_until_they_may_overwrite(attacked, capsys):
    before = _files(attacked.path)
    status, _, error = _attack(attacked, capsys, *QUICK, "--random_search", "--search.steps=1")
    assert status == 2
    assert "search.steps was 3, is 1" in error
    assert "--overwrite" in error
    assert error.count("\n") == 1
    assert _files(attacked.path) == before
    one = next(iter(AttackDirectory(attacked).finished()))
    status, out, _ = _attack(attacked, capsys, *QUICK, "--search.steps=1", "--overwrite", f"--ids=[{one}]")
    assert status == 0
    assert "1 image; " in out
    kept = _files(attacked.path)
    elsewhere = attacked.path.parent / "elsewhere"
    status, out, _ = _attack(attacked, capsys, *QUICK, "--search.steps=1", f"--ids=[{one}]", f"--output={elsewhere}")
    assert status == 0
    assert f"{elsewhere / 'attack.html'}" in out
    assert _files(attacked.path) == kept
    assert (elsewhere / "sandwich.parquet").read_bytes() == AttackDirectory(attacked).table.read_bytes()
    assert "report.html" not in (elsewhere / "attack.html").read_text()
    rows = pq.read_table(AttackDirectory(attacked).table).to_pylist()
    assert {row["id"] for row in rows} == {one}
    assert {row["random"] for row in rows} == {None}


def test_an_audit_does_not_mind_the_attacks_and_a_new_run_takes_them_away(attacked, finished, capsys):
    main(["audit", str(attacked.path)])
    assert "attack/ contains attacks" in capsys.readouterr().out
    config, checkpoint = finished.parent / "digits.yaml", finished.parent / "digits.ckpt"
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={attacked.path}",
          "--certifier.seed=9", "--overwrite=true"])  # fmt: skip
    assert not attacked.attack.exists()


def _unanimous(results):
    """Votes that were never cast, and all that follows from them: only new noise can tell."""
    pixel, overlap = results["pixel"], results["topk_overlap"]
    votes = torch.zeros_like(pixel.votes)
    order = pixel.votes[0].flatten().argsort(descending=True)
    for level, size in enumerate(pixel.sizes):
        votes[level].view(-1)[order[:size]] = pixel.num_samples
    return {
        "pixel": attrs.evolve(pixel, votes=votes).rederive(),
        "topk_overlap": attrs.evolve(overlap, votes=votes[0].clone()).rederive(),
    }


def test_a_false_certificate_is_exposed(plain, capsys):
    ids = list(dict.fromkeys(pq.read_table(plain.table).column("id").to_pylist()))
    record = plain.read(ids[0])
    plain.write(ids[0], _unanimous(record.results), record.image, record.clean_map, record.facts)
    plain.write_table(ids)
    write_report(plain, ids, max_panels=yaml.safe_load(plain.config.read_text())["max_panels"])
    main(["audit", str(plain.path)])
    status, out, _ = _attack(plain, capsys, *QUICK)
    assert status == 1
    lines = [line for line in out.splitlines() if line.startswith("VIOLATION")]
    assert lines
    assert all(ids[0] in line for line in lines)
    assert any("important" in line and "pixels)" in line for line in lines)
    assert "contradicted." in AttackDirectory(plain).page.read_text()


def test_a_run_that_fails_its_audit_is_not_attacked(plain, capsys):
    config = yaml.safe_load(plain.config.read_text())
    config["certifier"]["seed"] = 5
    plain.config.write_text(yaml.safe_dump(config))
    status, _, error = _attack(plain, capsys, *QUICK)
    assert status == 2
    assert "does not pass its audit" in error
    assert error.count("\n") == 1
    assert not plain.attack.exists()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (("--budgets=[0.0]",), "budgets must be positive"),
        (("--budgets=[]",), "budgets must be positive"),
        (("--budgets=many",), "budgets"),
        (("--seed=0",), "the run's own"),
        (("--num_samples=0",), "--num_samples must be at least 1"),
        (("--num_samples=3",), "num_samples=3 certifies nothing"),
        (("--error=0",), "--error must lie"),
        (("--draws=0",), "draws and judge_draws must be at least 1"),
        (("--search.steps=-1",), "steps must be at least 0"),
        (("--search.stepz=1",), "search.stepz"),
        (("--max_images=0",), "--max_images must be at least 1"),
        (("--ids=[nobody]",), "no image 'nobody'"),
        (("--checkpoint=nowhere.ckpt",), "nowhere.ckpt: there is no such file"),
    ],
)
def test_bad_arguments(plain, capsys, extra, expected):
    status, _, error = _attack(plain, capsys, *extra)
    assert status == 2
    assert expected in error
    assert error.count("\n") == 1
    assert not plain.attack.exists()


def test_what_is_no_run_is_refused(tmp_path, capsys):
    status, _, error = _attack(RunDirectory(tmp_path), capsys)
    assert status == 2
    assert "holds no run" in error


def test_damaged_settings_are_named(attacked, capsys):
    AttackDirectory(attacked).settings_file.write_text(json.dumps({"settings": 5}))
    status, _, error = _attack(attacked, capsys, *QUICK)
    assert status == 2
    assert "settings.json is damaged" in error


@pytest.mark.parametrize("path", sorted((ROOT / "configs/attack").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_are_understood(finished, tmp_path, capsys, path):
    """Each with the settings that cost time cut short."""
    run = RunDirectory(shutil.copytree(finished.parent / "plain", tmp_path / "run"))
    status, out, error = _attack(run, capsys, f"--config={path}", *QUICK, "--max_images=1", "--num_samples=100")
    assert status == 0, error
    assert "1 image; " in out


def test_a_preset_is_recorded_and_what_is_given_takes_the_place_of_its_settings(plain, capsys):
    status, _, error = _attack(plain, capsys, "--preset=quick", "--draws=1", "--search.restarts=2", "--max_images=1")
    assert status == 0, error
    assert re.search(r"1 image x about [\d,]+ passes, [\d,]+ passes/s: about .* with the preset quick", error)
    settings, quick = AttackDirectory(plain).settings(), PRESETS["quick"]
    assert (settings["preset"], settings["draws"], settings["search"]["restarts"]) == ("quick", 1, 2)
    assert (settings["judge_draws"], settings["search"]["steps"]) == (quick.judge_draws, quick.search.steps)
    assert settings["num_samples"] == 200
    assert len(settings["budgets"]) == len(quick.multiples)
    assert "<td>quick</td>" in AttackDirectory(plain).page.read_text()
    status, _, error = _attack(plain, capsys, "--preset=standard", "--draws=1", "--max_images=1", *QUICK)
    assert status == 2
    assert "preset was quick, is standard" in error


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["attack", "--help"])
    out = capsys.readouterr().out
    assert "certify.py attack runs/certify/mnist5k" in out
    assert "Exit status" in out
    assert "--search.steps" in out


def test_cosine_certificates_with_default_budgets(finished, tmp_path, capsys):
    config = yaml.safe_load(CONFIG)
    config["certifier"] |= {
        "noise": {"class_path": "lit_certattr.smoothing.UniformBallNoise", "init_args": {"sigma": 0.3}},
        "certificates": [
            {"class_path": "lit_certattr.certificates.CosineCertificate", "init_args": {"nonnegative": True}}
        ],
        "num_samples": 600,
    }
    (tmp_path / "cosine.yaml").write_text(yaml.safe_dump(config))
    main(["run", f"--config={tmp_path / 'cosine.yaml'}", f"--checkpoint={finished.parent / 'digits.ckpt'}",
          f"--output={tmp_path / 'run'}"])  # fmt: skip
    run = RunDirectory(tmp_path / "run")
    status, out, _ = _attack(run, capsys, "--search.steps=2", "--draws=2", "--judge_draws=8", "--keep_label")
    assert status == 0, out
    rows = pq.read_table(AttackDirectory(run).table).to_pylist()
    budgets = sorted({row["budget"] for row in rows})
    reach = max(run.read(image_id).results["cosine"].max_radius(0.5) for image_id in {row["id"] for row in rows})
    assert budgets[0] == 0
    assert budgets[1:] == [float(f"{multiple * reach:.2g}") for multiple in PRESETS["standard"].multiples]
    assert all(row["certified"] <= row["attacked_upper"] for row in rows)


def test_files_of_the_user_are_in_the_way_of_no_attack(plain, capsys):
    plain.attack.mkdir()
    (plain.attack / "notes.txt").write_text("mine")
    status, _, error = _attack(plain, capsys, *QUICK, "--overwrite")
    assert status == 2
    assert "attack/notes.txt: is no file of a run); move files that are not of the run to another place" in error
    assert (plain.attack / "notes.txt").read_text() == "mine"
    (plain.path.parent / "else").mkdir()
    (plain.attack / "notes.txt").rename(plain.path.parent / "else" / "notes.txt")
    status, _, error = _attack(plain, capsys, *QUICK, "--overwrite", f"--output={plain.path.parent / 'else'}")
    assert status == 2
    assert "holds no set of attacks; move its files to another place, or choose another --output" in error
    assert (plain.path.parent / "else" / "notes.txt").read_text() == "mine"
