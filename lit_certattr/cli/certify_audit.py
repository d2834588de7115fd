"""``certify.py audit``: re-derive what a run directory claims, and test it with fresh noise."""

import sys
from collections.abc import Sequence

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from lit_certattr.audit.audit import Audit
from lit_certattr.audit.finding import Finding
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import SampledAgain, audit
from lit_certattr.jobs.trainer import is_first_process

AUDIT_HELP = """Check a run: derive every certificate again, and find altered files.

Examples:
  certify.py audit runs/certify/photographs
  certify.py audit runs/certify/photographs --fresh
  certify.py audit runs/certify/photographs --fresh --num_samples=4000 --replay=10 --devices=2

Without --fresh nothing is sampled and no code named by the run is imported. Labels, radii, overlaps, cosines, the
table, the figures, the page and the hashes are computed again from the stored counts, the settings and the images, and
compared; every file below the directory is named that no run leaves. That finds what was altered, not what was invented
from the start.

With --fresh the network and the images of config.yaml are loaded and compared with the record: classes and weights of
the network, and its logits for fixed images. The images are sampled again with noise that the run has not seen, and a
claim fails if the fresh votes contradict it. The recorded samples of a few images, chosen at random (--replay), are
drawn once more and must give the recorded counts. Classes outside of this package, torch, torchvision and timm are
imported with --trust only.

Certificates, results, methods and noise laws of other packages are audited like those of this one if you allow their
package to be imported: --import PACKAGE. Otherwise each is reported as "unknown kind, not audited", and the rest is
audited.

Exit status: 0 if all is well, 1 with a list if something is wrong, 2 if the audit could not be done, 3 if nothing is
wrong but something is of an unknown kind and was not audited."""

_LISTED = 50
_UNAUDITED = 3


def add_audit_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py audit``."""
    parser.add_argument("directory", type=str, help="Directory that certify.py run has left.")
    parser.add_function_arguments(audit, as_group=False, skip={"directory", "imports", "progress", "on_derived"})
    add_import_word(parser)


def audit_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Audit, print, and exit with status 1 if anything is wrong, with 3 if something could not be audited."""
    console = Console(file=sys.stdout, quiet=not is_first_process(), highlight=False, soft_wrap=True)
    arguments = {name: value for name, value in vars(config).items() if name != "import"}
    report = audit(**arguments, imports=config["import"], on_derived=lambda derived: _print_audit(console, derived))
    if report.sampled is not None:
        _print_sampled(console, report.sampled)
    if report.faults:
        raise SystemExit(1)
    if report.unaudited:
        console.print(f"NOT AUDITED: {len(report.unaudited)} part(s) of a kind that is unknown here")
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
        console.print(f"FAILED: {len(audit.findings)} finding(s), {equals}")
    elif audit.unaudited:
        console.print(equals)
    else:
        console.print(f"{equal} certificates re-derived, all equal")


def _print_sampled(console: Console, sampled: SampledAgain) -> None:
    for note in sampled.notes:
        console.print(note, markup=False)
    if sampled.findings:
        _print_findings(console, sampled.findings)
        console.print(f"FAILED: {len(sampled.findings)} finding(s) from samples drawn again or fresh noise")
    else:
        console.print("No claim falls")


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    for finding in findings[:_LISTED]:
        console.print(str(finding), markup=False)
    if len(findings) > _LISTED:
        console.print(f"... and {len(findings) - _LISTED} more")
