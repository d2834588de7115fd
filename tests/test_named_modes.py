"""Modes of arithmetic and of memory that a user may choose, by name: what they change, and that they are recorded."""

from typing import ClassVar

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from lit_certattr import Certifier
from lit_certattr.attribution import RISE, Gradient
from lit_certattr.attribution.batching import starting_batch
from lit_certattr.certificates import PixelCertificate
from lit_certattr.cli.certify import main
from lit_certattr.data import Sample, collate
from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet
from lit_certattr.modules import CertificationModule
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(1)
    network = CifarResNet(8, 5, 1, 4, (0.5,), (0.25,))
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(32, 1, 8, 8))
    return network.eval()


def certifier(**options):
    options = {"num_samples": 150, "batch_size": 32} | options
    return Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5, 0.1], alpha=0.05)], **options)


def votes(results):
    return torch.stack([one["pixel"].votes for one in results])


# Folded batch normalisation -------------------------------------------------------------------------------------------


class Watched(CifarResNet):
    """Notes whether the network that runs has batch normalisations."""

    seen: ClassVar[set[int]] = set()

    def forward(self, images):
        self.seen.add(sum(isinstance(module, _BatchNorm) for module in self.modules()))
        return super().forward(images)


def test_the_folded_network_is_what_is_certified(net):
    watched = Watched(8, 5, 1, 4, (0.5,), (0.25,))
    watched.load_state_dict(net.state_dict())
    plain = certifier()(watched.eval(), IMAGES)
    assert watched.seen == {7}
    run = certifier(fold_batch_norm=True)
    watched.seen.clear()
    folded = run(watched, IMAGES)
    assert watched.seen == {7, 0}  # one pass to see which layers follow each other
    # Another rounding: hardly a vote moves, and none by much.
    assert int((votes(plain) - votes(folded)).abs().sum()) < 1e-3 * votes(plain).numel() * 150
    assert folded[0]["pixel"].sampling["fold_batch_norm"] is True
    assert "fold_batch_norm" not in plain[0]["pixel"].sampling
    assert run.settings()["fold_batch_norm"] is True


def test_the_network_is_left_as_found(net):
    net.train()
    net.stem[0].weight.grad = torch.ones_like(net.stem[0].weight)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    certifier(fold_batch_norm=True)(net, IMAGES)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert (net.stem[0].weight.grad == 1).all()


def test_changed_weights_are_certified_also_where_pytorch_sees_no_change(net):
    run = certifier(fold_batch_norm=True)
    run(net, IMAGES)
    net.stem[0].weight.data.normal_()
    assert torch.equal(votes(run(net, IMAGES)), votes(certifier(fold_batch_norm=True)(net, IMAGES)))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_the_trainer_brings_the_precision_and_the_certifier_the_fold(net, precision):
    module = CertificationModule(net, certifier(fold_batch_norm=True))
    samples = [Sample(image, 0, f"image {index}") for index, image in enumerate(IMAGES)]
    trainer = Trainer(
        accelerator="cpu", devices=1, precision=precision, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, inference_mode=False,
    )  # fmt: skip
    (batch,) = trainer.predict(module, DataLoader(samples, batch_size=2, collate_fn=collate))
    names = {"32-true": "float32", "bf16-mixed": "float32, autocast bfloat16", "bf16-true": "bfloat16"}
    for _, results in batch:
        assert results["pixel"].sampling["precision"] == names[precision]
        assert results["pixel"].sampling["fold_batch_norm"] is True


# Batch size -----------------------------------------------------------------------------------------------------------


def test_an_automatic_batch_gives_the_same_certificate(net):
    run = certifier(batch_size="auto", num_samples=300)
    results = run(net, IMAGES)
    assert torch.equal(votes(results), votes(certifier(batch_size=256, num_samples=300)(net, IMAGES)))
    assert results[0]["pixel"].sampling["batch_size"] == "auto"
    assert run.block_size(IMAGES[0]) == starting_batch((1, 8, 8), torch.device("cpu")) == 256


class Small(nn.Module):
    """A device on which only so many images fit."""

    def __init__(self, fits):
        super().__init__()
        self.fits, self.sizes = fits, []
        self.linear = nn.Linear(64, 5)

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.linear(images.flatten(1)).tanh()


@pytest.mark.parametrize("attribution", [Gradient(), RISE(num_masks=5, cells=2)])
def test_an_automatic_batch_is_halved_until_it_fits(attribution):
    small, free = Small(70), Small(10**9)
    free.load_state_dict(small.state_dict())
    settings = {"noise": GaussianNoise(0.25), "certificates": [PixelCertificate([0.5])], "num_samples": 520}
    run = Certifier(attribution, batch_size="auto", **settings)
    blocks = []
    results = run(small, IMAGES, on_block=blocks.append)
    assert blocks == [256, 256, 8] * 2  # what is counted at once does not change
    assert sum(size > 70 for size in small.sizes) <= 4  # what fits is remembered
    expected = Certifier(attribution, batch_size=256, **settings)(free, IMAGES)
    assert int((votes(results) - votes(expected)).abs().sum()) < 1e-4 * votes(expected).numel() * 520


def test_a_batch_size_that_was_given_is_obeyed():
    with pytest.raises(InputError, match=r"OutOfMemoryError.*choose a smaller batch_size") as caught:
        certifier(batch_size=128)(Small(70), IMAGES)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    with pytest.raises(InputError, match=r"batch_size, if not .* must be at least 1"):
        certifier(batch_size=0)


# From the command line ------------------------------------------------------------------------------------------------

CONFIG = """
network:
  class_path: lit_certattr.models.CifarResNet
  init_args: {depth: 8, in_channels: 1, width: 4, mean: [0.3], std: [0.4]}
data:
  class_path: lit_certattr.data.Digits
  init_args: {max_images: 2}
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise:
    class_path: lit_certattr.smoothing.GaussianNoise
    init_args: {sigma: 0.3}
  certificates:
    - class_path: lit_certattr.certificates.PixelCertificate
      init_args: {top_k: [0.5]}
  num_samples: 200
  batch_size: auto
  fold_batch_norm: true
max_panels: 0
trainer: {accelerator: cpu, threads: 1, precision: bf16-mixed}
"""


def test_a_run_records_its_modes_and_audits_them(tmp_path, net, capsys):
    config, weights, run = tmp_path / "modes.yaml", tmp_path / "weights.pt", tmp_path / "run"
    config.write_text(CONFIG)
    torch.manual_seed(0)
    torch.save(CifarResNet(8, 10, 1, 4, (0.3,), (0.4,)).state_dict(), weights)
    main(["run", f"--config={config}", f"--checkpoint={weights}", f"--output={run}"])
    settings = RunDirectory(run).provenance()["settings"]
    assert settings["fold_batch_norm"] is True
    assert settings["batch_size"] == "auto"
    assert settings["precision"] == "bf16-mixed"
    main(["audit", str(run)])
    main(["audit", str(run), "--fresh", "--seed=5"])
    assert "No claim is contradicted" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(
            [
                "run",
                f"--config={config}",
                f"--checkpoint={weights}",
                f"--output={run}",
                "--certifier.fold_batch_norm=false",
            ]
        )
    assert "fold_batch_norm" in capsys.readouterr().err


def test_an_audit_sees_a_mode_that_was_changed(tmp_path, capsys):
    config, weights, run = tmp_path / "modes.yaml", tmp_path / "weights.pt", tmp_path / "run"
    config.write_text(CONFIG)
    torch.manual_seed(0)
    torch.save(CifarResNet(8, 10, 1, 4, (0.3,), (0.4,)).state_dict(), weights)
    main(["run", f"--config={config}", f"--checkpoint={weights}", f"--output={run}"])
    written = run / "config.yaml"
    written.write_text(written.read_text().replace("fold_batch_norm: true", "fold_batch_norm: false"))
    with pytest.raises(SystemExit):
        main(["audit", str(run)])
    assert "certifier.fold_batch_norm: stored False, derived True" in capsys.readouterr().out
