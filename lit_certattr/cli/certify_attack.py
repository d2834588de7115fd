"""``certify.py attack``: attack what a run has certified, and put both numbers side by side."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import pyarrow.parquet as pq
import torch
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from lit_certattr.attacks import AttackConfig
from lit_certattr.audit.audit import audit_run
from lit_certattr.callbacks.attack_writer import AttackWriter
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.certificates.drawing import name_of
from lit_certattr.cli.certify_run import select_samples
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.reopen import reopen
from lit_certattr.data import collate
from lit_certattr.errors import InputError
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.attack_page import violation
from lit_certattr.robustness import SandwichAttack, quantities
from lit_certattr.statistics.rounding import exact, fixed_at_least, fixed_at_most, total

ATTACK_HELP = """Attack the certified explanations of a run: lower and upper bound side by side.

Examples:
  certify.py attack runs/certify/mnist5k
  certify.py attack runs/certify/mnist5k --budgets=[0.1,0.2,0.4] --search.steps=100 --random_search
  certify.py attack runs/certify/photographs --config configs/attack/photographs.yaml

Every certified number (pixels that stay important or unimportant, overlap of the top K, cosine) is a lower bound over
all perturbations of an l2 length. Here the worst perturbation is searched, by gradient ascent through the noise
(expectation over transformation, fresh noise at every step), of each number and, unless --keep_label is given, of the
prediction; what it leaves is an upper bound: the truth lies between. What is found is sampled again with noise that no
search has seen, and judged with a confidence bound.

Written beside the run, image by image, so that the same command goes on after an interruption: attack/attack.html,
sandwich.parquet, sandwich.csv, figures/ and the perturbed images. The run is audited first, and its network and images
are compared with the record. Classes outside of this package, torch, torchvision and timm that its config.yaml names
are imported with --trust only: trust them as you would trust a script.

Exit status: 0 if no certificate is contradicted, 1 with a list if one is, 2 if the attack could not be made."""

_LISTED = 50
_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
_STEPS, _BETA = 30, 5.0


def add_attack_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py attack``."""
    parser.add_argument("directory", type=str, help="Directory that certify.py run has left.")
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_argument(
        "--budgets",
        type=list[float] | None,
        help="l2 lengths, in pixel units; 1/4, 1/2, 1, 2 and 4 times the largest certified radius if left out.",
    )
    parser.add_class_arguments(
        AttackConfig, "search", skip={"eps", "norm", "keep"}, help="How each perturbation is searched"
    )
    parser.set_defaults({"search.steps": _STEPS, "search.smooth_beta": _BETA})
    parser.add_argument("--draws", type=int, default=8, help="Noisy maps behind the gradient of a step.")
    parser.add_argument("--judge_draws", type=int, default=64, help="Noisy maps that judge a point of the search.")
    parser.add_argument(
        "--keep_label", action="store_true", help="Count only perturbations that keep the predicted label."
    )
    parser.add_argument(
        "--random_search", action="store_true", help="Also make the random search of equally many points."
    )
    parser.add_argument(
        "--samples", type=int | None, help="Fresh samples that judge; as many as the run's if left out."
    )
    parser.add_argument("--seed", type=int | None, help="Seed of the fresh noise; one more than the run's if left out.")
    parser.add_argument(
        "--error",
        type=float,
        default=0.001,
        help="Probability that anything said of perturbed images is false, all together.",
    )
    parser.add_argument("--ids", type=list[str] | None, help="Attack these images only.")
    parser.add_argument("--max_images", type=int | None, help="Attack no more than the first of them.")
    parser.add_argument("--max_panels", type=int, default=16, help="Images that get a panel on the page.")
    parser.add_argument("--overwrite", action="store_true", help="Delete attacks of other settings that are there.")
    parser.add_argument("--trust", action="store_true", help="Import any class that the run's config.yaml names.")
    parser.add_argument("--checkpoint", type=str | None, help="Where the weights are, if not where they were.")
    parser.add_argument("--accelerator", type=str | None, help="cpu, cuda, ...; the run's if left out.")
    parser.add_argument("--devices", type=int | str | None, help="Number of devices; the run's if left out.")


def attack_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Attack, print, and exit with status 1 if a certificate is contradicted."""
    directory = RunDirectory(config.directory)
    ids = attack_run(directory, config)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return
    attacks = AttackDirectory(directory)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    settings = attacks.settings() or {}
    rows = pq.read_table(attacks.table).to_pylist()
    _print_means(console, rows)
    certificates = directory.provenance()["settings"]["certificates"]
    own = total((values["alpha"] for values in certificates.values()), len(ids))
    console.print(
        f"{len(ids)} image(s); each perturbed image judged by {settings['num_samples']:,} fresh samples, seed "
        f"{settings['seed']}. If all certificates are true, any is said to be contradicted with probability at most "
        f"{exact(settings['error'])}; the run itself allows a false statement with probability at most "
        f"{exact(min(own, 1))}."
    )
    console.print(f"{attacks.page}\n{attacks.table}", markup=False)
    fallen = [row for row in rows if row["contradicted"]]
    for row in fallen[:_LISTED]:
        console.print(f"VIOLATION: {violation(row)}", markup=False)
    if len(fallen) > _LISTED:
        console.print(f"... and {len(fallen) - _LISTED} more")
    if fallen:
        raise SystemExit(1)
    console.print("No certificate is contradicted")


def attack_run(directory: RunDirectory, config: Namespace) -> list[str]:
    """Attack the images of a run, and write ``attack/``.

    Args:
        directory: The run.
        config: The arguments of the command.

    Returns:
        Ids of the images that were attacked.

    Raises:
        InputError: If the run does not pass its audit, is not of this network and these images, or a setting is out of
            range; nothing is written then.
    """
    if not 0 < config.error < 1:
        raise InputError(f"--error must lie strictly between 0 and 1, got {config.error}")
    if config.samples is not None and config.samples < 1:
        raise InputError(f"--samples must be at least 1, got {config.samples}")
    if config.max_images is not None and config.max_images < 1:
        raise InputError(f"--max_images must be at least 1, got {config.max_images}")
    directory.lock.check()
    audit = audit_run(directory, pages=False)
    if audit.findings:
        raise InputError(
            f"{directory.path} does not pass its audit ({audit.findings[0]}); certify.py audit {directory.path} lists "
            f"all {len(audit.findings)} finding(s)"
        )
    record = directory.provenance()
    seed = record["settings"]["seed"] + 1 if config.seed is None else config.seed
    if seed == record["settings"]["seed"]:
        raise InputError(f"--seed={seed} is the run's own: its noise has chosen the certificates; choose another")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        run = reopen(
            directory,
            checkpoint=config.checkpoint,
            accelerator=config.accelerator,
            devices=config.devices,
            trust=config.trust,
        )
        samples = select_samples(run.samples, config.ids)
        samples = samples.subset(list(range(len(samples)))[: config.max_images])
        first = directory.read(samples.ids[0])
        asked = list(quantities(first.results))
        if not asked:
            raise InputError(f"{directory.path}: no certificate that could be attacked ({', '.join(first.results)})")
        certifier = run.certifier
        certifier.seed, certifier.num_samples = seed, config.samples or certifier.num_samples
        certifier.stopping = ()
        certifier.check_sample_size((first.clean_map.shape[0], first.clean_map.shape[1]))
        attack = SandwichAttack(
            certifier,
            AttackConfig(eps=1.0, **config.search.as_dict()),
            default_budgets(directory, samples.ids) if config.budgets is None else config.budgets,
            draws=config.draws,
            judge_draws=config.judge_draws,
            keep_label=config.keep_label,
            random_search=config.random_search,
        )
        settings = _settings(record, attack, config.error, samples.ids, run.trainer.strategy.root_device.type)
        attacks = AttackDirectory(directory)
        attacks.check(settings, config.overwrite)
        module = AttackModule(
            run.network,
            attack,
            lambda image_id: directory.read(image_id).results,
            config.error / len(samples),
            attack.num_passes(first.results),
        )
        module.allow_zero_length_dataloader_with_multiple_devices = True
        writer = AttackWriter(attacks, settings, samples.ids, overwrite=config.overwrite, max_panels=config.max_panels)
        run.trainer.callbacks += [CertificationProgress(), writer]  # type: ignore[attr-defined]
        loader = DataLoader(samples, batch_size=1, num_workers=run.num_workers, collate_fn=collate)
        run.trainer.predict(module, dataloaders=loader, return_predictions=False)
    return list(samples.ids)


def default_budgets(directory: RunDirectory, ids: Sequence[str]) -> list[float]:
    """Budgets around what a run certifies: 1/4 to 4 times its largest radius, or sigma where nothing is certified."""
    radius, sigma = 0.0, 1.0
    for record in directory.records(ids):
        sigma = next(iter(record.results.values())).sigma
        radius = max([radius, *(quantity.reach() for quantity in quantities(record.results))])
    return [float(f"{multiple * (radius or sigma):.2g}") for multiple in _MULTIPLES]


def _settings(
    record: Mapping[str, Any], attack: SandwichAttack, error: float, ids: Sequence[str], device: str
) -> dict[str, Any]:
    """Everything that decides what is found, as plain values; attacks go on only with the same."""
    search = asdict(attack.config)
    return {
        "run": record["fingerprint"],
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


def _print_means(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Means over the images: certified, and what is left under attack."""
    table = Table("", "budget", "certified", "attacked", "at most", title="Means over the images")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["certificate"], row["quantity"], row["top_k"], row["budget"]), []).append(row)
    before = None
    for (certificate, quantity, top_k, budget), own in groups.items():
        what = f"{certificate}: {quantity}" + ("" if top_k is None else f", K = {name_of(top_k)}")
        if before not in (None, what):
            table.add_section()
        means = {key: sum(row[key] for row in own) / len(own) for key in ("certified", "attacked", "attacked_upper")}
        cells = [(fixed_at_least if key == "certified" else fixed_at_most)(mean) for key, mean in means.items()]
        table.add_row("" if what == before else what, exact(budget), *cells)
        before = what
    console.print(table)
