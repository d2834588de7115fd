"""One training run of one objective on the 8x8 digits, and everything that is measured on it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

import lit_certattr.objectives  # noqa: F401  (short class names)
from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig, attack_prediction
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PixelResult, TopKOverlapCertificate
from lit_certattr.data import Digits
from lit_certattr.metrics import CertifiedOneShare, CertifiedOverlap, MeanCertifiedRadius, SameClassOverlap
from lit_certattr.models import SmallCNN
from lit_certattr.objectives import Objective
from lit_certattr.robustness.protocol import RobustnessProtocol
from lit_certattr.smoothing import GaussianNoise

CONFIGS = Path(__file__).parents[1] / "configs/objective"
TOP_K, EPS, SIGMA, TAU, ALPHA, BETA = 0.25, 0.1, 0.25, 0.75, 0.001, 10.0


@dataclass(frozen=True)
class Budget:
    """What every objective gets alike. The certificate's radii are in pixel l2 units."""

    epochs: int = 10
    width: int = 16
    batch_size: int = 64
    learning_rate: float = 3e-3
    train_images: int = 10_000  # more than there are: all
    split: Literal["val", "test"] = "test"
    images: int = 120  # attacked and certified; accuracies are of the whole split
    steps: int = 10
    restarts: int = 2
    samples: int = 256
    radius: float = 0.15


def presets() -> list[str]:
    """Names of all objectives that ship."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def preset(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Class and arguments of a preset, some of its arguments changed."""
    settings: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["objective"]
    settings["init_args"] = settings["init_args"] | copy.deepcopy(dict(changes))
    return settings


def build(settings: Mapping[str, Any]) -> Objective:
    """The objective of a configuration, as ``train.py`` builds it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Objective, "objective")
    objective: Objective = parser.instantiate(parser.parse_object({"objective": dict(settings)})).objective
    return objective


@lru_cache(maxsize=1)
def digits() -> Digits:
    """The digits, split."""
    data = Digits()
    data.setup("fit")
    return data


def images_of(split: Literal["train", "val", "test"], count: int) -> tuple[Tensor, Tensor, list[str]]:
    """The first images of a split (a class-balanced choice), their labels and ids."""
    chosen = {"train": digits().train_set, "val": digits().val_set, "test": digits().test_set}[split]
    assert chosen is not None
    samples = [chosen[index] for index in range(min(count, len(chosen)))]
    labels = torch.tensor([int(sample.target) for sample in samples])
    return torch.stack([sample.image for sample in samples]), labels, [str(sample.id) for sample in samples]


def train(objective: Objective, budget: Budget, seed: int) -> nn.Module:
    """A network trained on the digits; the seed decides weights, order of the batches and noise."""
    torch.manual_seed(seed)
    images, labels, _ = images_of("train", budget.train_images)
    return fit(objective, SmallCNN(image_size=8, width=budget.width), images, labels, budget)


def fit(objective: Objective, network: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> nn.Module:
    """The network, trained with Adam and a cosine schedule."""
    optimizer = torch.optim.Adam(network.parameters(), budget.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.epochs)
    for epoch in range(budget.epochs):
        batches = torch.randperm(len(images)).split(budget.batch_size)
        for index, batch in enumerate(batches):
            objective.epoch = epoch + index / len(batches)
            optimizer.zero_grad()
            objective(network, images[batch], labels[batch])[0].backward()
            optimizer.step()
        scheduler.step()
    return network.eval()


def measure(network: nn.Module, budget: Budget) -> dict[str, float]:
    """Accuracy, empirical robustness, certified robustness and informativeness, each a mean over images."""
    images, labels, _ = images_of(budget.split, 10_000)
    pgd = AttackConfig(eps=EPS, steps=budget.steps, norm="linf", restarts=budget.restarts)
    with torch.no_grad():
        predictions = network(images).argmax(1)
        attacked = network(attack_prediction(network, images, labels, pgd)).argmax(1)
    overlap = SameClassOverlap(10, (8, 8), TOP_K)
    overlap.update(Gradient()(network, images, predictions), predictions)
    found = {
        "accuracy": (predictions == labels).float().mean(),
        "pgd_accuracy": (attacked == labels).float().mean(),
        "same_class_overlap": overlap.compute()["same_class_overlap"],
    }
    numbers = {name: float(value) for name, value in found.items()}
    return numbers | empirical(network, budget) | certified(network, budget)


def empirical(network: nn.Module, budget: Budget) -> dict[str, float]:
    """Agreement of clean and attacked maps, of correctly classified images; see :class:`RobustnessProtocol`."""
    images, labels, _ = images_of(budget.split, budget.images)
    search = AttackConfig(EPS, budget.steps, norm="linf", restarts=budget.restarts, smooth_beta=BETA)
    protocol = RobustnessProtocol(Gradient(), search, top_k=TOP_K, windows=[1], criterion="top_k_intersection")
    rows = protocol(network, images, labels)
    names = ("top_k_intersection", "kendall", "lens_precision_w1", "lens_precision_w1_chance")
    keys = [f"{search}_{name}" for search in protocol.searches for name in names]
    columns = {key: [float(row[key]) for row in rows if row.get(key) is not None] for key in keys}  # type: ignore[arg-type]
    return {key: sum(values) / max(1, len(values)) for key, values in columns.items()}


def certified(network: nn.Module, budget: Budget) -> dict[str, float]:
    """What the certificates say of predicted classes, and how alike the certified maps of different images are."""
    images, _, ids = images_of(budget.split, budget.images)
    certificates = [PixelCertificate([TOP_K], ALPHA, TAU), TopKOverlapCertificate(TOP_K, ALPHA)]
    certifier = Certifier(Gradient(), GaussianNoise(SIGMA), certificates, budget.samples, batch_size=256)
    results = certifier(network, images, None, ids)
    held = [result["pixel"] for result in results]
    pixels = [result for result in held if isinstance(result, PixelResult)]
    share, radius = CertifiedOneShare(budget.radius), MeanCertifiedRadius()
    share.update(pixels)
    radius.update(pixels)
    overlap = CertifiedOverlap(budget.radius)
    overlap.update([result["topk_overlap"] for result in results])
    alike = SameClassOverlap(10, (8, 8), TOP_K)
    with torch.no_grad():
        alike.update(torch.cat([result.votes for result in pixels]).float(), network(images).argmax(1))
    return {
        "certified_share": float(share.compute()),
        "certified_radius": float(radius.compute()),
        "certified_overlap": float(overlap.compute()),
        "same_class_overlap_votes": float(alike.compute()["same_class_overlap"]),
    }
