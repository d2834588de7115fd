"""What one block of samples asks of a device: operations, kernels, and how often Python waits for it.

    python -m benchmarks.waits --network resnet18 --batch 8
    python -m benchmarks.waits --network resnet18 --batch 256 --device cuda

The numbers are those of a run of four blocks less those of a run of two: what is done once an image is in both. Kernels
and waits can be counted on CUDA alone; waits are what `torch.cuda.set_sync_debug_mode` warns of.
"""

import argparse
import warnings
from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.throughput import NETWORKS, Setting
from lit_certattr.attribution import Gradient

_FEW, _MANY = 2, 4
"""Blocks of the two runs."""


class Block(NamedTuple):
    """What one block of samples takes.

    Attributes:
        operations: Operations of torch, views included.
        kernels: Kernels that the device runs; ``None`` if the device is the CPU.
        waits: How often Python waits for the device; ``None`` if the device is the CPU.
    """

    operations: float
    kernels: float | None
    waits: float | None


class _Operations(TorchDispatchMode):
    """Counts operations, those of the backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(case: Callable[[], object]) -> int:
    """Number of operations of torch.

    Args:
        case: What is counted.
    """
    with _Operations() as counted:
        case()
    return int(counted.count)


def kernels(case: Callable[[], object]) -> int:
    """Number of kernels that a CUDA device runs; copies and fills of memory are none.

    Args:
        case: What is counted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the profiler says about itself
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            case()
            torch.cuda.synchronize()
    names = [str(event.name) for event in profiled.events() or [] if str(event.device_type).endswith("CUDA")]
    return len([name for name in names if not name.startswith("Mem")])


def waits(case: Callable[[], object]) -> int:
    """How often Python waits for a CUDA device, as torch warns of it.

    Args:
        case: What is counted.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # warns that it is a prototype
        try:
            case()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(one.message) for one in caught)


def measure(arguments: argparse.Namespace) -> Block:
    """Counts of one block.

    Args:
        arguments: The command line.
    """
    arguments.samples = _MANY * arguments.batch
    many = Setting(arguments, Gradient())
    few = copy(many)
    few.samples = _FEW * arguments.batch
    for setting in (few, many):
        setting.sample()  # the first time, libraries choose their kernels

    def of_a_block(count: Callable[[Callable[[], object]], int]) -> float:
        return (count(many.sample) - count(few.sample)) / (_MANY - _FEW)

    there = many.device.type == "cuda"
    return Block(of_a_block(operations), of_a_block(kernels) if there else None, of_a_block(waits) if there else None)


def main() -> None:
    """Read the command line and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="small_cnn")
    parser.add_argument("--batch", type=int, default=64, help="samples evaluated at once")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    print(f"{arguments.network}, batch {arguments.batch}: {measure(arguments)}")


if __name__ == "__main__":
    main()
