"""A denoised network through the commands: certified, audited, attacked, and a forgery of what was explained."""

import json

import pytest

from lit_certattr.certificates import load_results, save_results
from lit_certattr.cli.certify import main

CONFIG = """
network:
  class_path: Denoised
  init_args:
    denoiser: {class_path: UNetDenoiser, init_args: {channels: 1, width: 4, patch: 1}}
    network: {class_path: SmallCNN, init_args: {image_size: 8}}
data: {class_path: Digits, init_args: {max_images: 2}}
certifier:
  attribution: {class_path: Gradient}
  noise: {class_path: GaussianNoise, init_args: {sigma: 0.25}}
  certificates: [{class_path: PixelCertificate, init_args: {top_k: [0.5]}}]
  num_samples: 60
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    main(["run", f"--config={tmp_path}/config.yaml", f"--output={tmp_path}/run", "--accelerator=cpu", "--max_panels=0"])
    return tmp_path / "run"


def test_a_run_says_what_is_explained_and_stands_the_audit_and_the_attack(run, capsys):
    assert json.loads((run / "provenance.json").read_text())["settings"]["explained"].startswith("the classifier at")
    assert "explaining the classifier at the denoised image" in (run / "report.html").read_text()
    main(["audit", str(run), "--fresh", "--num_samples=40"])
    main(["attack", str(run), "--max_images=1", "--num_samples=200", "--budgets=[0.05]"])


def test_a_run_that_claims_to_explain_both_parts_is_found(run, capsys):
    """Only the words of the results are changed; the network is the same."""
    (file, *_) = sorted((run / "maps").glob("*.safetensors"))
    results = load_results(file)
    for result in results.values():
        result.sampling["explained"] = "the denoiser and the classifier together, at the image"
    save_results(file, results)
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(run)])
    assert stopped.value.code == 1
    assert "explained" in capsys.readouterr().out
