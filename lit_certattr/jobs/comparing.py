"""The job ``compare``: finished runs side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from rich.console import Console
from rich.progress import Progress

from lit_certattr.comparison.beside import EvaluationNumbers, read_evaluation, unlike_evaluations
from lit_certattr.comparison.comparison import Comparison, choose, ordered
from lit_certattr.comparison.likeness import Setting, UnlikeRuns, reasons_against, split_settings
from lit_certattr.comparison.measures import COMPARED_RADII
from lit_certattr.comparison.reading import OpenedRun, RunNumbers, open_run, read_run
from lit_certattr.errors import InputError
from lit_certattr.files.home import at_home
from lit_certattr.files.whole_file import cannot_write, write_whole
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.trust import import_packages
from lit_certattr.records.table import check_radii
from lit_certattr.reports.compare_files import FIGURES, FILES, comparison_files

_POINTS = 31


@checked
def compare(
    directories: Sequence[str | Path],
    names: Sequence[str] | None = None,
    by: str | None = None,
    baseline: str | Path | None = None,
    radii: Sequence[float] | None = None,
    evaluations: Sequence[str | Path] = (),
    force: bool = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    imports: Sequence[str] = (),
    progress: bool = True,
) -> Comparison:
    """Compare finished runs: settings that differ, means over the images in order, and paired differences.

    Certified numbers are derived again from the stored results, so radii need not be those of the runs. Files of the
    runs are data; no code of theirs is executed. Nothing is audited: see :func:`~lit_certattr.jobs.audit`.

    Args:
        directories: Output directories of ``certify.py run``.
        names: Names of the runs, one for each directory. Default: the names of the directories.
        by: The number by which the runs are ordered, e.g. ``certified/one_share_k25_r0_10``. Default: the share of K
            that is certified important, at the middle K and the smallest positive radius.
        baseline: Name or directory of the run from which differences are taken. Default: the first one.
        radii: Radii of the numbers that depend on a radius. Default: 0, 0.1 and 0.25; 0 to 4 where all runs are about
            patches or regions.
        evaluations: Output directories of ``certify.py evaluate`` for networks of these runs.
        force: Rank runs although their images, error probabilities, K or budgets differ.
        output: Directory for ``compare.html``, ``compare.csv``, ``differences.csv``, ``compare.md``, ``compare.tex``
            and ``figures/``; ``None`` writes nothing.
        overwrite: Replace these files of an earlier comparison in the directory.
        imports: Packages whose certificates, results, methods and noise laws are read like those of this package.
        progress: Whether to show the progress on stderr, if this is a terminal.

    Returns:
        The runs, best first, with their means and differences.

    Raises:
        InputError: If a directory, a name or a number cannot be used; as
            :class:`~lit_certattr.comparison.UnlikeRuns` if runs must not be ranked.

    Example:
        >>> from lit_certattr import jobs
        >>> found = jobs.compare(["runs/certify/a", "runs/certify/b"])  # doctest: +SKIP
        >>> [run.name for run in found.runs], found.differences["b"]  # doctest: +SKIP
    """
    if not directories:
        raise InputError("give at least one output directory of lit-certattr certify run")
    if radii is not None:
        check_radii(radii)
        if not radii:
            raise InputError("radii must hold at least one radius, e.g. [0.1, 0.25]")
    named = _named(directories, names)
    place = None if output is None else _free(at_home(output), directories, overwrite)
    for path in directories if imports else ():
        import_packages(imports, Path(path))
    opened = [open_run(path, name) for name, path in named.items()]
    base = _baseline(opened, baseline)
    found = [read_evaluation(path) for path in evaluations]
    owners = _owners(opened, found)
    reasons = reasons_against(
        list(named), [one.terms for one in opened], [one.settings.get("images") for one in opened]
    )
    reasons += unlike_evaluations(found)
    differing, shared = split_settings([one.settings for one in opened])
    if reasons and not force:
        raise UnlikeRuns(reasons, list(named), differing)
    radii = _usual(opened) if radii is None else radii
    runs = [_with_evaluation(one, owners.get(one.name)) for one in _read(opened, list(map(float, radii)), progress)]
    measure = choose(runs, by, radii)
    best = ordered(runs, measure)
    places = [runs.index(run) for run in best]
    in_order = [Setting(one.name, [one.values[place] for place in places]) for one in differing]
    comparison = Comparison(best, base, measure, tuple(map(float, radii)), in_order, shared, reasons)
    if place is not None:
        _write(place, comparison_files(comparison))
    return comparison


def _free(place: Path, directories: Sequence[str | Path], overwrite: bool) -> Path:
    """The output directory, if the files of a comparison may be written there."""
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is not a directory; choose another --output")
    for run in (at_home(path).resolve() for path in directories):
        if place.resolve().is_relative_to(run):
            raise InputError(f"{place} lies in the run {run}, which holds only its own files; choose another --output")
    taken = [place / name for name in FILES if (place / name).exists()]
    if taken and not overwrite:
        raise InputError(f"{taken[0]} exists; choose another --output, or --overwrite to replace it")
    return place


def _write(place: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, the page last; figures of an earlier comparison that this one does not have are deleted."""
    try:
        (place / "figures").mkdir(parents=True, exist_ok=True)
        for name in (f"figures/{figure}.{kind}" for figure in FIGURES for kind in ("pdf", "png")):
            if name not in files:
                (place / name).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(place, error) from None
    for name, content in files.items():
        write_whole(place / name, content)


def _named(directories: Sequence[str | Path], names: Sequence[str] | None) -> dict[str, str | Path]:
    """The directories by distinct names."""
    if names is None:
        chosen = [at_home(path).resolve().name for path in directories]
    elif len(names) != len(directories):
        raise InputError(f"--names: there are {len(names)} names for {len(directories)} directories")
    else:
        chosen = [str(name).strip() for name in names]
    for name in chosen:
        if not name or not name.isprintable() or len(name) > 200:
            raise InputError(f"{name[:80]!r} is no name for a run; give other --names")
    if double := next((name for name in chosen if chosen.count(name) > 1), None):
        raise InputError(f"two runs have the name {double!r}; give distinct --names, e.g. --names=a,b")
    return dict(zip(chosen, directories, strict=True))


def _baseline(opened: Sequence[OpenedRun], baseline: str | Path | None) -> str:
    """Name of the run from which differences are taken."""
    if baseline is None:
        return opened[0].name
    place = at_home(baseline).resolve()
    for run in opened:
        if run.name == str(baseline) or run.directory.path.resolve() == place:
            return run.name
    raise InputError(f"--baseline: {baseline} is none of the runs {', '.join(run.name for run in opened)}")


def _owners(opened: Sequence[OpenedRun], found: Sequence[EvaluationNumbers]) -> dict[str, EvaluationNumbers]:
    """The evaluation of each run, by the name of the run."""
    owners: dict[str, EvaluationNumbers] = {}
    for one in found:
        own = [run.name for run in opened if one.belongs_to(run.settings)]
        if not own:
            raise InputError(f"{one.path} evaluates the network and method of none of these runs")
        for name in own:
            if name in owners:
                raise InputError(f"{one.path} and {owners[name].path} evaluate the same run {name}; give one of them")
            owners[name] = one
    return owners


def _read(opened: Sequence[OpenedRun], radii: Sequence[float], progress: bool) -> list[RunNumbers]:
    """The numbers of all runs."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("reading runs", total=sum(len(one.ids) for one in opened))
        curve = _grid(opened)
        return [read_run(one, radii, curve, lambda _: bar.advance(task)) for one in opened]


def _with_evaluation(run: RunNumbers, found: EvaluationNumbers | None) -> RunNumbers:
    if found is None:
        return run
    return attrs.evolve(
        run,
        values={**run.values, **found.values},
        means={**run.means, **found.means},
        nulls={**run.nulls, **found.nulls},
    )


def _usual(opened: Sequence[OpenedRun]) -> tuple[float, ...]:
    """Radii that suit the budgets of all runs."""
    try:
        budgets = [next(iter(one.first.results.values())).change_budget for one in opened]
    except InputError:  # of a law that is not known here
        return COMPARED_RADII
    own = {budget.usual_radii(COMPARED_RADII) for budget in budgets}
    return COMPARED_RADII if len(own) > 1 or COMPARED_RADII in own else (0.0, *own.pop())


def _grid(opened: Sequence[OpenedRun]) -> list[float]:
    """Radii of the curves, the same for all runs."""
    reach = max((run.reach() for run in opened), default=0.0)
    if not 0 < reach < math.inf:
        return []
    points: list[Any] = np.linspace(0, reach, _POINTS).tolist()
    return [float(f"{point:.3g}") for point in points]
