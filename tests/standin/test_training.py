"""Objectives and attacks on an accelerator: the values of the CPU, and no waiting but for one look at the images."""

import functools

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from objectives.catalogue import CASES, linf
from standin.device import NAME

from lit_certattr import Certifier
from lit_certattr.attacks import (
    AttackConfig,
    PixelVotes,
    TopKMass,
    attack_explanation,
    attack_smoothed,
)
from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import CertificationCallback
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import AdversarialTraining
from lit_certattr.smoothing import GaussianNoise

IMAGES, TARGETS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
ONE_LOOK = "attacks/loop.py"
"""An attack asks once whether its images lie in the box, and its budgets make sense."""


def network():
    torch.manual_seed(0)
    return SmallCNN(image_size=8, width=4)


def step(case, net, images, targets):
    torch.manual_seed(1)
    loss, _ = case()(net, images, targets)
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_objective_never_waits(case, device, no_float64):
    net = network().to(NAME)
    images, targets = IMAGES.to(NAME), TARGETS.to(NAME)
    step(case, net, images, targets)
    device.waits.clear()
    device.doubles.clear()
    step(case, net, images, targets)
    looks = {what: count for what, count in device.waits.items() if ONE_LOOK in what}
    assert not set(device.waits) - set(looks)
    assert all(count == 1 for count in looks.values())
    assert not device.doubles


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_objective_has_the_values_of_the_cpu(case, device):
    own, net = network(), network().to(NAME)
    wanted = step(case, own, IMAGES, TARGETS)
    assert torch.allclose(step(case, net, IMAGES.to(NAME), TARGETS.to(NAME)).cpu(), wanted, rtol=1e-5)
    for mine, theirs in zip(net.parameters(), own.parameters(), strict=True):
        assert torch.allclose(mine.grad.cpu(), theirs.grad, rtol=1e-4, atol=1e-6)


def explanation(net, images, config):
    return attack_explanation(net, Gradient(), images, TARGETS.to(images.device), TopKMass(0.2), config)


def smoothed(net, images, config):
    votes = PixelVotes(torch.ones(6, 8, 8, dtype=torch.int64, device=images.device), 16)
    targets, noise = TARGETS.to(images.device), GaussianNoise(0.1)
    return attack_smoothed(net, Gradient(), noise, images, targets, votes, config, draws=2, judge_draws=2)


@pytest.mark.parametrize("attack", [explanation, smoothed])
def test_an_attack_waits_no_more_for_more_steps(attack, device, no_float64):
    net, images, waits = network().eval().to(NAME), IMAGES.to(NAME), []
    attack(net, images, AttackConfig(0.1, steps=2, norm="l2", seed=None))
    for steps in (2, 6):
        device.waits.clear()
        attack(net, images, AttackConfig(0.1, steps=steps, norm="l2", seed=None))
        waits.append(device.waits.copy())
    assert waits[0] == waits[1]
    assert not device.doubles


class _Accelerator(CPUAccelerator):
    def setup_device(self, device):
        pass


def fitted(tmp_path, **where):
    torch.manual_seed(0)
    objective = AdversarialTraining(linf())
    module = RobustClassifier(network(), objective, functools.partial(torch.optim.Adam, lr=0.01))
    noise = GaussianNoise(0.25)
    certifier = Certifier(Gradient(), noise, [PixelCertificate([0.5])], num_samples=200, batch_size=50)
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=1,
        limit_train_batches=4,
        limit_val_batches=2,
        callbacks=[CertificationCallback(certifier, 2)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **where,
    )
    trainer.fit(module, datamodule=Digits(batch_size=16))
    # Which passes give logits for the noisy accuracy is told by the addresses of images, and the stand-in has none.
    return {name: float(value) for name, value in trainer.callback_metrics.items() if "noisy_accuracy" not in name}


@pytest.mark.slow
def test_training_with_certification_gives_the_numbers_of_the_cpu(tmp_path, device):
    wanted = fitted(tmp_path, accelerator="cpu")
    strategy = SingleDeviceStrategy(device=torch.device(NAME, 0))
    assert fitted(tmp_path, accelerator=_Accelerator(), strategy=strategy) == pytest.approx(wanted, rel=1e-4)
