"""The job ``attack``: attack the certificates of a run, and compare certified and attacked values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import torch

from lit_certattr.attacks import AttackConfig
from lit_certattr.audit.audit import audit_run
from lit_certattr.callbacks.attack_writer import AttackWriter
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.attack_effort import GivenSettings, effort_of, tell_forecast
from lit_certattr.jobs.parts import select_samples
from lit_certattr.jobs.predict import predict
from lit_certattr.jobs.reopening import Reopened, directory_of, reopened
from lit_certattr.jobs.sampling_again import own_error
from lit_certattr.jobs.trainer import is_first_process, make_trainer
from lit_certattr.jobs.users_word import import_allowed
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.robustness import PRESETS, Preset, SandwichAttack, quantities
from lit_certattr.statistics.rounding import counted


@attrs.frozen
class AttackReport:
    """Results of :func:`attack`.

    Attributes:
        directory: Directory of the results: ``page``, ``table``, ``csv``, ``figures``.
        ids: Ids of the attacked images, in the order of the table.
        rows: Rows of the table, see :func:`lit_certattr.records.attack_directory.schema`; in the first process only.
        num_samples: Fresh samples per perturbed image.
        seed: Seed of the fresh noise.
        error: Family-wise error rate of all statements about perturbed images.
        own_error: Upper bound for the probability that the run contains a false certificate of these images.
    """

    directory: AttackDirectory
    ids: list[str]
    rows: list[dict[str, Any]]
    num_samples: int
    seed: int
    error: float
    own_error: float

    @property
    def contradicted(self) -> list[dict[str, Any]]:
        """Rows with a claim that fresh noise contradicts; empty if all certificates are true, up to ``error``."""
        return [row for row in self.rows if row["contradicted"]]


@checked
def attack(
    directory: str | Path | Reopened,
    budgets: Sequence[float] | None = None,
    search: AttackConfig | None = None,
    preset: Preset = "standard",
    draws: int | None = None,
    judge_draws: int | None = None,
    keep_label: bool = False,
    random_search: bool | None = None,
    num_samples: int | None = None,
    seed: int | None = None,
    error: float = 0.001,
    ids: list[str] | None = None,
    max_images: int | None = None,
    max_panels: int = 16,
    output: str | Path | None = None,
    overwrite: bool = False,
    trust: bool = False,
    imports: Sequence[str] = (),
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
    num_nodes: int | None = None,
    strategy: str | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> AttackReport:
    """Attack the certificates of a run, and write the results, by default to ``attack/`` in its directory.

    The run is audited first. If an earlier call with the same arguments was interrupted, the attacks resume. Before the
    first image is attacked, a few steps are timed, and the duration is forecast.

    Args:
        directory: Directory that ``certify.py run`` or :func:`~lit_certattr.jobs.run` has written, or the result of
            :func:`~lit_certattr.jobs.reopen`.
        budgets: l2 lengths of the perturbations, in pixel units. Default: multiples of the largest certified radius.
        search: Settings of the search for each perturbation, in l2; ``eps`` is replaced by each budget.
        preset: How much effort is spent: ``quick``, ``standard`` or ``thorough`` (``docs/attacks.md``). All settings
            that are not given are those of the preset.
        draws: Noisy samples averaged per attack gradient.
        judge_draws: Noisy samples averaged per point to select the worst point of the search.
        keep_label: Accept only perturbations that keep the predicted label.
        random_search: Whether to run also a random baseline with the same number of points.
        num_samples: Fresh samples per perturbed image.
        seed: Seed of the fresh noise. Default: the seed of the run plus 1.
        error: Family-wise error rate of all statements about perturbed images.
        ids: Attack only these images.
        max_images: Attack only the first so many images of the run.
        max_panels: Number of images with a panel on the page.
        output: Directory to write, or to resume. Default: ``attack/`` in the directory of the run.
        overwrite: Delete existing attacks of this run and start again.
        trust: Import every class that the ``config.yaml`` of the run names; this runs their code, as with a script.
        imports: Packages that may be imported; their classes may be used, and their certificates are attacked, too.
        checkpoint: New path of the weights, if the file was moved since the run.
        accelerator: cpu, cuda, ... Default: as in the run.
        devices: Number of devices. Default: as in the run.
        num_nodes: Number of machines. Default: one, wherever the run was made.
        strategy: Lightning's strategy. Default: as in the run.
        threads: CPU threads per process. Default: as in the run.
        progress: Whether to show the progress on stderr.

    Returns:
        The results row by row, and their directory.

    Raises:
        InputError: If the run does not pass its audit, if network or images differ from the record, or if a setting is
            out of range; nothing is written then.

    Example:
        >>> from lit_certattr import jobs
        >>> report = jobs.attack("runs/certify/mnist5k", budgets=[0.1, 0.4], max_images=2)  # doctest: +SKIP
        >>> report.contradicted  # doctest: +SKIP
        []
    """
    effort = effort_of(preset)
    _check_numbers(error, num_samples, max_images, effort.search if search is None else search)
    run = directory_of(directory)
    attacks = run.attacks if output is None else AttackDirectory(run, output)
    run.lock.check()
    import_allowed(run, imports, trust)
    record = _passing(run)
    seed = _independent(record["settings"]["seed"], seed)
    parts = reopened(
        directory,
        trust=trust,
        imports=imports,
        checkpoint=checkpoint,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        threads=threads,
    )
    samples = select_samples(parts.samples, ids, max_images)
    first = run.read(samples.ids[0])
    if not list(quantities(first.results)):
        raise InputError(f"{run.path} contains no certificate that can be attacked ({', '.join(first.results)})")
    given = GivenSettings(
        budgets, search, draws, judge_draws, random_search, num_samples, keep_label=keep_label, seed=seed
    )
    sandwich, quick = (
        given.attack(one, parts.certifier, run, samples.ids, first) for one in (effort, PRESETS["quick"])
    )
    certifier = sandwich.certifier
    loop = make_trainer(parts.trainer)
    device = loop.strategy.root_device
    settings = _settings(record, preset, sandwich, error, samples.ids, device.type)
    attacks.check(settings, overwrite)
    todo = len(samples) if overwrite else len(set(samples.ids) - attacks.finished())
    if progress and todo and is_first_process():
        tell_forecast(preset, sandwich, quick, parts.network, samples, first, todo, device, loop.world_size)
    module = AttackModule(
        parts.network,
        sandwich,
        lambda image_id: run.read(image_id).results,
        error / len(samples),
        sandwich.num_passes(first.results),
    )
    writer = AttackWriter(run, settings, samples.ids, overwrite=overwrite, max_panels=max_panels, directory=attacks)
    predict(loop, module, samples, [writer], num_workers=parts.num_workers, progress=progress)
    rows = attacks.read_table(len(samples)).to_pylist() if is_first_process() else []
    return AttackReport(
        attacks,
        list(samples.ids),
        rows,
        num_samples=certifier.num_samples,
        seed=certifier.seed,
        error=error,
        own_error=own_error(record["settings"], len(samples)),
    )


def _check_numbers(error: float, num_samples: int | None, max_images: int | None, search: AttackConfig) -> None:
    """Refuse numbers out of range, before any file is read."""
    if not 0 < error < 1:
        raise InputError(f"--error must lie strictly between 0 and 1, got {error}")
    if num_samples is not None and num_samples < 1:
        raise InputError(f"--num_samples must be at least 1, got {num_samples}")
    if max_images is not None and max_images < 1:
        raise InputError(f"--max_images must be at least 1, got {max_images}")
    if search.keep != "best":
        raise InputError(
            f"search.keep must be 'best', got {search.keep!r}: an attack keeps the worst point of its search"
        )


def _passing(run: RunDirectory) -> dict[str, Any]:
    """The record of a run that passes its audit."""
    audit = audit_run(run, pages=False)
    if audit.findings:
        raise InputError(
            f"{run.path} does not pass its audit ({audit.findings[0]}); move files that are not of the run to another "
            f"place, or certify again; lit-certattr certify audit {run.path} lists "
            f"{counted(len(audit.findings), 'finding')}"
        )
    return run.provenance()


def _independent(recorded: int, seed: int | None) -> int:
    """A seed whose noise is independent of the certificates."""
    if seed == recorded:
        raise InputError(
            f"--seed={seed} is the run's own: its noise is not independent of the certificates; choose another"
        )
    return recorded + 1 if seed is None else seed


def _settings(
    record: Mapping[str, Any], preset: Preset, attack: SandwichAttack, error: float, ids: Sequence[str], device: str
) -> dict[str, Any]:
    """Everything that determines the results, as plain values; attacks resume only with the same settings."""
    search = asdict(attack.config)
    return {
        "run": record["fingerprint"],
        "preset": preset,
        "budgets": list(attack.budgets),
        "search": {name: value for name, value in search.items() if name not in ("eps", "norm", "keep")},
        "draws": attack.draws,
        "judge_draws": attack.judge_draws,
        "keep_label": attack.keep_label,
        "random_search": len(attack.searches) > 1,
        "num_samples": attack.certifier.num_samples,
        "seed": attack.certifier.seed,
        "error": error,
        "ids": list(ids),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
    }
