"""``certify.py audit``: derive the claims of a run directory again, and test them with fresh noise."""

from collections.abc import Sequence

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from lit_certattr.audit.audit import Audit
from lit_certattr.audit.finding import Finding
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import SampledAgain, audit
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.statistics.rounding import counted

AUDIT_HELP = """Check a run: derive every certificate again, and find altered files.

Examples:
  certify.py audit runs/certify/photographs
  certify.py audit runs/certify/photographs --fresh
  certify.py audit runs/certify/photographs --fresh --num_samples=4000 --replay=10 --devices=2

Without --fresh the audit samples nothing and imports no code that the run names. It computes labels, radii, overlaps,
cosines, the table, the figures, the page and the hashes again from the stored counts, the settings and the images, and
compares them; it also lists every file in the directory that no run writes. This finds altered results, but not results
that were invented from the start.

With --fresh the audit loads the network and the images of config.yaml and compares them with the record: classes and
weights of the network, and its logits for fixed images. It samples the images again with independent noise, and tests
whether the fresh votes contradict a claim. It also draws the recorded samples of a few randomly selected images again
(--replay), which must give the recorded counts. Give --trust to import classes outside of this package, torch,
torchvision and timm, which runs their code.

Certificates, results, methods and noise laws of other packages are audited like those of this package if you allow the
import of their package: --import PACKAGE. Otherwise each is reported as "unknown kind, not audited", and everything
else is audited.

Exit status: 0 if there is no finding, 1 and a list if something is wrong, 2 if the audit is impossible, 3 if nothing is
wrong but something of an unknown kind was not audited."""

_LISTED = 50
_UNAUDITED = 3


def add_audit_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py audit``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_function_arguments(audit, as_group=False, skip={"directory", "imports", "progress", "on_derived"})
    add_import_word(parser)


def audit_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Audit a run and print the results.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.

    Raises:
        SystemExit: With status 1 if anything is wrong, with 3 if something could not be audited.
    """
    console = on_stdout(quiet=not is_first_process())
    arguments = {name: value for name, value in vars(config).items() if name != "import"}
    report = audit(**arguments, imports=config["import"], on_derived=lambda derived: _print_audit(console, derived))
    if report.sampled is not None:
        _print_sampled(console, report.sampled)
    if report.faults:
        raise SystemExit(1)
    if report.unaudited:
        console.print(f"NOT AUDITED: {counted(len(report.unaudited), 'part')} of an unknown kind")
        raise SystemExit(_UNAUDITED)


def _print_audit(console: Console, audit: Audit) -> None:
    table = Table("certificate", "kind", "images", "re-derived equal")
    for name, tally in audit.tallies.items():
        table.add_row(name, tally.kind, str(tally.num_certificates), str(tally.num_equal))
    console.print(table)
    _print_findings(console, audit.findings)
    for note in audit.notes:
        console.print(note, markup=False, style="dim")
    equal = sum(tally.num_equal for tally in audit.tallies.values())
    equals = f"{equal} of {audit.num_certificates} certificates re-derived equal"
    if audit.faults:
        console.print(f"FAILED: {counted(len(audit.findings), 'finding')}, {equals}")
    elif audit.unaudited:
        console.print(equals)
    else:
        console.print(f"{equal} certificates re-derived, all equal")


def _print_sampled(console: Console, sampled: SampledAgain) -> None:
    for note in sampled.notes:
        console.print(note, markup=False)
    if sampled.findings:
        _print_findings(console, sampled.findings)
        console.print(f"FAILED: {counted(len(sampled.findings), 'finding')} from samples drawn again or fresh noise")
    else:
        console.print("No claim is contradicted")


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    for finding in findings[:_LISTED]:
        console.print(str(finding), markup=False)
    if len(findings) > _LISTED:
        console.print(f"... and {len(findings) - _LISTED} more")
