"""Interleaved timing: seconds of several cases in turn, so that what load there is hits all alike."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

import torch

from lit_certattr.certification.host_memory import keep_freed_memory

Cases = Mapping[str, Callable[[], object]]


def cpu_seconds(case: Callable[[], object]) -> float:
    """CPU seconds of this process for a case."""
    start = time.process_time()
    case()
    return time.process_time() - start


def wall_seconds(case: Callable[[], object]) -> float:
    """Seconds until an accelerator has done all of a case: its time does not show in that of the CPU."""
    torch.accelerator.synchronize()
    start = time.perf_counter()
    case()
    torch.accelerator.synchronize()
    return time.perf_counter() - start


def interleaved(cases: Cases, repetitions: int, kind: str = "cpu") -> dict[str, list[float]]:
    """Seconds of each case, one run of every case a round, after one round that is not counted.

    Args:
        cases: The cases.
        repetitions: Rounds that are counted.
        kind: Type of the device: of ``"cpu"`` they are CPU seconds.
    """
    timer = cpu_seconds if kind == "cpu" else wall_seconds
    return in_turn({name: partial(timer, case) for name, case in cases.items()}, repetitions)


def in_turn(timers: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """The same for cases that time themselves, in processes of their own."""
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for round_number in range(repetitions + 1):
        for name, timer in timers.items():
            found = timer()
            if round_number:
                seconds[name].append(found)
    return seconds


@contextmanager
def process_of_its_own(build: Callable[[], Cases], keeps_memory: bool) -> Iterator[dict[str, Callable[[], float]]]:
    """A fresh process that runs cases when it is asked to; each gives its CPU seconds there.

    Args:
        build: Makes the cases, in that process; it must be picklable.
        keeps_memory: Whether that process keeps freed memory, as ``certify.py`` does.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, build, keeps_memory), daemon=True)
    process.start()

    def ask(name: str) -> float:
        here.send(name)
        return float(here.recv())

    try:
        yield {name: partial(ask, name) for name in here.recv()}
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, build: Callable[[], Cases], keeps_memory: bool) -> None:
    if keeps_memory:
        keep_freed_memory()
    cases = build()
    pipe.send(list(cases))
    while True:
        pipe.send(cpu_seconds(cases[pipe.recv()]))


def ratios(seconds: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """Median over the rounds of each case's time over the base's time in the same round."""
    return {
        name: statistics.median(own / floor for own, floor in zip(values, seconds[base], strict=True))
        for name, values in seconds.items()
    }
