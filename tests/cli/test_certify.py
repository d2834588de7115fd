"""``certify.py`` as a user calls it: what it leaves, what it refuses, how a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import processes
import pyarrow.parquet as pq
import pytest
import torch
import wandb
import yaml
from PIL import Image

from lit_certattr import jobs
from lit_certattr.certificates import load_results
from lit_certattr.cli.certify import main
from lit_certattr.jobs.attack_effort import default_budgets
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.statistics import look_share

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

DIGITS = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 4
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
  num_samples: 200
  batch_size: 50
max_panels: 1
trainer:
  accelerator: cpu
  threads: 1
"""


def _checkpoint(path: Path, image_size: int = 8) -> Path:
    torch.manual_seed(0)
    network = SmallCNN(image_size=image_size)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": image_size}}
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return _checkpoint(tmp_path_factory.mktemp("checkpoint") / "digits.ckpt")


@pytest.fixture
def arguments(tmp_path, checkpoint):
    """Arguments of a run that works, to be spoiled one by one."""
    config = tmp_path / "digits.yaml"
    config.write_text(DIGITS)
    return ["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}"]


def _files(directory: Path) -> dict[str, bytes]:
    """The files of a run that must not depend on how it was run."""
    files = [directory / "results.parquet", *directory.glob("maps/*"), *directory.glob("images/*")]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_a_run_leaves_the_whole_directory(arguments, tmp_path, capsys):
    main(arguments)
    run = tmp_path / "run"
    stdout, stderr = capsys.readouterr()
    assert stdout.split() == [str(run / "report.html"), str(run / "results.parquet")]
    assert "4 images x 200 samples" in stderr
    assert "about" in stderr
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.yaml", "figures", "images", "maps", "provenance.json", "report.html", "results.parquet"
    }  # fmt: skip
    assert not list(run.rglob("*.partial"))
    table = pq.read_table(run / "results.parquet").to_pylist()
    ids = list(dict.fromkeys(row["id"] for row in table))
    assert [(row["certificate"], row["level"]) for row in table] == [
        ("pixel", 0),
        ("pixel", 1),
        ("topk_overlap", 0),
    ] * 4
    for row in table:
        result = load_results(run / "maps" / f"{row['id']}.safetensors")[row["certificate"]]
        assert result.sampling["image_id"] == row["id"]
        if row["certificate"] == "pixel":
            labels = result.labels[row["level"]]
            assert row["certified"] == pytest.approx((labels >= 0).double().mean().item())
            assert row["one_share"] == pytest.approx(int((labels == 1).sum()) / row["size"])
        else:
            assert row["overlap_r0_1"] == result.overlap(0.1) / result.size
    from lit_certattr.data import Digits

    data = Digits(max_images=4)
    data.setup("predict")
    assert ids == data.predict_set.ids
    provenance = RunDirectory(run).provenance()
    assert provenance["sessions"][0]["samples"] == 800
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_the_saved_config_gives_the_same_run(arguments, tmp_path):
    main(arguments)
    main(["run", f"--config={tmp_path / 'run' / 'config.yaml'}", f"--output={tmp_path / 'again'}"])
    assert _files(tmp_path / "run") == _files(tmp_path / "again")


def test_a_finished_run_is_not_sampled_again(arguments, tmp_path, capsys):
    main(arguments)
    before = _files(tmp_path / "run")
    capsys.readouterr()
    main(arguments)
    assert "4 of 4 images are done already" in capsys.readouterr().err
    assert _files(tmp_path / "run") == before
    assert len(RunDirectory(tmp_path / "run").provenance()["sessions"]) == 1


def test_other_settings_are_refused_and_overwrite_deletes(arguments, tmp_path, capsys):
    main(arguments)
    before = _files(tmp_path / "run")
    line = _refusal([*arguments, "--certifier.seed=1"], capsys)
    assert "seed was 0, is 1" in line
    assert "--output" in line
    assert "--overwrite" in line
    assert _files(tmp_path / "run") == before
    main([*arguments, "--certifier.seed=1", "--overwrite=true"])
    after = _files(tmp_path / "run")
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after if name.startswith("maps/"))


def test_order_and_selection_do_not_matter(arguments, tmp_path):
    main(arguments)
    ids = [path.stem for path in sorted((tmp_path / "run" / "maps").iterdir())]
    main([*arguments[:-1], f"--output={tmp_path / 'one'}", f"--ids=[{ids[2]}]"])
    for folder in ("maps", "images"):
        name = f"{folder}/{ids[2]}.safetensors"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert len(list((tmp_path / "one" / "maps").iterdir())) == 1


def test_labels_can_be_explained(arguments, tmp_path):
    main([*arguments, "--targets=label"])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert all(row["target"] == row["label"] for row in rows)
    assert {row["target_rule"] for row in rows} == {"given"}


def test_weights_go_into_a_network_of_the_config(arguments, tmp_path, checkpoint):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({name.removeprefix("net."): value for name, value in state.items()}, tmp_path / "bare.pt")
    main(arguments)
    network = ["--network=lit_certattr.models.SmallCNN", "--network.init_args.image_size=8"]
    main([*arguments[:2], *network, f"--checkpoint={tmp_path / 'bare.pt'}", f"--output={tmp_path / 'other'}"])
    assert _files(tmp_path / "other") == _files(tmp_path / "run")


# --- refusals -----------------------------------------------------------------------------------------------


def _refusal(arguments: list[str], capsys) -> str:
    """The one line on stderr; stdout must be empty and the status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    stdout, stderr = capsys.readouterr()
    assert stopped.value.code == 2
    assert stdout == ""
    assert stderr.startswith("certify.py: error: ")
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("--certifier.noise.init_args.sigma=0", "sigma must be a positive number, got 0"),
        ("--certifier.noise.init_args.sigma=-1", "sigma must be a positive number, got -1"),
        ("--certifier.noise.init_args.sigma=.nan", "sigma must be a positive number, got nan"),
        ("--certifier.num_samples=5", "at least"),
        ("--certifier.num_samples=0", "num_samples must be at least 1"),
        ("--certifier.nois=1", "certifier.nois"),
        ("--data.init_args.colour=red", "colour"),
        ("--checkpoint=nowhere.ckpt", "checkpoint nowhere.ckpt: there is no such file"),
        ("--config=nowhere.yaml", "nowhere.yaml"),
        ("--ids=[cat]", "there is no image 'cat'"),
        ("--targets=favourite", "targets"),
        ("--trainer.precision=8", "precision"),
        ("--trainer.threads=0", "trainer.threads must be at least 1"),
        ("--trainer.accelerator=abacus", "abacus"),
        ("--radii=[0.1,-0.1]", "radii"),
        ("--data.init_args.max_images=0", "max_images must be at least 1"),
    ],
)
def test_bad_settings(arguments, tmp_path, capsys, extra, expected):
    assert expected in _refusal([*arguments, extra], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"alpha": 0.0}, "alpha must lie strictly between 0 and 1, got 0.0"),
        ({"alpha": 1.5}, "alpha must lie strictly between 0 and 1, got 1.5"),
        ({"top_k": [65]}, "selects 65 of 64 pixels"),
        ({"top_k": []}, "top_k must name at least one level"),
        ({"tau": 1}, "tau must lie in [0.5, 1)"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_certificates(arguments, tmp_path, capsys, settings, expected):
    config = yaml.safe_load(DIGITS)
    config["certifier"]["certificates"] = [
        {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": settings}
    ]
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(config))
    assert expected in _refusal(arguments, capsys)
    assert not (tmp_path / "run").exists()


def test_named_certificates_are_checked_too(arguments, tmp_path, capsys):
    config = yaml.safe_load(DIGITS)
    one, two = config["certifier"]["certificates"]
    config["certifier"]["certificates"] = {"coarse": one, "fine": two}
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(config))
    main(arguments)
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert {row["certificate"] for row in rows} == {"coarse", "fine"}
    two["init_args"]["alpha"] = 0.0
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(config))
    assert "alpha must lie strictly" in _refusal(arguments, capsys)


def test_a_key_that_does_not_exist_in_a_file(arguments, tmp_path, capsys):
    (tmp_path / "digits.yaml").write_text(DIGITS + "colour: red\n")
    assert "colour" in _refusal(arguments, capsys)
    assert not (tmp_path / "run").exists()


def test_a_noise_that_no_theorem_covers(arguments, tmp_path, capsys):
    line = _refusal([*arguments, "--certifier.noise=UniformBallNoise", "--certifier.noise.sigma=0.1"], capsys)
    assert "proved for GaussianNoise" in line


def test_nothing_to_certify(arguments, capsys):
    assert "--checkpoint" in _refusal([*arguments[:2], *arguments[3:]], capsys)


class _Danger:
    def __reduce__(self):
        return os.system, ("false",)


def test_a_checkpoint_with_pickled_objects(arguments, tmp_path, capsys):
    torch.save({"state_dict": {}, "payload": _Danger()}, tmp_path / "evil.ckpt")
    line = _refusal([*arguments, f"--checkpoint={tmp_path / 'evil.ckpt'}"], capsys)
    assert "could run code" in line
    assert not (tmp_path / "run").exists()


def _folder(tmp_path: Path, arguments: list[str], *extra: str, size: int = 8) -> list[str]:
    """Arguments for the images of ``tmp_path / "images"``."""
    config = yaml.safe_load(DIGITS)
    config["data"] = {
        "class_path": "lit_certattr.data.ImageFolder",
        "init_args": {"root": str(tmp_path / "images"), "size": size, "channels": 1},
    }
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(config))
    return [*arguments, *extra]


def _picture(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)).save(path)
    return path


def test_a_missing_and_an_empty_folder(arguments, tmp_path, capsys):
    assert "there is no such folder" in _refusal(_folder(tmp_path, arguments), capsys)
    (tmp_path / "images").mkdir()
    assert "holds no images" in _refusal(_folder(tmp_path, arguments), capsys)
    assert not (tmp_path / "run").exists()


def test_a_truncated_jpeg_behind_good_images(arguments, tmp_path, capsys):
    for name in "ab":
        _picture(tmp_path / "images" / f"{name}.png")
    broken = _picture(tmp_path / "images" / "c.jpg", size=64)
    broken.write_bytes(broken.read_bytes()[:-200])
    assert "c.jpg" in _refusal(_folder(tmp_path, arguments), capsys)
    assert not (tmp_path / "run").exists()


def test_an_image_of_the_wrong_size(arguments, tmp_path, capsys):
    _picture(tmp_path / "images" / "a.png", size=9)
    line = _refusal(_folder(tmp_path, arguments, size=9), capsys)
    assert "(1, 9, 9)" in line
    assert "(1, 8, 8)" in line
    assert not (tmp_path / "run").exists()


def test_labels_where_there_are_none_and_an_unknown_class(arguments, tmp_path, capsys):
    _picture(tmp_path / "images" / "a.png")
    assert "has no label" in _refusal(_folder(tmp_path, arguments, "--targets=label"), capsys)
    for number in range(12):
        _picture(tmp_path / "images" / f"class{number:02d}" / "a.png")
    (tmp_path / "images" / "a.png").unlink()
    line = _refusal(_folder(tmp_path, arguments, "--targets=label"), capsys)
    assert "the data has 12 classes (class00, class01, class02, ...), but SmallCNN has 10 logits" in line
    assert "--class_indices" in line
    names = "--data.init_args.class_names=[class00]"
    assert "class01" in _refusal(_folder(tmp_path, arguments, names), capsys)
    assert not (tmp_path / "run").exists()


def test_12_bits_in_a_16_bit_file(arguments, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    numbers = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype(np.uint16)
    Image.fromarray(numbers).save(tmp_path / "images" / "a.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".*no metadata declare white")
        main(_folder(tmp_path, arguments, "--data.init_args.white_level=auto", "--max_panels=0"))
    assert f"set white_level to {numbers.max()} to keep it" in capsys.readouterr().err
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["data"] == {"white_level": float(numbers.max())}
    first = _files(tmp_path / "run")
    again = [f"--data.init_args.white_level={numbers.max()}", "--data.init_args.splits=none", "--max_panels=0"]
    main(_folder(tmp_path, arguments, *again))  # goes on with the same directory: the images are the same
    assert _files(tmp_path / "run") == first
    capsys.readouterr()
    main(["audit", str(tmp_path / "run")])
    line = _refusal(_folder(tmp_path, arguments, "--data.init_args.white_level=1000"), capsys)
    assert "above white (1000); set white_level higher" in line


def test_two_folders_are_not_the_first_two_of_ten_classes(arguments, tmp_path, capsys):
    """They were: a photograph of another class was labelled with the name of the first folder."""
    for name in ("seven", "nine"):
        _picture(tmp_path / "images" / name / "a.png")
    line = _refusal(_folder(tmp_path, arguments), capsys)
    assert "the data has 2 classes (nine, seven), but SmallCNN has 10 logits: give --class_indices" in line
    assert not (tmp_path / "run").exists()
    (tmp_path / "digits.json").write_text('{"seven": 7, "nine": 9}')
    file = f"--class_indices={tmp_path / 'digits.json'}"
    assert main(_folder(tmp_path, arguments, file, "--targets=label", "--max_panels=2")) is None
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert {(row["id"], row["label"], row["target"]) for row in rows} == {("nine__a.png", 9, 9), ("seven__a.png", 7, 7)}
    report = (tmp_path / "run" / "report.html").read_text()
    assert "seven (7)" in report
    assert "nine (9)" in report
    capsys.readouterr()
    main(["audit", str(tmp_path / "run"), "--fresh"])
    assert "class_indices" in _refusal(
        _folder(tmp_path, arguments, "--class_indices=[7, 10]", "--overwrite=true"), capsys
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return self.net(x), x", "got tuple of 2: wrap it in a module whose forward returns the logits alone"),
        ("return {'logits': self.net(x)}", "got dict (logits)"),
        ("raise ValueError('expected 224 x 224 pixels')", "ValueError: expected 224 x 224 pixels"),
        ("assert x.shape[-1] == 224, 'wrong size'", "AssertionError: wrong size"),
        ("return self.net(x.sub_(0.5))", "changes its input in place"),
        ("return self.net(torch.nn.functional.dropout(x, 0.5))", "another result for the same image each time"),
        ("return self.net(x)[:, :1]", "torch.cat([-s, s], dim=1)"),
        ("return self.net(x) * float('nan')", "NaN or infinite logits"),
        ("return self.net(x - x.mean())", "depends on the other images of the batch"),
    ],
)
def test_a_network_that_cannot_be_certified_is_one_line(arguments, tmp_path, capsys, monkeypatch, body, words):
    (tmp_path / "own_network.py").write_text(
        "import torch\n"
        "from lit_certattr.models import SmallCNN\n"
        "class Own(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = SmallCNN(image_size=8)\n"
        "    def forward(self, x):\n"
        f"        {body}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    checkpoint = next(index for index, argument in enumerate(arguments) if argument.startswith("--checkpoint"))
    own = [*arguments[:checkpoint], *arguments[checkpoint + 1 :], "--network=own_network.Own"]
    assert words in _refusal(own, capsys)
    assert not (tmp_path / "run").exists()


def test_a_network_at_chance_gets_a_warning_of_one_line(arguments, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".*clean labelled images")
        main([*arguments, "--data.init_args.max_images=8", "--certifier.num_samples=150"])
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if "clean labelled images" in line]
    assert len(said) == 1
    assert said[0].startswith("certify.py: warning: ")
    assert "nn.Sequential(Normalize(mean, std), network)" in said[0]
    found = json.loads((tmp_path / "run" / "provenance.json").read_text())["preflight"]
    assert found["checks"] == ["finite", "input unchanged", "repeatable", "independent of the batch"]
    assert found["repeated"] == 0
    assert found["map_shape"] == [8, 8]
    assert found["warnings"] == [said[0].removeprefix("certify.py: warning: ")]


def test_a_nan_pixel(arguments, tmp_path, capsys, monkeypatch):
    (tmp_path / "spoiled_data.py").write_text(
        "import torch\n"
        "from lit_certattr.data import ImageDataModule, SampleSet\n"
        "class Spoiled(ImageDataModule):\n"
        "    def setup(self, stage):\n"
        "        self.class_names, self.image_shape = [], (1, 8, 8)\n"
        "        images = torch.rand(3, 1, 8, 8)\n"
        "        images[2, 0, 0, 0] = torch.nan\n"
        "        self.test_set = SampleSet(images, [0, 0, 0], ['a', 'b', 'c'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = yaml.safe_load(DIGITS)
    config["data"] = {"class_path": "spoiled_data.Spoiled"}
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(config))
    assert "image c has pixels that are not finite" in _refusal(arguments, capsys)
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_not_ours(arguments, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    assert "is a file" in _refusal(arguments, capsys)
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    assert "holds no run" in _refusal([*arguments, "--overwrite=true"], capsys)
    assert (tmp_path / "run" / "thesis.tex").read_text() == "mine"


# --- help and configs ---------------------------------------------------------------------------------------


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for expected in (
        "certify.py run --config configs/certify/photographs.yaml",
        "lit_certattr.models.SmallCNN",
        "Noisy samples per image",
        "--certifier.certificates",
    ):
        assert expected in text
    assert "torch.nn.Linear" not in text


def test_print_config(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--print_config"])
    assert stopped.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["certifier"]["num_samples"] == 200


def test_output_is_named_after_the_config(tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(arguments[:3])
    assert (tmp_path / "runs" / "certify" / "digits" / "report.html").exists()


def test_the_mnist_config(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / "mnist5k.yaml"
    small = ["--certifier.num_samples=100", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "noise", "bound"),
    [
        ("mnist5k_cosine", "UniformBallNoise", "nonnegative"),
        ("mnist5k_cosine_gaussian", "GaussianNoise", "gaussian_nonnegative"),
    ],
)
def test_the_cosine_config(tmp_path, name, noise, bound):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / f"{name}.yaml"
    small = ["--certifier.num_samples=200", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert [(row["kind"], row["noise"], row["num_samples"]) for row in rows] == [("cosine", noise, 200)] * 2
    for row in rows:
        result = load_results(tmp_path / "run" / "maps" / f"{row['id']}.safetensors")["cosine"]
        assert result.rederive().norm == result.norm == row["norm"]
        assert row["cosine_r0_1"] == result.at(0.1) >= 0
        assert (result.dimension, result.bound, len(result.projections)) == (784, bound, 72)
    assert "Certified cosine" in (tmp_path / "run" / "report.html").read_text()


def test_the_config_with_pairs(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / "mnist5k_pairs.yaml"
    small = ["--certifier.num_samples=300", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    for path in (tmp_path / "run" / "maps").glob("*"):
        result = load_results(path)["topk_overlap"]
        assert (result.pairs, result.num_selection, tuple(result.joint.shape)) == (156, 100, (156, 156))
    main(["audit", str(tmp_path / "run")])


def test_the_smoothgrad_config(tmp_path):
    config = ROOT / "configs" / "certify" / "digits_smoothgrad.yaml"
    small = ["--certifier.num_samples=20000", "--data.init_args.max_images=2", "--max_panels=1"]
    small.append("--certifier.attribution.init_args.temperature=0.02")  # a network that was not trained is flat
    checkpoint = _checkpoint(tmp_path / "digits.ckpt")
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert [(row["kind"], row["radius_norm"], row["num_samples"]) for row in rows] == [("smoothgrad", "l2", 20000)] * 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gradient of the probability of the class (ProbabilityGradient(" in page
    main(["audit", str(tmp_path / "run")])
    main(["audit", str(tmp_path / "run"), "--fresh"])


def test_the_renyi_config(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / "mnist5k_renyi.yaml"
    small = ["--certifier.num_samples=200", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert [(row["certificate"], row["radius_norm"]) for row in rows] == [
        ("renyi_l4", "l4"),
        ("renyi_linf", "linf"),
    ] * 2
    results = load_results(tmp_path / "run" / "maps" / f"{rows[0]['id']}.safetensors")
    assert [(result.s, result.dimension) for result in results.values()] == [(4, 784)] * 2
    main(["audit", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("name", "num_pixels"),
    [("photographs", 224 * 224), ("photographs_gradcam", 7 * 7), ("photographs_denoised", 224 * 224)],
)
def test_the_photographs_configs(tmp_path, name, num_pixels):
    config = ROOT / "configs" / "certify" / f"{name}.yaml"
    small = ["--certifier.num_samples=40", "--ids=[chelsea]", "--max_panels=1"]
    main(["run", f"--config={config}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert {row["num_pixels"] for row in rows} == {num_pixels}
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "noise", "words"),
    [
        ("brightness", "NuisanceNoise", "brightness within"),
        ("illumination", "NuisanceNoise", "illumination within"),
        ("exposure", "ExposureNoise", "exposure within"),
        ("gamma", "GammaNoise", "gamma between"),
        ("contrast", "AffineNoise", "contrast between"),
        ("blur", "BlurNoise", "blur of at most"),
    ],
)
def test_the_configs_of_budgets(tmp_path, name, noise, words):
    config = ROOT / "configs" / "certify" / f"{name}.yaml"
    small = ["--certifier.num_samples=24", "--ids=[chelsea]", "--max_panels=0"]
    main(["run", f"--config={config}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert {(row["noise"], row["num_pixels"]) for row in rows} == {(noise, 14 * 14)}
    assert words in (tmp_path / "run" / "report.html").read_text()


def test_the_stickers_config(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / "stickers.yaml"
    small = ["--certifier.num_samples=300", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    results = [load_results(path)["pixel"] for path in (tmp_path / "run" / "maps").glob("*")]
    assert [type(result.change_budget).__name__ for result in results] == ["PatchBudget"] * 2
    assert all(set(result.radius.unique().tolist()) <= {0.0, 0.5, 1.5, 2.5} for result in results)
    assert "of the 49 patches" in (tmp_path / "run" / "report.html").read_text()
    columns = pq.read_table(tmp_path / "run" / "results.parquet").column_names
    at = {name.removeprefix("certified_") for name in columns if name.startswith("certified_")}
    assert at == {"r1", "r2", "r3", "r4"}
    assert jobs.compare([tmp_path / "run"]).radii == (0, 1, 2, 3, 4)
    ids = [path.stem for path in (tmp_path / "run" / "maps").glob("*")]
    assert all(
        budget == int(budget) for budget in default_budgets(RunDirectory(tmp_path / "run"), ids, (0.25, 1.0, 4.0))
    )
    main(["audit", str(tmp_path / "run")])


def test_the_stickers_of_regions_config(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    config = ROOT / "configs" / "certify" / "stickers_regions.yaml"
    small = ["--certifier.num_samples=300", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *small])
    results = [load_results(path)["pixel"] for path in sorted((tmp_path / "run" / "maps").glob("*"))]
    counts = [result.change_budget.count for result in results]
    assert len(set(counts)) == 2  # each image has its own superpixels
    for result, count in zip(results, counts, strict=True):
        assert result.num_pixels == count
        assert f"one of the {count} regions of the clean image (Superpixels(" in result.statement()
        assert result.sampling["masked regions"] == result.sampling["regions"]
        assert set(result.radius.unique().tolist()) <= {0.0, 0.5, 1.5, 2.5}
    main(["audit", str(tmp_path / "run")])


def test_the_folder_config(tmp_path):
    config = ROOT / "configs" / "certify" / "folder.yaml"
    colour = np.random.default_rng(0).integers(0, 256, (240, 300, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(colour).save(tmp_path / "images" / "my holiday.jpg")
    small = ["--certifier.num_samples=40", f"--data.init_args.root={tmp_path / 'images'}", "--max_panels=1"]
    main(["run", f"--config={config}", f"--output={tmp_path / 'run'}", *small])
    assert (tmp_path / "run" / "report.html").exists()


# --- processes ----------------------------------------------------------------------------------------------


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "certify.py"), *arguments]


EARLY = "--certifier.stopping=[{class_path: Futility, init_args: {gain: 0.5, radius: 0.1}}]"


@pytest.mark.figures
@pytest.mark.xdist_group("processes")
def test_two_processes_write_the_same_bytes(arguments, tmp_path):
    """The command starts the second process itself."""
    settings = ["--data.init_args.max_images=5"]  # uneven: three images and two
    main([*arguments, *settings])
    two = [*arguments[:-1], f"--output={tmp_path / 'two'}", *settings, "--trainer.devices=2"]
    done = subprocess.run(_command(*two), capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _files(tmp_path / "two") == _files(tmp_path / "run")


@pytest.mark.xdist_group("processes")
def test_two_processes_that_stop_early_write_the_same_bytes(arguments, tmp_path):
    settings = [EARLY, "--certifier.num_samples=2000", "--data.init_args.max_images=5"]
    main([*arguments, *settings])
    two = [*arguments[:-1], f"--output={tmp_path / 'two'}", *settings]
    two += ["--trainer.devices=2", "--trainer.strategy=ddp_fork"]
    (done,) = processes.run(tmp_path, processes.CERTIFY, two)
    assert done.status == 0, done.stderr
    assert _files(tmp_path / "two") == _files(tmp_path / "run")
    drawn = pq.read_table(tmp_path / "two" / "results.parquet").column("num_samples").to_pylist()
    assert min(drawn) < 2000


@pytest.mark.xdist_group("processes")
def test_killed_and_resumed_ends_with_the_same_bytes(arguments, tmp_path):
    many = ["--certifier.num_samples=4000", "--data.init_args.max_images=6"]
    main([*arguments, *many])
    killed = [*arguments[:-1], f"--output={tmp_path / 'killed'}", *many]
    process = processes.start(tmp_path / "program", processes.CERTIFY, *killed)
    companions = tmp_path / "killed" / "images"
    deadline = time.monotonic() + 200
    while not list(companions.glob("[!.]*")):
        assert process.runs()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.signal(signal.SIGKILL)
    process.end()
    done = sorted(companions.glob("[!.]*"))
    assert 1 <= len(done) < 6, "the run was to be killed in the middle"
    assert not (tmp_path / "killed" / "report.html").exists()
    # Two more accidents: a half-written file, and a bit that flipped on the disk.
    (tmp_path / "killed" / "maps" / ".x.safetensors.partial").write_bytes(b"half")
    damaged = tmp_path / "killed" / "maps" / done[0].name
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    main(killed)
    assert _files(tmp_path / "killed") == _files(tmp_path / "run")
    sessions = RunDirectory(tmp_path / "killed").provenance()["sessions"]
    assert len(sessions) == 2
    assert "finished" not in sessions[0]
    assert "finished" in sessions[1]


# --- loggers ------------------------------------------------------------------------------------------------


def test_a_csv_logger_receives_the_means(arguments, tmp_path):
    logger = ["--logger=lightning.pytorch.loggers.CSVLogger", f"--logger.save_dir={tmp_path / 'logs'}"]
    main([*arguments, *logger])
    (file,) = (tmp_path / "logs").rglob("metrics.csv")
    header, values = (line.split(",") for line in file.read_text().splitlines())
    logged = dict(zip(header, values, strict=True))
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    expected = np.mean([row["one_share"] for row in rows if row["kind"] == "pixel" and row["size"] == 32])
    assert float(logged["certified/one_share_k50"]) == pytest.approx(expected)
    at_radius = np.mean([row["one_share_r0_1"] for row in rows if row["kind"] == "pixel" and row["size"] == 32])
    assert float(logged["certified/one_share_k50_r0_10"]) == pytest.approx(at_radius)  # the name that training uses
    assert 0 <= float(logged["certified/null_k50_r0_10"]) <= float(logged["certified/fraction_k50_r0_10"])
    (file,) = (tmp_path / "logs").rglob("hparams.yaml")
    settings = yaml.safe_load(file.read_text())
    assert settings["certifier"]["num_samples"] == settings["certification"]["num_samples"] == 200
    assert settings["certification"]["sigma"] == 0.3


def test_wandb_offline_receives_config_means_panels_and_table(arguments, tmp_path):
    logger = ["--logger=WandbLogger", "--logger.offline=true", f"--logger.save_dir={tmp_path}", "--max_panels=2"]
    main([*arguments, *logger])
    wandb.teardown()  # the service writes on its own: the file is whole when it has ended
    (run,) = tmp_path.glob("wandb/offline-run-*")
    assert len(list(run.glob("files/media/images/certified/*.png"))) == 2
    (table,) = run.glob("files/media/table/certified/results_*.json")
    content = json.loads(table.read_text())
    rows = pq.read_table(tmp_path / "run" / "results.parquet")
    assert content["columns"] == rows.column_names
    assert [row[0] for row in content["data"]] == rows["id"].to_pylist()
    log = next(run.glob("*.wandb")).read_bytes()
    assert b"num_samples" in log
    assert b"certified/overlap_k50_r0_10" in log


def test_images_may_stop_early(arguments, tmp_path, capsys):
    """The shipped configuration's rules on small digits: samples differ by image, and table and report say so."""
    shipped = yaml.safe_load((ROOT / "configs/certify/mnist5k_anytime.yaml").read_text())["certifier"]
    config = yaml.safe_load(DIGITS)
    config["certifier"] |= {key: shipped[key] for key in ("certificates", "num_samples", "stopping")}
    config["certifier"]["stopping"][0]["init_args"]["gain"] = 0.3  # maps of an untrained network take long to settle
    early = tmp_path / "early.yaml"
    early.write_text(yaml.safe_dump(config))
    main(["run", f"--config={early}", *arguments[2:]])
    run = tmp_path / "run"
    stderr = capsys.readouterr().err
    assert "4 images x at most 2048 samples" in stderr
    assert "about" not in stderr  # a bound, no forecast
    table = pq.read_table(run / "results.parquet").to_pylist()
    drawn = {row["id"]: row["num_samples"] for row in table}
    assert set(drawn.values()) <= {2**k for k in range(4, 12)}
    assert min(drawn.values()) < 2048
    for row in table:
        assert row["samples_saved"] == pytest.approx(1 - row["num_samples"] / 2048)
        result = load_results(run / "maps" / f"{row['id']}.safetensors")[row["certificate"]]
        assert result.num_samples == row["num_samples"]
        looks = result.sampling["looks"]
        assert result.alpha_share == look_share(looks.index(result.num_samples) + 1, len(looks))
    (session,) = json.loads((run / "provenance.json").read_text())["sessions"]
    assert session["samples"] == sum(drawn.values())
    report = (run / "report.html").read_text()
    assert "of the samples saved by stopping early" in report
    assert f"to {max(drawn.values()):,} (mean" in report
    before = _files(run)
    (run / "maps" / f"{next(iter(drawn))}.safetensors").unlink()
    main(["run", f"--config={early}", *arguments[2:]])  # goes on, to the same bits
    assert _files(run) == before


def test_the_shipped_configuration_that_stops_early(tmp_path):
    checkpoint = _checkpoint(tmp_path / "mnist.ckpt", image_size=28)
    settings = ["--data.init_args.max_images=1", "--certifier.num_samples=128", "--max_panels=1"]
    config = ROOT / "configs/certify/mnist5k_anytime.yaml"
    main(["run", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={tmp_path / 'run'}", *settings])
    assert "Futility(gain=0.05" in str(json.loads((tmp_path / "run" / "provenance.json").read_text())["settings"])


def test_a_fixed_number_saves_nothing(arguments, tmp_path):
    main([*arguments, "--data.init_args.max_images=1"])
    assert pq.read_table(tmp_path / "run" / "results.parquet").column("samples_saved").to_pylist() == [0.0] * 3


def test_stopping_rules_from_the_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as status:
        main([*arguments, "--certifier.stopping=[{class_path: Futility, init_args: {gain: 2}}]"])
    assert status.value.code == 2
    assert "gain must lie in (0, 1], got 2" in capsys.readouterr().err
