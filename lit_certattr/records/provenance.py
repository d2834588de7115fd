"""Provenance of a run: the settings that determine its results, and the machine and versions that computed it."""

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lit_certattr.certification import NOISY_MAJORITY, Certifier
from lit_certattr.data import SampleSet
from lit_certattr.models import explained_part, network_hash, probe, structure_hash, tensor_digests

_PACKAGES = (
    "lit-certattr",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "captum",
    "numpy",
    "scipy",
    "matplotlib",
)


def data_hash(samples: SampleSet) -> str:
    """SHA-256 over the ids, labels and pixels of a data set, in its order.

    Every image is read once, so this also finds images that cannot be used.

    Args:
        samples: The images.

    Raises:
        InputError: If an image cannot be read, or has pixels that are not finite or not in [0, 1].
    """
    digest = hashlib.sha256()
    for index in range(len(samples)):
        image, target, image_id = samples[index]
        digest.update(f"{image_id} {target} {image.dtype} {tuple(image.shape)}\n".encode())
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_settings(
    certifier: Certifier,
    network: nn.Module,
    samples: SampleSet,
    *,
    targets: str = "predicted",
    device: str = "cpu",
    precision: str = "32-true",
    hashed: bool = True,
) -> dict[str, Any]:
    """Everything that determines the results of a run bit by bit, as plain values; a run resumes only with the same.

    Args:
        certifier: The certifier.
        network: The network.
        samples: The images.
        targets: Rule that selects the explained class: ``"predicted"``, ``"label"`` or ``"noisy_majority"``.
        device: Kind of device, e.g. ``"cpu"``; the random generator of the noise depends on it.
        precision: The Trainer's precision.
        hashed: Whether to read and hash the images. Of several processes, only the first one needs their hash.
    """
    certificates = {
        name: {"kind": type(certificate).__name__} | certificate.settings()
        for name, certificate in certifier.certificates.items()
    }
    explained = explained_part(network)
    return {
        **certifier.settings(),
        **({} if explained is None else {"explained": explained}),
        "certificates": certificates,
        "targets": targets,
        **({"class_samples": certifier.class_samples} if targets == NOISY_MAJORITY else {}),
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        "network": network_hash(network),
        "structure": structure_hash(network),
        "images": data_hash(samples) if hashed else None,
    }


def provenance(network: nn.Module, seed: int, device: str, image_shape: Sequence[int] | None = None) -> dict[str, Any]:
    """The machine, package versions and network of this process, as plain values.

    Args:
        network: The network.
        seed: Seed of the noise.
        device: Kind of device.
        image_shape: ``(C, H, W)``; if given, the logits of the network for fixed images of this shape are recorded.
    """
    return {
        "versions": {name: _version(name) for name in _PACKAGES},
        **machine(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "network": {
            "class": type(network).__name__,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "hash": network_hash(network),
            "tensors": tensor_digests(network),
            **({} if image_shape is None else {"probe": probe(network, image_shape)}),
        },
    }


def machine() -> dict[str, str]:
    """The properties of a machine that influence the last bits of a sum on a CPU, apart from versions and threads."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
    }


def _processor() -> str:
    """Name of the processor model: libraries may choose other kernels even for the same instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
