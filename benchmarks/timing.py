"""Interleaved timing: CPU seconds of several cases in turn, so that what load there is hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(cases: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of each case, one run of every case a round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for round_number in range(repetitions + 1):
        for name, case in cases.items():
            start = time.process_time()
            case()
            if round_number:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratios(seconds: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """Median over the rounds of each case's time over the base's time in the same round."""
    return {
        name: statistics.median(own / floor for own, floor in zip(values, seconds[base], strict=True))
        for name, values in seconds.items()
    }
