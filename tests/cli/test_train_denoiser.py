"""``train.py`` for denoisers: chosen by the configuration, resumed exactly, and its mistakes in one line."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lit_certattr.cli.train import main
from lit_certattr.cli.trained_kind import training_module
from lit_certattr.errors import InputError
from lit_certattr.models import UNetDenoiser, load_network
from lit_certattr.modules import DenoiserTraining, RobustClassifier

ROOT = Path(__file__).parents[2]
QUICK = [
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    *("--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.log_every_n_steps=1"),
]
CONFIGS = ROOT / "configs/train"
DIGITS, PHOTOGRAPHS = f"--config={CONFIGS / 'digits_denoiser.yaml'}", f"--config={CONFIGS / 'denoiser.yaml'}"
JUDGE = ["--model.network=lit_certattr.models.SmallCNN", "--model.network.init_args.image_size=8"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 30 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def patches(folder) -> list[str]:
    small = {"size": 16, "val_size": 24, "patches_per_image": 16, "batch_size": 8}
    narrow = "--model.denoiser.init_args.width=4"
    return [
        PHOTOGRAPHS,
        f"--data.init_args.root={folder}",
        narrow,
        *(f"--data.init_args.{k}={v}" for k, v in small.items()),
    ]


def fit(*args: str, epochs: int = 1) -> None:
    main(["fit", *args, *QUICK, f"--trainer.max_epochs={epochs}"])


def logged(run: str, name: str = "train/loss") -> list[tuple[str, str]]:
    with Path("runs", run, "metrics.csv").open() as lines:
        return [(row["step"], row[name]) for row in csv.DictReader(lines) if row.get(name)]


def test_two_configurations_train_and_their_checkpoints_load(here, images):
    for name, args in (("digits_denoiser", [DIGITS]), ("denoiser", patches(images))):
        fit(*args)
        run = here / "runs" / name
        assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        assert len(logged(name, "val/psnr")) == len(logged(name, "val/noisy_psnr")) == 1
        content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
        settings = content["hyper_parameters"]["denoiser"]["init_args"]
        network = load_network(run / "checkpoints/best.ckpt")
        assert isinstance(network, UNetDenoiser)
        assert network.width == settings["width"]
        assert torch.equal(network.enter.weight, content["state_dict"]["denoiser.enter.weight"])
        assert isinstance(DenoiserTraining.load_from_checkpoint(run / "checkpoints/best.ckpt"), DenoiserTraining)


def test_fast_dev_run_writes_nothing(here):
    main(
        ["fit", DIGITS, "--trainer.fast_dev_run=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    )
    assert list(here.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_repeats_an_uninterrupted_one(workers, here, images, monkeypatch):
    more = [*patches(images), f"--data.init_args.num_workers={workers}"]
    last = "runs/denoiser/checkpoints/last.ckpt"
    outcomes = []
    for name in ("whole", "parts"):
        (here / name).mkdir()
        monkeypatch.chdir(here / name)
        if name == "whole":
            fit(*more, epochs=3)
            losses, psnr = logged("denoiser"), logged("denoiser", "val/psnr")
        else:
            fit(*more)
            fit(*more, f"--ckpt_path={last}", epochs=3)
            losses = logged("denoiser") + logged("denoiser/resumed")
            psnr = logged("denoiser", "val/psnr") + logged("denoiser/resumed", "val/psnr")
        outcomes.append((losses, psnr, torch.load(last, weights_only=True)["state_dict"]))
    (losses, psnr, weights), (losses_2, psnr_2, weights_2) = outcomes
    assert len(losses) == 9
    assert (losses, psnr) == (losses_2, psnr_2)
    assert all(torch.equal(weights[name], weights_2[name]) for name in weights)


def trained_judge() -> list[str]:
    """Trains a classifier here, and names it as the judge."""
    main(["fit", f"--config={CONFIGS / 'digits.yaml'}", *QUICK[:3], "--trainer.max_epochs=3"])
    return [
        "--model.network=lit_certattr.models.load_network",
        "--model.network.path=runs/digits/checkpoints/last.ckpt",
    ]


@pytest.mark.slow
def test_a_training_with_stability_resumes_exactly(here, monkeypatch):
    last, judge = "runs/digits_denoiser/checkpoints/last.ckpt", trained_judge()
    judge[1] = judge[1].replace("runs", str(here / "runs"))
    found = []
    for name, parts in (("whole", [3]), ("parts", [1, 3])):
        (here / name).mkdir()
        monkeypatch.chdir(here / name)
        for number, epochs in enumerate(parts):
            more = [f"--ckpt_path={last}"] if number else []
            fit(DIGITS, *judge, "--model.stability=0.01", *more, epochs=epochs)
        runs = ["digits_denoiser", "digits_denoiser/resumed"][: len(parts)]
        names = ("train/loss", "val/psnr", "val/noisy_accuracy")
        found.append([[row for run in runs for row in logged(run, metric)] for metric in names])
    assert found[0] == found[1]
    assert len(found[0][0]) == 9
    assert found[0][2][-1][1] != found[0][2][0][1] or found[0][1][-1][1] != found[0][1][0][1]


@pytest.mark.filterwarnings("default:.*judges the denoiser")
def test_a_network_judges_and_its_weights_stay_out_of_the_checkpoint(here):
    fit(DIGITS, *JUDGE, "--model.stability=0.1")
    assert len(logged("digits_denoiser", "val/noisy_accuracy")) == 1
    assert len(logged("digits_denoiser", "val/noisy_accuracy_plain")) == 1
    state = torch.load("runs/digits_denoiser/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith("denoiser.") for name in state)


def test_a_trained_classifier_is_named_by_its_checkpoint(here, capsys):
    fit(DIGITS, *trained_judge())
    (accuracy,) = logged("digits_denoiser", "val/noisy_accuracy_plain")
    assert float(accuracy[1]) > 0.5
    assert "judges the denoiser" not in capsys.readouterr().err


def test_testing_a_run(here):
    fit(DIGITS)
    run = here / "runs/digits_denoiser"
    main(
        ["test", f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'checkpoints/best.ckpt'}", *QUICK[:3], *JUDGE]
    )
    assert "test/noisy_accuracy" in (run / "test/metrics.csv").read_text()


NET, DENOISER = {"class_path": "SmallCNN"}, {"class_path": "UNetDenoiser"}


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        (["fit"], RobustClassifier),
        (["--help"], RobustClassifier),
        (["fit", "--model.net=SmallCNN"], RobustClassifier),
        (["fit", "--model.denoiser=UNetDenoiser"], DenoiserTraining),
        (["fit", "--model.denoiser", "UNetDenoiser"], DenoiserTraining),
        (["fit", "--model.denoiser.init_args.width=4"], DenoiserTraining),
        (["fit", "--config=own.yaml"], DenoiserTraining),
        (["fit", "--config", "own.yaml", "--model.network=SmallCNN"], DenoiserTraining),
        (["fit", "-c", "own.yaml"], DenoiserTraining),
        (["fit", "--config=layered.yaml"], DenoiserTraining),
        (["fit", "--config=train/denoiser.yaml"], DenoiserTraining),
        (["fit", "--config=long.yaml"], DenoiserTraining),
        (["fit", "--config=binary.yaml"], RobustClassifier),
        (["fit", "--config=."], RobustClassifier),
        (["fit", "--config={model: {denoiser: UNetDenoiser}}"], DenoiserTraining),
        (["--config=whole.yaml", "fit"], DenoiserTraining),
        (["fit", "--model={denoiser: UNetDenoiser}"], DenoiserTraining),
        (["fit", "--model={net: SmallCNN}"], RobustClassifier),
        (["fit", "--config=nowhere.yaml"], RobustClassifier),
        (["fit", "--config=bad.yaml"], RobustClassifier),
        (["fit", "--config"], RobustClassifier),
        ({"fit": {"model": {"denoiser": DENOISER}}}, DenoiserTraining),
        ({"fit": {"model": {"net": NET}}}, RobustClassifier),
    ],
)
def test_the_configuration_decides_what_is_trained(typed, kind, here):
    (here / "own.yaml").write_text(yaml.safe_dump({"model": {"denoiser": DENOISER}}))
    (here / "layered.yaml").write_text("layers: [own.yaml]\ntrainer: {max_epochs: 3}\n")
    (here / "empty.yaml").write_text("trainer: {max_epochs: 3}\n")
    long = {"layers": ["empty.yaml"], "model": {"denoiser": DENOISER, "sigma": [0.1] * 200}}
    (here / "long.yaml").write_text(yaml.safe_dump(long))
    (here / "binary.yaml").write_bytes(bytes([0xFF, 0x00]) * 100)
    (here / "whole.yaml").write_text(yaml.safe_dump({"fit": {"model": {"denoiser": DENOISER}}}))
    (here / "bad.yaml").write_text("model: [")
    assert training_module(typed) is kind


def test_a_classifier_and_a_denoiser_at_once_are_refused(here):
    with pytest.raises(InputError, match=r"model\.net, .*, and model\.denoiser, .*model\.network"):
        training_module(["fit", "--model.net=SmallCNN", "--model.denoiser=UNetDenoiser"])


MISTAKES = {
    "classifier in the layers": (["--model.net=SmallCNN"], r"has model\.net, .*: leave out one of them"),
    "objective": (["--model.objective=CrossEntropy"], r"unrecognized arguments: --model\.objective"),
    "misspelt network": (["--model.network=SmalCNN"], r"did you mean SmallCNN"),
    "network for another size": (["--model.network=SmallCNN"], r"SmallCNN takes images \(1, 28, 28\)"),
    "channels": (["--model.denoiser.init_args.channels=3"], r"this denoiser is for images \[B, 3, H, W\]"),
    "sigma": (["--model.sigma=[0.5,0.1]"], "smallest and the largest"),
    "one sigma": (["--model.sigma=0.25"], r"model\.sigma: Expected values in brackets.*0\.25"),
    "stability alone": (["--model.stability=1"], "set network too"),
    "a classifier as denoiser": (
        ["--model.denoiser=SmallCNN", "--model.denoiser.init_args.image_size=8"],
        r"SmallCNN must return images of the shape that it gets|SmallCNN: Option",
    ),
    "weights of other settings": (
        ["--model.denoiser.init_args.weights=photographs"],
        r"the packaged weights 'photographs' are for channels=3, .*, got channels=1",
    ),
    "missing weights": (["--model.denoiser.init_args.weights=nowhere.pt"], r"nowhere\.pt: there is no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(mistake, here, capsys):
    args, pattern = MISTAKES[mistake]
    with pytest.raises(SystemExit) as stopped:
        fit(DIGITS, *args)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"train\.py: error: .*({pattern}).*\n", err), err
    assert out == ""
    assert list(here.iterdir()) == []


def test_help_of_a_denoiser_teaches(here, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", DIGITS, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "--model.denoiser" in out
    assert "judges the denoiser" in " ".join(out.split())
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "configs/train/denoiser.yaml" in capsys.readouterr().out
