r"""Which tests would notice if a theorem were written down wrongly: each constant and operation changed, one by one.

A mutant is one function with one change: a number doubled (0 becomes 1), + and -, * and /, < and <=, > and >=, min and
max, floor and ceil, a lower and an upper bound exchanged. It is put in the place of the function (its code object, so
that everybody who has imported it gets the mutant), and the tests of its room are run, in a forked process, until one
of them fails. Mutants that no test notices are listed: each must be explained, or gets a test.

    python -m benchmarks.mutation                       # everything: some hours of one core
    python -m benchmarks.mutation statistics.multiple   # one module
    python -m benchmarks.mutation --processes 2 --output runs/mutation.tsv
    python -m benchmarks.mutation --numbers             # the numbers of the modules: spans, tolerances, shares of alpha
    python -m benchmarks.mutation --calls               # only the functions that no test calls

Where the tests of a module are slow, show its mutants to the quick ones first, and the survivors to the rest:

    python -m benchmarks.mutation certificates.claim_result --output runs/one.tsv --tests tests/certificates/test_x.py
    python -m benchmarks.mutation certificates.claim_result --output runs/one.tsv --again

Checks of arguments (a branch that only raises) are left out, and so are docstrings, messages and type hints.
"""

import argparse
import contextlib
import os
import resource
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.mutants import (
    OF_THE_MODULE,
    Mutant,
    forget,
    functions,
    imported,
    innermost,
    install,
    module_numbers,
    mutants,
)

_EXACT = "tests/soundness/test_exact_errors.py"
_PIXEL = [_EXACT, *(f"tests/certificates/test_{name}.py" for name in ("pixel", "pixel_holm", "rederive"))]
_OVERLAP = [_EXACT, "tests/certificates/test_topk_overlap.py", "tests/certificates/test_overlap_bounds.py"]
_SMOOTHGRAD = [
    _EXACT,
    "tests/certificates/test_smoothgrad_bounds.py",
    "tests/certificates/test_smoothgrad.py",
]
_COSINE = ["tests/certificates/test_cosine_bounds.py", "tests/certificates/test_cosine.py"]

_LENGTHS = "tests/certificates/test_rounded_lengths.py"
_PATCHES, _REGIONS = "tests/budgets/test_patches.py", "tests/budgets/test_regions.py"
_EDGES, _RESTS = "tests/budgets/test_edges.py", "tests/budgets/test_rests.py"
_STATISTICS = "tests/statistics/test_statistics.py"
_MEANS = "tests/statistics/test_bounded_means.py"

ROOMS: dict[str, tuple[list[str] | None, list[str]]] = {
    "statistics.multiple": (None, [_EXACT, "tests/certificates/test_pixel_holm.py", _STATISTICS]),
    "statistics.binomial": (None, [_EXACT, _STATISTICS, _MEANS]),
    "statistics.bounded": (None, [_MEANS, _STATISTICS]),
    "statistics.betting": (None, [_MEANS]),
    "statistics.moments": (None, ["tests/statistics/test_moments.py", _EXACT]),
    "statistics.sequences": (None, ["tests/statistics/test_sequences.py", "tests/soundness/test_stopping.py"]),
    "statistics.joint": (None, ["tests/statistics/test_joint.py"]),
    "statistics.quantiles": (None, ["tests/statistics/test_quantiles.py"]),
    "statistics.rounding": (None, ["tests/statistics/test_rounding.py"]),
    "statistics.shares": (None, [_STATISTICS]),
    "statistics.gaussian": (None, [_STATISTICS, *_OVERLAP]),
    "certificates.pixel_result": (["from_votes", "_label_counts"], _PIXEL),
    "certificates.pixel_bounds": (["radius_table", "vote_table"], _PIXEL),
    "certificates.overlap_bounds": (None, [*_OVERLAP, "tests/soundness/test_overlap_bounds.py"]),
    "certificates.pair_bounds": (None, ["tests/certificates/test_pair_bounds.py"]),
    "certificates.topk_overlap_result": (
        ["from_votes", "pixel_alpha", "pair_bounds", "bound_tables"],
        [*_OVERLAP, "tests/certificates/test_pair_bounds.py"],
    ),
    "certificates.renyi_bounds": (
        None,
        [
            "tests/certificates/test_renyi.py",
            "tests/soundness/test_renyi_norms.py",
            "tests/certificates/test_shift_divergence.py",
        ],
    ),
    "certificates.shift_divergence": (None, ["tests/certificates/test_shift_divergence.py"]),
    "certificates.cosine_bounds": (None, [*_COSINE, "tests/soundness/test_cosine.py"]),
    "certificates.gaussian_cosine": (None, ["tests/certificates/test_gaussian_cosine.py"]),
    "certificates.cosine_result": (["norm_lower_bound", "displayed", "inner_product_upper_bound"], _COSINE),
    "certificates.smoothgrad_bounds": (None, [*_SMOOTHGRAD, "tests/soundness/test_smoothgrad.py"]),
    "certificates.smoothgrad_result": (["margins", "spread_bound", "from_sums"], _SMOOTHGRAD),
    "certificates.claim": (["shares_of"], ["tests/certificates/test_claims.py"]),
    "certificates.claim_result": (
        ["mean_lower", "_level", "bounds", "_step_down", "_threshold", "_intervals", "radius", "upper_bounds"],
        [
            "tests/certificates/test_claim_bounds.py",
            "tests/certificates/test_laws.py::test_claims_that_pass_holms_test_hold_at_its_radius",
        ],
    ),
    "certificates.claims_result": (["holds", "verdict"], ["tests/certificates/test_claim_bounds.py"]),
    "certificates.percentile_result": (
        ["intervals", "radius", "_ends", "claims", "upper_bounds", "_at_rank"],
        [_LENGTHS, "tests/certificates/test_percentiles.py"],
    ),
    "certificates.prediction_result": (
        ["intervals", "holds", "is_refuted", "_largest", "rederive", "upper_bounds"],
        [_LENGTHS, "tests/certificates/test_prediction.py"],
    ),
    "certificates.joint": (None, ["tests/certificates/test_prediction.py"]),
    "budgets.votes": (None, ["tests/budgets/test_votes.py", "tests/certificates/test_rounded_lengths.py"]),
    "budgets.ellipsoid": (["amounts", "length", "axes", "split"], ["tests/budgets/test_ellipsoid.py"]),
    "budgets.lp": (None, ["tests/budgets/test_ellipsoid.py"]),
    "budgets.gamma": (None, ["tests/budgets/test_gamma.py", _EDGES]),
    "budgets.orbit": (None, ["tests/budgets/test_gamma.py", "tests/budgets/test_blur.py"]),
    "budgets.patches": (None, [_PATCHES]),
    "budgets.regions": (None, [_REGIONS]),
    "budgets.masks": (None, [_PATCHES, _REGIONS, _EDGES, _RESTS]),
    "budgets.blur": (None, ["tests/budgets/test_blur.py", _EDGES, _RESTS]),
    "budgets.fields": (None, ["tests/budgets/test_fields.py", _EDGES, _RESTS]),
    "budgets.exposure_rest": (None, [_RESTS]),
    "budgets.neyman_pearson": (None, ["tests/budgets/test_affine_votes.py"]),
    "budgets.affine_votes": (None, ["tests/budgets/test_affine_votes.py"]),
    "certification.stopping": (None, ["tests/certification/test_stopping.py", "tests/soundness/test_stopping.py"]),
}
"""For each module the functions that are changed (all if ``None``), and the tests that should notice, fastest first."""


_PATIENCE = 3
"""A mutant (an endless loop) whose tests take this many times their processor time, and 5 s, counts as noticed."""


class _Judge:
    """A plugin of pytest that runs the collected tests once for each mutant, in a forked process, in place of once.

    A first run without any change finds out which tests call which function, and how long each takes; a mutant is
    then shown to the tests that call its function, the fastest first, until one fails.
    """

    def __init__(self, todo: list[Mutant], processes: int, found: Callable[[Mutant, str], None]) -> None:
        self.todo, self.processes, self.found = todo, processes, found
        self.rooms = {mutant.module for mutant in todo}
        self.failed = False
        self.uncalled: set[str] = set()
        """Functions of the mutants that no test calls."""
        self.names: dict[str, dict[str, Any]] = {}
        """What the examples of a function may name; each run of them forgets it."""
        self.codes = {
            innermost(function).__code__: name
            for room in self.rooms
            for name, function in functions(imported(room), None)
        }

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed = self.failed or report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        """Judge all mutants; pytest runs nothing itself."""
        for item in session.items:
            if (example := getattr(item, "dtest", None)) is not None:
                self.names[item.nodeid] = dict(example.globs)
        seconds, called = self._calls(session.items)
        if self.failed:
            raise session.Failed("the tests fail without any change")
        self.uncalled = {mutant.function for mutant in self.todo}.difference({OF_THE_MODULE}, *called.values())
        if not self.processes:
            return True
        with open(os.devnull, "w") as nothing:  # noqa: PTH123
            running: dict[int, Mutant] = {}
            for mutant in self.todo:
                if len(running) == self.processes:
                    self._wait(running)
                whole = mutant.function == OF_THE_MODULE
                tests = [item for item in session.items if whole or mutant.function in called[item.nodeid]]
                tests.sort(key=lambda item: seconds[item.nodeid])
                child = os.fork()
                if child == 0:
                    status = 3
                    with contextlib.suppress(BaseException):
                        os.dup2(nothing.fileno(), 1)
                        os.dup2(nothing.fileno(), 2)
                        install(mutant, ROOMS)
                        for item in tests:
                            _forget_results(item)
                        status = 1
                        limit = 5 + int(_PATIENCE * sum(seconds[item.nodeid] for item in tests))
                        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
                        status = int(self._fails(tests))
                    os._exit(status)
                running[child] = mutant
            while running:
                self._wait(running)
        return True

    def _wait(self, running: dict[int, Mutant]) -> None:
        child, state = os.waitpid(-1, 0)
        verdicts = {0: "survived", 1: "noticed", -signal.SIGXCPU: "timeout", -signal.SIGKILL: "timeout"}
        if child in running:
            self.found(running.pop(child), verdicts.get(os.waitstatus_to_exitcode(state), "not made"))

    def _fails(self, items: list[Any]) -> bool:
        """Whether one of the tests fails; the rest is not run then."""
        for index, item in enumerate(items):
            following = items[index + 1] if index + 1 < len(items) else None
            if item.nodeid in self.names:
                item.dtest.globs = dict(self.names[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return True
        return False

    def _calls(self, items: list[Any]) -> tuple[dict[str, float], dict[str, set[str]]]:
        """For each test its seconds, and the functions that it, or the fixtures of its file, call."""
        seconds, called = {}, {}
        files: dict[Path, set[str]] = {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            now: set[str] = set()

            def note(frame: types.FrameType, event: str, _: Any, now: set[str] = now) -> None:
                if event == "call" and frame.f_code in self.codes:
                    now.add(self.codes[frame.f_code])

            forget(ROOMS)  # a value that is kept from the test before would hide the call
            setup = item.session._setupstate.setup

            def set_up(item: Any, setup: Any = setup, now: set[str] = now) -> None:
                setup(item)
                files.setdefault(item.path, set()).update(now)

            item.session._setupstate.setup = set_up
            started = time.process_time()
            sys.setprofile(note)
            threading.setprofile(note)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            sys.setprofile(None)
            threading.setprofile(None)
            seconds[item.nodeid] = time.process_time() - started
            item.session._setupstate.setup = setup
            called[item.nodeid] = now
        for item in items:
            called[item.nodeid] |= files.get(item.path, set())
        return seconds, called


def _forget_results(item: Any) -> None:
    """Empty the caches of the functions of a test's file: they hold results of the code that is right."""
    for thing in vars(getattr(item, "module", None) or types.SimpleNamespace()).values():
        if hasattr(thing, "cache_clear") and getattr(thing, "__module__", "") == item.module.__name__:
            thing.cache_clear()


def _judge(
    todo: list[Mutant], tests: list[str], processes: int, found: Callable[[Mutant, str], None]
) -> set[str] | None:
    """Run the tests on the mutants; the functions that none of them calls, ``None`` if they fail without a change."""
    import pytest

    options = ["-q", "-n0", "--doctest-modules", "-p", "no:cacheprovider", "-p", "no:randomly", "--timeout=0"]
    judge = _Judge(todo, processes, found)
    sys.stdout.flush()
    shown = os.dup(1)
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 1)  # the reports of hundreds of failed tests
        try:
            pytest.main([*options, "-m", "not slow", *tests], plugins=[judge])
        finally:
            os.dup2(shown, 1)
            os.close(shown)
    return None if judge.failed else judge.uncalled


def _key(mutant: Mutant) -> tuple[str, ...]:
    return (mutant.module, mutant.function, str(mutant.line), mutant.change)


def main() -> int:
    """Run the mutants, and print a table and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="modules below lit_certattr; all if left out")
    parser.add_argument("--processes", type=int, default=1, help="mutants tested at once")
    parser.add_argument("--output", type=Path, help="a line per mutant; mutants that it holds are not run again")
    parser.add_argument("--again", action="store_true", help="run those again that it holds as not noticed")
    parser.add_argument("--tests", nargs="+", help="other tests than those of the modules")
    parser.add_argument("--numbers", action="store_true", help="change the numbers of the modules, not the functions")
    parser.add_argument("--calls", action="store_true", help="print the functions that no test calls; change nothing")
    parser.add_argument("--list", action="store_true", help="print the mutants, and run none")
    arguments = parser.parse_args()
    os.environ["CI"] = "1"  # hypothesis tries the same examples every time
    rooms = arguments.rooms or list(ROOMS)
    known: dict[tuple[str, ...], str] = {}
    if arguments.output and arguments.output.exists():
        for line in arguments.output.read_text().splitlines():
            *key, verdict = line.split("\t")
            known[tuple(key)] = verdict
    if arguments.again:
        known = {key: verdict for key, verdict in known.items() if verdict != "survived"}
    if not arguments.calls:
        print("| module | mutants | noticed | not noticed |\n|---|---|---|---|", flush=True)
    survivors = []
    for room in rooms:
        wanted, tests = ROOMS[room]
        # The examples of the functions, too.
        tests = arguments.tests or [f"lit_certattr/{room.replace('.', '/')}.py", *tests]
        todo = module_numbers(room) if arguments.numbers else mutants(room, wanted)
        if arguments.list:
            print(*(f"{m.function}:{m.line} {m.change}" for m in todo), sep="\n")
            continue
        if arguments.calls:
            uncalled = _judge(todo, tests, 0, lambda *_: None)
            print(
                f"{room}: {'the tests fail' if uncalled is None else ', '.join(sorted(uncalled)) or 'none'}", flush=True
            )
            continue

        def found(mutant: Mutant, verdict: str) -> None:
            known[_key(mutant)] = verdict
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write("\t".join([*_key(mutant), verdict]) + "\n")

        left = [mutant for mutant in todo if _key(mutant) not in known]
        if left and _judge(left, tests, arguments.processes, found) is None:
            print(f"the tests of {room} fail without any change", file=sys.stderr)
            return 1
        verdicts = [known[_key(mutant)] for mutant in todo]
        if "not made" in verdicts:
            broken = todo[verdicts.index("not made")]
            print(f"{broken.function}: a mutant could not be put in its place ({broken.change})", file=sys.stderr)
            return 1
        left = [mutant for mutant, verdict in zip(todo, verdicts, strict=True) if verdict == "survived"]
        survivors += left
        print(f"| `{room}` | {len(todo)} | {len(todo) - len(left)} | {len(left)} |", flush=True)
    if survivors:
        print("\nNot noticed:")
        print(*(f"- `{m.module}` {m.function}, line {m.line}: `{m.change}`" for m in survivors), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
