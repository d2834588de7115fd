"""A denoised network through the commands: certified, audited and attacked."""

import contextlib
import io
import json
import warnings

import pytest
import torch
from safetensors.torch import save_file

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN, UNetDenoiser

CONFIG = """
network:
  class_path: Denoised
  init_args:
    denoiser: {{class_path: UNetDenoiser, init_args: {{channels: 1, width: 4, patch: 1, weights: {weights}}}}}
    network: {{class_path: SmallCNN, init_args: {{image_size: 8}}}}
data: {{class_path: Digits, init_args: {{max_images: 2}}}}
certifier:
  attribution: {{class_path: Gradient}}
  noise: {{class_path: GaussianNoise, init_args: {{sigma: 0.25}}}}
  certificates: [{{class_path: PixelCertificate, init_args: {{top_k: [0.5]}}}}]
  num_samples: 60
max_panels: 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run; the checkpoint is that of the classifier, the denoiser has weights of its own."""
    folder = tmp_path_factory.mktemp("denoised")
    torch.manual_seed(0)
    denoiser = UNetDenoiser(1, 4, 1)
    torch.nn.init.normal_(denoiser.leave.weight, std=0.05)
    save_file(denoiser.state_dict(), folder / "denoiser.safetensors")
    save_file(SmallCNN(image_size=8).state_dict(), folder / "classifier.safetensors")
    (folder / "config.yaml").write_text(CONFIG.format(weights=folder / "denoiser.safetensors"))
    files = [f"--config={folder}/config.yaml", f"--checkpoint={folder}/classifier.safetensors"]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()) as said:
        warnings.filterwarnings("always", ".*removes no noise")
        main(["run", *files, f"--output={folder}/run", "--accelerator=cpu"])
    (folder / "stderr").write_text(said.getvalue())
    return folder / "run"


def test_a_denoiser_with_random_weights_gets_a_warning_in_one_line(run):
    (line,) = [line for line in (run.parent / "stderr").read_text().splitlines() if "warning: UNet" in line]
    assert line.startswith("certify.py: warning: UNetDenoiser removes no noise of sigma = 0.25")


def test_a_run_says_what_is_explained_and_stands_the_audit_and_the_attack(run):
    assert json.loads((run / "provenance.json").read_text())["settings"]["explained"].startswith("the classifier at")
    assert "explaining the classifier at the denoised image" in (run / "report.html").read_text()
    main(["audit", str(run), "--fresh", "--num_samples=40"])
    main(["attack", str(run), "--max_images=1", "--num_samples=200", "--budgets=[0.05]"])


def test_other_words_in_the_record_are_found(run, tmp_path, capsys):
    record = run / "provenance.json"
    honest = record.read_text()
    record.write_text(honest.replace("the classifier at the denoised image", "the denoiser and the classifier"))
    try:
        with pytest.raises(SystemExit) as stopped:
            main(["audit", str(run)])
    finally:
        record.write_text(honest)
    assert stopped.value.code != 0
    assert "explained" in capsys.readouterr().out


def test_networks_that_were_trained_here_are_named_by_their_checkpoints(run, tmp_path):
    """Their classes and settings come from the checkpoints; the audit builds them without trusting more."""
    parts = {"net": SmallCNN(image_size=8), "denoiser": UNetDenoiser(1, 4, 1)}
    torch.nn.init.normal_(parts["denoiser"].leave.weight, std=0.05)
    for key, part in parts.items():
        settings = {"image_size": 8} if key == "net" else {"channels": 1, "width": 4, "patch": 1}
        spec = {"class_path": f"lit_certattr.models.{type(part).__name__}", "init_args": settings}
        state = {f"{key}.{name}": value for name, value in part.state_dict().items()}
        torch.save({"hyper_parameters": {key: spec}, "state_dict": state}, tmp_path / f"{key}.ckpt")
    load = "{{class_path: lit_certattr.models.load_network, init_args: {{path: {}}}}}"
    lines = (run.parent / "config.yaml").read_text().splitlines()
    lines[4] = f"    denoiser: {load.format(tmp_path / 'denoiser.ckpt')}"
    lines[5] = f"    network: {load.format(tmp_path / 'net.ckpt')}"
    (tmp_path / "own.yaml").write_text("\n".join(lines))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*removes no noise")
        main(["run", f"--config={tmp_path}/own.yaml", f"--output={tmp_path}/run", "--accelerator=cpu"])
    main(["audit", str(tmp_path / "run"), "--fresh", "--num_samples=40"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sigmas=0.2", "sigmas: Expected a list, e.g. [0.2]. Got value: 0.2"),
        ("--sigmas=[0.2,0.2]", "sigmas must differ, got [0.2, 0.2]: name each noise level once"),
        ("--targets=majority", "targets: Expected one of 'predicted', 'label', 'noisy_majority'. Got value: majority"),
        ("--network.init_args.explain_at=clean", "explain_at: Expected one of 'denoised', 'image'. Got value: clean"),
    ],
)
def test_wrong_words_of_noise_levels_are_one_line(run, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        main(["sigmas", f"--config={run.parent}/config.yaml", words])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
