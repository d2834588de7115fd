r"""Which tests would notice if a theorem were written down wrongly: each constant and operation changed, one by one.

A mutant is one function with one change: a number doubled (0 becomes 1), + and -, * and /, < and <=, > and >=, min and
max, floor and ceil, a lower and an upper bound exchanged. It is put in the place of the function (its code object, so
that everybody who has imported it gets the mutant), and the tests of its room are run, in a forked process, until one
of them fails. Mutants that no test notices are listed: each must be explained, or gets a test.

    python -m benchmarks.mutation                       # everything: some hours of one core
    python -m benchmarks.mutation statistics.multiple   # one module
    python -m benchmarks.mutation --processes 2 --output runs/mutation.tsv

Checks of arguments (a branch that only raises) are left out, and so are docstrings, messages and type hints.
"""

import __future__

import argparse
import ast
import contextlib
import copy
import importlib
import inspect
import os
import resource
import signal
import sys
import textwrap
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
            "tests/certificates/test_claims_holm.py",
            "tests/certificates/test_claims.py",
            "tests/soundness/test_claims.py",
        ],
    ),
    "certificates.claims_result": (["holds", "verdict"], ["tests/certificates/test_claims.py"]),
    "certificates.percentile_result": (
        ["intervals", "radius", "_ends", "claims", "upper_bounds", "_at_rank"],
        [_LENGTHS, "tests/certificates/test_percentiles.py"],
    ),
    "certificates.prediction_result": (
        ["intervals", "holds", "is_refuted", "_largest", "rederive", "upper_bounds"],
        [_LENGTHS, "tests/certificates/test_prediction.py"],
    ),
    "certificates.joint": (None, ["tests/certificates/test_prediction.py"]),
    "certification.stopping": (None, ["tests/certification/test_stopping.py", "tests/soundness/test_stopping.py"]),
}
"""For each module the functions that are changed (all if ``None``), and the tests that should notice, fastest first."""


_PATIENCE = 10
"""A mutant (an endless loop) whose tests take this many times their processor time, and a minute, counts as noticed."""


class Mutant(NamedTuple):
    """One change of one function."""

    module: str
    function: str
    line: int
    change: str
    source: str


_BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
_COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}


def _other_name(name: str) -> str | None:
    if name in _NAMES:
        return _NAMES[name]
    for own, other in (("_lower", "_upper"), ("_upper", "_lower")):
        if name.endswith(own):
            return name.removesuffix(own) + other
    return None


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """What can be changed at a node, and how, in place."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        new = 1 if node.value == 0 else 2 * node.value
        yield f"{node.value} -> {new}", lambda copied: setattr(copied, "value", new)
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        other = _BINARY[type(node.op)]
        yield f"{ast.unparse(node)[:60]}: {other.__name__}", lambda copied: setattr(copied, "op", other())
    elif isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            if type(operator) in _COMPARE:
                change = _COMPARE[type(operator)]

                def swap(copied: Any, index: int = index, change: type = change) -> None:
                    copied.ops[index] = change()

                yield f"{ast.unparse(node)[:60]}: {change.__name__}", swap
    elif isinstance(node, ast.Name) and (other_name := _other_name(node.id)) and isinstance(node.ctx, ast.Load):
        yield f"{node.id} -> {other_name}", lambda copied: setattr(copied, "id", other_name)
    elif isinstance(node, ast.Attribute) and (other_name := _other_name(node.attr)) and isinstance(node.ctx, ast.Load):
        yield f"{node.attr} -> {other_name}", lambda copied: setattr(copied, "attr", other_name)


def _only_raises(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and all(isinstance(part, ast.Raise) for part in node.body)


def _places(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function that belong to what it computes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if _only_raises(child) or isinstance(child, ast.arguments | ast.JoinedStr | ast.Raise | ast.Assert):
            continue
        if isinstance(node, ast.AnnAssign) and child is node.annotation:
            continue
        if isinstance(node, ast.FunctionDef) and (child is node.returns or child in node.decorator_list):
            continue
        yield from _places(child)


def _functions(module: types.ModuleType, wanted: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Functions and methods that a module defines."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if isinstance(thing, type):
            for below, member in vars(thing).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(_innermost(function), types.FunctionType) and (wanted is None or below in wanted):
                    yield f"{name}.{below}", function
        elif isinstance(_innermost(thing), types.FunctionType) and (wanted is None or name in wanted):
            yield name, thing


def _innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def mutants(room: str) -> list[Mutant]:
    """All mutants of a module below ``lit_certattr``."""
    wanted, _ = ROOMS[room]
    found = []
    seen: Counter[tuple[str, int, str]] = Counter()
    for name, function in _functions(importlib.import_module(f"lit_certattr.{room}"), wanted):
        inner = _innermost(function)
        with contextlib.suppress(OSError):  # methods that attrs has made have no source
            tree = ast.parse(textwrap.dedent(inspect.getsource(inner)))
            if not isinstance(tree.body[0], ast.FunctionDef) or name.endswith(("statement", "plot", "__repr__")):
                continue
            start = inner.__code__.co_firstlineno - 1
            for number, node in enumerate(_places(tree.body[0])):
                for change, apply in _changes(node):
                    copied = copy.deepcopy(tree)
                    apply(list(_places(copied.body[0]))[number])
                    copied.body[0].decorator_list = []  # type: ignore[attr-defined]
                    source = ast.unparse(ast.fix_missing_locations(copied))
                    line = start + getattr(node, "lineno", 0)
                    seen[name, line, change] += 1
                    which = f", number {seen[name, line, change]}" if seen[name, line, change] > 1 else ""
                    found.append(Mutant(room, name, line, change + which, source))
    return found


def _install(mutant: Mutant) -> None:
    """Put a mutant in the place of its function, for everybody who has imported it."""
    module = importlib.import_module(f"lit_certattr.{mutant.module}")
    function = dict(_functions(module, None))[mutant.function]
    inner = _innermost(function)
    scope: dict[str, Any] = {}
    code = compile(
        mutant.source, "mutant", "exec", flags=__future__.annotations.compiler_flag
    )  # hints are not evaluated
    exec(code, dict(vars(module)), scope)
    (made,) = scope.values()
    if made.__code__.co_freevars != inner.__code__.co_freevars:
        raise ValueError("a function that closes over others cannot be replaced")
    inner.__code__ = made.__code__
    _forget()


def _forget() -> None:
    """Empty the caches of all functions: what was computed before is computed again."""
    for room in ROOMS:
        for _, other in _functions(importlib.import_module(f"lit_certattr.{room}"), None):
            if hasattr(other, "cache_clear"):
                other.cache_clear()


class _Judge:
    """A plugin of pytest that runs the collected tests once for each mutant, in a forked process, in place of once.

    A first run without any change finds out which tests call which function, and how long each takes; a mutant is
    then shown to the tests that call its function, the fastest first, until one fails.
    """

    def __init__(self, todo: list[Mutant], processes: int, found: Callable[[Mutant, str], None]) -> None:
        self.todo, self.processes, self.found = todo, processes, found
        self.failed = False
        self.names: dict[str, dict[str, Any]] = {}
        """What the examples of a function may name; each run of them forgets it."""
        self.codes = {
            _innermost(function).__code__: name
            for room in {mutant.module for mutant in todo}
            for name, function in _functions(importlib.import_module(f"lit_certattr.{room}"), None)
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
        with open(os.devnull, "w") as nothing:  # noqa: PTH123
            running: dict[int, Mutant] = {}
            for mutant in self.todo:
                if len(running) == self.processes:
                    self._wait(running)
                tests = [item for item in session.items if mutant.function in called[item.nodeid]]
                tests.sort(key=lambda item: seconds[item.nodeid])
                child = os.fork()
                if child == 0:
                    status = 3
                    with contextlib.suppress(BaseException):
                        os.dup2(nothing.fileno(), 1)
                        os.dup2(nothing.fileno(), 2)
                        _install(mutant)
                        status = 1
                        limit = 60 + int(_PATIENCE * sum(seconds[item.nodeid] for item in tests))
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

            _forget()  # a value that is kept from the test before would hide the call
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


def _judge(todo: list[Mutant], tests: list[str], processes: int, found: Callable[[Mutant, str], None]) -> bool:
    """Run the tests on the mutants; whether the tests pass without a change."""
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
    return not judge.failed


def main() -> int:
    """Run the mutants, and print a table and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="modules below lit_certattr; all if left out")
    parser.add_argument("--processes", type=int, default=1, help="mutants tested at once")
    parser.add_argument("--output", type=Path, help="a line per mutant; mutants that it holds are not run again")
    parser.add_argument("--list", action="store_true", help="print the mutants, and run none")
    arguments = parser.parse_args()
    os.environ["CI"] = "1"  # hypothesis tries the same examples every time
    rooms = arguments.rooms or list(ROOMS)
    known: dict[tuple[str, ...], str] = {}
    if arguments.output and arguments.output.exists():
        for line in arguments.output.read_text().splitlines():
            *key, verdict = line.split("\t")
            known[tuple(key)] = verdict
    print("| module | mutants | noticed | not noticed |\n|---|---|---|---|", flush=True)
    survivors = []
    for room in rooms:
        tests = [f"lit_certattr/{room.replace('.', '/')}.py", *ROOMS[room][1]]  # the examples of the functions, too
        todo = mutants(room)
        if arguments.list:
            print(*(f"{m.function}:{m.line} {m.change}" for m in todo), sep="\n")
            continue
        keys: dict[Mutant, tuple[str, ...]] = {
            mutant: (mutant.module, mutant.function, str(mutant.line), mutant.change) for mutant in todo
        }

        def found(mutant: Mutant, verdict: str, keys: dict[Mutant, tuple[str, ...]] = keys) -> None:
            known[keys[mutant]] = verdict
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write("\t".join([*keys[mutant], verdict]) + "\n")

        left = [mutant for mutant in todo if keys[mutant] not in known]
        if left and not _judge(left, tests, arguments.processes, found):
            print(f"the tests of {room} fail without any change", file=sys.stderr)
            return 1
        verdicts = [known[keys[mutant]] for mutant in todo]
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
