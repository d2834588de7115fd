"""``certify.py audit``: re-derive what a run directory claims, and test it with fresh noise."""

import secrets
import sys
import warnings
from collections.abc import Sequence

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from lit_certattr.audit.audit import Audit, audit_run
from lit_certattr.audit.finding import Finding
from lit_certattr.audit.fresh import count_claims
from lit_certattr.audit.replay import TOLERANCE
from lit_certattr.callbacks.fresh_noise import FreshNoise
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.callbacks.replay import Replay
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.reopen import reopen
from lit_certattr.data import collate
from lit_certattr.errors import InputError
from lit_certattr.modules import CertificationModule
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.smoothing import alpha_slack
from lit_certattr.statistics.rounding import at_most, exact, total

AUDIT_HELP = """Check a run: derive every certificate again, and find altered files.

Examples:
  certify.py audit runs/certify/photographs
  certify.py audit runs/certify/photographs --fresh
  certify.py audit runs/certify/photographs --fresh --samples=4000 --replay=10 --devices=2

Without --fresh nothing is sampled and no code named by the run is imported. Labels, radii, overlaps, cosines, the
table, the figures, the page and the hashes are computed again from the stored counts, the settings and the images, and
compared; every file below the directory is named that no run leaves. That finds what was altered, not what was invented
from the start.

With --fresh the network and the images of config.yaml are loaded and compared with the record: classes and weights of
the network, and its logits for fixed images. The images are sampled again with noise that the run has not seen, and a
claim fails if the fresh votes contradict it. The recorded samples of a few images, chosen at random (--replay), are
drawn once more and must give the recorded counts. Classes outside of this package, torch, torchvision and timm are
imported with --trust only.

Exit status: 0 if all is well, 1 with a list if not, 2 if the audit could not be done."""

_LISTED = 50
_REPLAYED = 2


def add_audit_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py audit``."""
    parser.add_argument("directory", type=str, help="Directory that certify.py run has left.")
    parser.add_argument("--fresh", action="store_true", help="Also test every claim with fresh noise.")
    parser.add_argument("--samples", type=int | None, help="Fresh samples per image; as many as the run's if left out.")
    parser.add_argument(
        "--replay", type=int | None, help="Images whose recorded samples are drawn again, 2 if left out; 0 for none."
    )
    parser.add_argument("--seed", type=int | None, help="Seed of the fresh noise; drawn at random if left out.")
    parser.add_argument(
        "--error",
        type=float,
        default=0.001,
        help="Family-wise rate of falsely rejecting a true claim.",
    )
    parser.add_argument("--trust", action="store_true", help="Import any class that config.yaml names.")
    parser.add_argument("--checkpoint", type=str | None, help="Where the weights are, if not where they were.")
    parser.add_argument("--accelerator", type=str | None, help="cpu, cuda, ...; the run's if left out.")
    parser.add_argument("--devices", type=int | str | None, help="Number of devices; the run's if left out.")


def audit_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Audit, print, and exit with status 1 if anything is wrong."""
    if not config.fresh and (config.trust or any(config[name] is not None for name in ("samples", "seed", "replay"))):
        raise InputError("--samples, --seed, --replay and --trust are about sampling again: add --fresh")
    if config.replay is not None and config.replay < 0:
        raise InputError(f"--replay must not be negative, got {config.replay}")
    if not 0 < config.error < 1:
        raise InputError(f"--error must lie strictly between 0 and 1, got {config.error}")
    first_process = getattr(rank_zero_only, "rank", 0) == 0
    console = Console(file=sys.stdout, quiet=not first_process, highlight=False, soft_wrap=True)
    directory = RunDirectory(config.directory)
    audit = audit_run(directory)
    _print_audit(console, audit)
    if audit.findings:
        raise SystemExit(1)
    if config.fresh:
        _print_fresh(console, *fresh_findings(directory, audit, config))


def fresh_findings(directory: RunDirectory, audit: Audit, config: Namespace) -> tuple[list[Finding], list[str]]:
    """Sample the images of a run again and test its claims.

    Args:
        directory: A run without findings.
        audit: What was found there.
        config: The arguments of the command.

    Returns:
        The claims that fall, and what was done in words.

    Raises:
        InputError: If the run's network or images are not those of the record, or cannot be loaded.
    """
    settings = directory.provenance()["settings"]
    seed = secrets.randbits(62) if config.seed is None else config.seed
    if seed == settings["seed"]:
        raise InputError(f"--seed={seed} is the run's own: the same noise again would prove nothing; choose another")
    if config.samples is not None and config.samples < 1:
        raise InputError(f"--samples must be at least 1, got {config.samples}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        run = reopen(
            directory,
            checkpoint=config.checkpoint,
            accelerator=config.accelerator,
            devices=config.devices,
            trust=config.trust,
        )
        certifier = run.certifier
        count = _REPLAYED if config.replay is None else config.replay
        again = Replay(directory, certifier, audit.ids, count, seed, run.class_names)
        certifier.num_samples = config.samples or certifier.num_samples
        certifier.stopping = ()  # a fixed number, as the exact test needs
        num_claims, untested = count_claims(directory, audit.ids)
        if not num_claims:
            raise InputError(f"{directory.path} makes no claim that fresh noise could test: nothing is certified there")
        images, values = len(run.samples), run.samples[0][0].numel()
        slack = images * alpha_slack(certifier.noise, certifier.num_samples, values)  # of the fresh noise itself
        if slack >= config.error:
            raise InputError(f"--error={config.error} must be above {at_most(slack, 2)}, which the noise itself spends")
        level = (config.error - slack) / num_claims
        fresh = FreshNoise(directory, level, seed)
        module = CertificationModule(run.network, certifier, run.targets)
        module.allow_zero_length_dataloader_with_multiple_devices = True
        run.trainer.callbacks += [CertificationProgress(), fresh, again]  # type: ignore[attr-defined]
        loader = DataLoader(run.samples, batch_size=1, num_workers=run.num_workers, collate_fn=collate)
        run.trainer.predict(module, dataloaders=loader, return_predictions=False)
    own = total((values["alpha"] for values in settings["certificates"].values()), len(audit.ids))
    words = [
        f"{num_claims:,} claims about {len(audit.ids)} image(s) tested with {certifier.num_samples:,} fresh samples "
        f"per image, seed {fresh.seed}.",
        f"If all claims are true, fresh noise contradicts any of them with probability at most {exact(config.error)} "
        f"({at_most(level, 2)} per claim).",
        f"The run itself allows a false claim with probability at most {exact(min(own, 1))}.",
    ]
    if again.chosen:
        how = "bit by bit" if again.exact else f"within {TOLERANCE:.0%}, since it ran on another machine or device"
        words.append(f"Recorded samples of {len(again.chosen)} image(s) drawn again and compared {how}.")
    words += [f"Not tested: {name}. Its kind of result has no claims() to test." for name in untested]
    return again.findings + fresh.findings, words


def _print_audit(console: Console, audit: Audit) -> None:
    table = Table("certificate", "kind", "images", "re-derived equal")
    for name, tally in audit.tallies.items():
        table.add_row(name, tally.kind, str(tally.num_certificates), str(tally.num_equal))
    console.print(table)
    _print_findings(console, audit.findings)
    for note in audit.notes:
        console.print(note, markup=False, style="dim")
    equal = sum(tally.num_equal for tally in audit.tallies.values())
    if audit.findings:
        equals = f"{equal} of {audit.num_certificates} certificates re-derived equal"
        console.print(f"FAILED: {len(audit.findings)} finding(s), {equals}")
    else:
        console.print(f"{equal} certificates re-derived, all equal")


def _print_fresh(console: Console, findings: Sequence[Finding], words: Sequence[str]) -> None:
    for line in words:
        console.print(line, markup=False)
    if findings:
        _print_findings(console, findings)
        console.print(f"FAILED: {len(findings)} finding(s) from samples drawn again or fresh noise")
        raise SystemExit(1)
    console.print("No claim falls")


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    for finding in findings[:_LISTED]:
        console.print(str(finding), markup=False)
    if len(findings) > _LISTED:
        console.print(f"... and {len(findings) - _LISTED} more")
