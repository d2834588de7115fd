"""Of a file with two sets of weights the command line takes the one that it is told, and remembers which."""

import pytest
import torch
import yaml

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN, TimmClassifier, network_hash
from lit_certattr.records import RunDirectory

CONFIG = {
    "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 1}},
    "certifier": {
        "attribution": "lit_certattr.attribution.Gradient",
        "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
        "certificates": [
            {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5]}},
        ],
        "num_samples": 200,
    },
    "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
    "max_panels": 0,
    "trainer": {"accelerator": "cpu", "threads": 1},
}


def test_run_and_audit_take_the_named_weights(tmp_path, capsys):
    raw, average = SmallCNN(image_size=8), SmallCNN(image_size=8)
    torch.save({"model": raw.state_dict(), "model_ema": average.state_dict()}, tmp_path / "both.pth")
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(CONFIG))
    run = ["run", f"--config={tmp_path / 'digits.yaml'}", f"--output={tmp_path / 'run'}"]
    run += [f"--checkpoint={tmp_path / 'both.pth'}"]
    with pytest.raises(SystemExit) as stopped:
        main(run)
    assert stopped.value.code == 2
    assert "2 sets of weights for SmallCNN: 'model', 'model_ema'; choose one with weights_key" in (
        capsys.readouterr().err
    )
    main([*run, "--weights_key=model_ema"])
    assert network_hash(average) in str(RunDirectory(tmp_path / "run").provenance())
    main(["audit", str(tmp_path / "run"), "--fresh", "--num_samples=300"])  # the record says which


def test_a_key_without_a_file(tmp_path, capsys):
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(SystemExit):
        main(["run", f"--config={tmp_path / 'digits.yaml'}", "--weights_key=ema"])
    assert "weights_key='ema' selects weights from a file, but no file is given" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no file is given"):
        TimmClassifier("resnet10t", weights_key="ema")
