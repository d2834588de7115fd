"""The certifier compiles the network where it is asked to: that network is what is checked, certified and recorded."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import (
    CAM,
    LRP,
    RISE,
    CaptumAttribution,
    GradCAM,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    ProbabilityGradient,
    RegionMap,
    SmoothGrad,
)
from lit_certattr.certificates import PixelCertificate
from lit_certattr.certification.stopping import Futility
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    return SmallCNN(image_size=8, width=4).eval()


def certifier(attribution=None, **options):
    options = {"num_samples": 150, "batch_size": 32, "compile_mode": "default"} | options
    certificates = [PixelCertificate([0.5, 0.1], alpha=0.05)]
    return Certifier(attribution or Gradient(), GaussianNoise(0.25), certificates, **options)


def votes(results):
    return torch.stack([one["pixel"].votes for one in results])


def test_the_compiled_network_is_what_is_certified(compiler, net):
    run, plain = certifier(), certifier(compile_mode=None)
    results, expected = run(net, IMAGES), plain(net, IMAGES)
    assert int((votes(results) - votes(expected)).abs().sum()) < 1e-3 * votes(expected).numel() * 150
    assert compiler.graphs == {1: 2, 32: 2}, "also the rest of 22 samples, and the batch of the checks"
    assert compiler.runs[32] >= 2 * 5, "150 samples of two images"
    assert results[0]["pixel"].sampling["compile_mode"] == run.settings()["compile_mode"] == "default"
    assert "compile_mode" not in expected[0]["pixel"].sampling
    assert "compile_mode" not in plain.settings()
    before = copy.copy(compiler.graphs)
    run(net, IMAGES)
    copy.copy(run)(net, IMAGES)
    assert compiler.graphs == before, "one network is compiled once"


class Drifting(nn.Module):
    """Remembers its calls in a tensor, as a compiled network may."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls.add_(0.05)
        return (self.linear(images.flatten(1)) + self.calls).tanh()


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, images):
        logits = self.linear(images.flatten(1)).tanh()
        return logits + (logits.mean(0) if len(images) > 4 else 0)


def test_the_checks_look_at_the_compiled_network(compiler):
    with pytest.raises(InputError, match="logits"):
        certifier()(Drifting(), IMAGES)
    with pytest.raises(InputError, match="depends on the other images of the batch"):
        certifier()(Mixing(), IMAGES)


def test_changed_weights_are_certified(compiler, net):
    run = certifier()
    run(net, IMAGES)
    with torch.no_grad():
        next(net.parameters()).data.normal_()
    assert torch.equal(votes(run(net, IMAGES)), votes(certifier()(net, IMAGES)))


def test_the_network_is_left_as_found(compiler, net):
    net.train()
    state = copy.deepcopy(net.state_dict())
    certifier()(net, IMAGES)
    assert net.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("explain_at", ["denoised", "image"])
def test_a_denoised_network(compiler, net, explain_at):
    whole = Denoised(nn.AvgPool2d(3, 1, 1), net, explain_at)
    results = certifier()(whole, IMAGES, "noisy_majority")
    expected = certifier(compile_mode=None)(whole, IMAGES, "noisy_majority")
    assert int((votes(results) - votes(expected)).abs().sum()) < 1e-3 * votes(expected).numel() * 150
    assert results[0]["pixel"].sampling["explained"] == expected[0]["pixel"].sampling["explained"]


@pytest.mark.parametrize(
    "attribution",
    [
        IntegratedGradients(steps=3),
        RISE(num_masks=20, cells=2),
        Occlusion(4, 4),
        ProbabilityGradient(),
        SmoothGrad(Gradient(), GaussianNoise(0.1), draws=3),
        RegionMap(Gradient(), Grid(4)),
        CaptumAttribution("Saliency"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_methods_that_see_the_network_from_outside(compiler, net, attribution):
    results = certifier(attribution)(net, IMAGES[:1])
    expected = certifier(attribution, compile_mode=None)(net, IMAGES[:1])
    assert int((votes(results) - votes(expected)).abs().sum()) < 1e-2 * votes(expected).numel() * 150
    assert set(compiler.graphs) <= {1, 32}


def test_sampling_that_stops_early_needs_no_more_graphs(compiler, net):
    results = certifier(num_samples=500, stopping=[Futility()])(net, IMAGES)
    assert results[0]["pixel"].num_samples > 0
    assert compiler.graphs == {1: 2, 32: 2}


def test_half_precision(compiler, net):
    with torch.autocast("cpu", torch.bfloat16):
        results = certifier()(net, IMAGES)
    assert results[0]["pixel"].sampling["precision"] == "float32, autocast bfloat16"


@pytest.mark.parametrize(
    "attribution",
    [
        GradCAM(),
        CAM(),
        LRP(),
        GuidedBackprop(),
        IntegratedGradients(layer="final", channels="sum_abs"),
        SmoothGrad(GradCAM(), GaussianNoise(0.1)),
        RegionMap(LRP(), Grid(2)),
        CaptumAttribution("DeepLift"),
        CaptumAttribution("LayerGradCam", layer="final"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_methods_that_look_at_layers_are_refused(attribution):
    with pytest.raises(InputError, match=r"looks at layers, .*: leave certifier.compile_mode away, or take a method"):
        certifier(attribution)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compile_mode": "max-autotune"}, "compile_mode must be one of default, reduce-overhead, or null, got 'max-a"),
        ({"batch_size": "auto"}, "compile_mode needs a batch_size that is a number"),
        ({"fold_batch_norm": True}, "fold_batch_norm does not go with compile_mode"),
    ],
)
def test_settings_that_do_not_go_together(options, words):
    with pytest.raises(InputError, match=words):
        certifier(**options)


def test_a_network_that_is_compiled_already_is_refused(net):
    with pytest.raises(InputError, match="compiled already"):
        certifier()(torch.compile(net, backend="eager"), IMAGES)


class Branching(SmallCNN):
    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


def test_what_cannot_be_compiled_is_refused_before_anything_is_written(compiler, tmp_path):
    network = Branching(image_size=8, width=4)
    settings = {"trainer": jobs.TrainerOptions(accelerator="cpu", devices=1), "progress": False}
    with pytest.raises(InputError, match=r"Branching cannot be compiled as one graph, .* leave certifier.compile_mode"):
        jobs.run(certifier(), Digits(max_images=1), network, output=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_run_uses_the_graphs_of_its_checks(compiler, net, tmp_path, precision):
    trainer = jobs.TrainerOptions(accelerator="cpu", devices=1, precision=precision)
    directory = jobs.run(
        certifier(num_samples=80), Digits(max_images=2), net, output=tmp_path, trainer=trainer, progress=False
    )
    twice = 1 + (precision == "bf16-true")  # checked on a copy: the weights of the run are converted later
    assert compiler.graphs == {1: 2 * twice, 32: 2 * twice}
    assert directory.provenance()["preflight"]["checks"]


class Watched(SmallCNN):
    """Counts the calls in Python, which a compiled network does not make."""

    seen: ClassVar[list[int]] = []

    def forward(self, images):
        if not torch.compiler.is_compiling():
            self.seen.append(len(images))
        return super().forward(images)


@pytest.mark.slow
def test_attacks_search_with_the_network_and_judge_with_the_compiled_one(compiler, tmp_path):
    torch.manual_seed(0)
    network, settings = Watched(image_size=8, width=4).eval(), {"trainer": jobs.TrainerOptions("cpu", 1)}
    data, run = Digits(max_images=1), certifier(num_samples=100, batch_size=50)
    jobs.run(run, data, network, output=tmp_path / "run", progress=False, **settings)
    assert max(Watched.seen) < 50, "no block of samples"
    compiler.runs.clear()
    reopened = jobs.reopen(tmp_path / "run", run, data, network)
    few = AttackConfig(0.05, steps=2)
    found = jobs.attack(
        reopened, output=tmp_path / "attack", budgets=[0.05], search=few, num_samples=100, progress=False
    )
    assert found is not None
    assert compiler.runs[50] >= 2 * 2, "clean and perturbed image, 100 samples each"


CONFIG = """
network: {class_path: lit_certattr.models.SmallCNN, init_args: {image_size: 8, width: 4}}
data: {class_path: lit_certattr.data.Digits, init_args: {max_images: 2}}
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise: {class_path: lit_certattr.smoothing.GaussianNoise, init_args: {sigma: 0.3}}
  certificates: [{class_path: lit_certattr.certificates.PixelCertificate, init_args: {top_k: [0.5]}}]
  num_samples: 200
  batch_size: 50
  compile_mode: default
max_panels: 0
trainer: {accelerator: cpu, threads: 1}
"""


@pytest.mark.slow
def test_a_run_records_the_mode_and_audits_it(compiler, tmp_path, net, capsys):
    config, weights, run = tmp_path / "modes.yaml", tmp_path / "weights.pt", tmp_path / "run"
    config.write_text(CONFIG)
    torch.save(net.state_dict(), weights)
    command = ["run", f"--config={config}", f"--checkpoint={weights}", f"--output={run}"]
    main(command)
    assert RunDirectory(run).provenance()["settings"]["compile_mode"] == "default"
    main(["audit", str(run)])
    compiler.runs.clear()
    main(["audit", str(run), "--fresh", "--seed=5"])
    assert "No claim is contradicted" in capsys.readouterr().out
    assert compiler.runs[50] >= 2 * 4
    for other in ("null", "reduce-overhead"):
        with pytest.raises(SystemExit):
            main([*command, f"--certifier.compile_mode={other}"])
        assert "compile_mode" in capsys.readouterr().err
    written = run / "config.yaml"
    written.write_text(written.read_text().replace("compile_mode: default", "compile_mode: null"))
    with pytest.raises(SystemExit):
        main(["audit", str(run)])
    assert "certifier.compile_mode: stored none, derived default" in capsys.readouterr().out
