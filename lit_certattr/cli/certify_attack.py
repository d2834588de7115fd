"""``certify.py attack``: attack the certificates of a run, and compare certified and attacked values."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from lit_certattr.attacks import AttackConfig
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import AttackReport, attack
from lit_certattr.jobs.attack_effort import effort_of
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.reports.attack_page import violation, what_of
from lit_certattr.reports.upper_bounds import AT_MOST
from lit_certattr.statistics.rounding import counted, exact, fixed_at_least, fixed_at_most

ATTACK_HELP = """Attack the certificates of a run, and compare certified lower bounds with attacked upper bounds.

Examples:
  certify.py attack runs/certify/mnist5k --preset=quick
  certify.py attack runs/certify/mnist5k --budgets=[0.1,0.2,0.4] --search.steps=100 --random_search --max_images=2
  certify.py attack runs/certify/photographs --config configs/attack/photographs.yaml

A certified number (pixels that stay important or unimportant, overlap of the top K, cosine) is a lower bound over all
perturbations of at most a given l2 length. This command searches the worst perturbation for each number, and for the
prediction unless --keep_label is given, by gradient ascent through the noise (expectation over transformation, fresh
noise at every step). The number under the worst perturbation is an upper bound: the true value lies between the two. It
is estimated with noise that no search has used, and has a confidence bound.

--preset=quick takes minutes for a few small images on a CPU, standard (the default) several times as long; thorough is
for a GPU. Options that are given replace those of the preset. A few steps are timed before the first image, and the
duration is forecast.

The results are written to attack/ in the run directory or to --output, image by image: attack.html, sandwich.parquet,
sandwich.csv, figures/ and the perturbed images. Run the same command again to resume after an interruption. The run is
audited first, and its network and images are compared with the record. Its config.yaml may name classes outside of this
package, torch, torchvision and timm: give --trust to import them, which runs their code.

Exit status: 0 if no certificate is contradicted, 1 and a list if one is, 2 if the attack is impossible."""

_LISTED = 50
_FIXED = ("eps", "norm", "keep")


def add_attack_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py attack``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(AttackConfig, "search", skip=set(_FIXED), help="Search for each perturbation")
    # The preset decides about what is not given.
    free = [field.name for field in fields(AttackConfig) if field.name not in _FIXED]
    parser.set_defaults({f"search.{name}": SUPPRESS for name in free})
    parser.add_function_arguments(attack, as_group=False, skip={"directory", "search", "imports", "progress"})
    add_import_word(parser)


def attack_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Attack and print the results.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.

    Raises:
        SystemExit: With status 1 if a certificate is contradicted.
    """
    arguments = {name: value for name, value in vars(config).items() if name not in ("config", "search", "import")}
    arguments["imports"] = config["import"]
    search = config.get("search")
    given = {} if search is None else search.as_dict()
    report = attack(**arguments, search=replace(effort_of(config.preset).search, **given) if given else None)
    if not is_first_process():
        return
    _print(on_stdout(), report)
    if report.contradicted:
        raise SystemExit(1)


def _print(console: Console, report: AttackReport) -> None:
    _print_means(console, report.rows)
    console.print(AT_MOST, style="dim")
    console.print(
        f"{counted(len(report.ids), 'image')}; {report.num_samples:,} fresh samples per perturbed image, seed "
        f"{report.seed}. If all certificates are true, at least one is reported as contradicted with probability at "
        f"most {exact(report.error)}; the run itself contains a false statement with probability at most "
        f"{exact(report.own_error)}."
    )
    console.print(f"{report.directory.page}\n{report.directory.table}", markup=False)
    fallen = report.contradicted
    for row in fallen[:_LISTED]:
        console.print(f"VIOLATION: {violation(row)}", markup=False)
    if len(fallen) > _LISTED:
        console.print(f"... and {len(fallen) - _LISTED} more")
    if not fallen:
        console.print("No certificate is contradicted")


def _print_means(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the means over the images, certified and under attack."""
    table = Table("", "budget", "certified", "attacked", "at most", title="Means over the images")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["certificate"], what_of(row), row["budget"]), []).append(row)
    before = None
    for (certificate, quantity, budget), own in groups.items():
        what = f"{certificate}: {quantity}"
        if before not in (None, what):
            table.add_section()
        means = {key: sum(row[key] for row in own) / len(own) for key in ("certified", "attacked", "attacked_upper")}
        cells = [(fixed_at_least if key == "certified" else fixed_at_most)(mean) for key, mean in means.items()]
        table.add_row("" if what == before else what, exact(budget), *cells)
        before = what
    console.print(table)
