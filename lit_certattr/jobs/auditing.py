"""The job ``audit``: re-derive what a run directory claims, and test it with fresh noise."""

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from lit_certattr.audit.audit import Audit, audit_run
from lit_certattr.audit.finding import Finding
from lit_certattr.errors import InputError
from lit_certattr.jobs.reopening import Reopened, directory_of
from lit_certattr.jobs.sampling_again import SampledAgain, check_numbers, sample_again
from lit_certattr.jobs.users_word import import_allowed


@attrs.frozen
class AuditReport:
    """What :func:`audit` has found.

    Attributes:
        derived: What was derived again from the files, without sampling.
        sampled: What was found when the images were sampled again; ``None`` if they were not, as after findings.
    """

    derived: Audit
    sampled: SampledAgain | None = None

    @property
    def findings(self) -> list[Finding]:
        """Everything that is not as it must be, and every kind that is unknown; empty for an honest run."""
        return self.derived.findings + (self.sampled.findings if self.sampled is not None else [])

    @property
    def faults(self) -> list[Finding]:
        """Findings that say that something is not as it must be; what is unknown is not among them."""
        return [finding for finding in self.findings if finding not in self.unaudited]

    @property
    def unaudited(self) -> list[Finding]:
        """Findings that say that a certificate, a noise law or a method is of a kind that nobody has imported."""
        return self.derived.unaudited

    @property
    def notes(self) -> list[str]:
        """What could not be checked, and why; and what was done with fresh samples."""
        return self.derived.notes + (self.sampled.notes if self.sampled is not None else [])


def audit(
    directory: str | Path | Reopened,
    fresh: bool = False,
    num_samples: int | None = None,
    replay: int | None = None,
    seed: int | None = None,
    error: float = 0.001,
    ids: list[str] | None = None,
    max_images: int | None = None,
    trust: bool = False,
    imports: Sequence[str] = (),
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
    threads: int | None = None,
    progress: bool = True,
    on_derived: Callable[[Audit], None] | None = None,
) -> AuditReport:
    """Check a run: derive every certificate again, and find altered files; reads only.

    Without ``fresh`` nothing is sampled and no code named by the run is imported. With it, a run without findings is
    sampled again: its claims are tested with noise that it has not seen, and the recorded samples of a few images are
    drawn once more.

    What is of a kind that this process does not know is a finding of its own (``unaudited``), and the rest is audited.

    Args:
        directory: Directory that ``certify.py run`` or :func:`~lit_certattr.jobs.run` has left; or what
            :func:`~lit_certattr.jobs.reopen` has given.
        fresh: Also test every claim with fresh noise.
        num_samples: Fresh samples per image; as many as the run's if left out.
        replay: Images whose recorded samples are drawn again, 2 if left out; 0 for none.
        seed: Seed of the fresh noise; drawn at random if left out.
        error: Family-wise rate of falsely rejecting a true claim.
        ids: Sample these images only; the files of all images are checked.
        max_images: Sample no more images than this, the first ones of the run; the files of all images are checked.
        trust: Import any class that ``config.yaml`` names, as you would run a script.
        imports: Packages that may be imported: their certificates, results, methods and noise laws are audited as if
            they were of this package.
        checkpoint: Where the weights are, if not where they were.
        accelerator: cpu, cuda, ...; the run's if left out.
        devices: Number of devices; the run's if left out.
        threads: CPU threads per process; the run's if left out.
        progress: Whether progress is shown on stderr.
        on_derived: Called with what was derived from the files, before the minutes of sampling.

    Returns:
        What was found; ``findings`` is empty for an honest run.

    Raises:
        InputError: If the directory holds no run, a number is out of range, an option of ``fresh`` is given without
            it, or the run's network or images are not those of the record or cannot be loaded.

    Example:
        >>> from lit_certattr import jobs
        >>> report = jobs.audit("runs/certify/mnist5k", fresh=True)  # doctest: +SKIP
        >>> report.findings  # doctest: +SKIP
        []
    """
    if not fresh and (trust or any(option is not None for option in (num_samples, replay, seed, ids, max_images))):
        raise InputError(
            "--num_samples, --seed, --replay, --ids, --max_images and --trust are about sampling again: add --fresh"
        )
    check_numbers(num_samples, replay, error)
    run = directory_of(directory)
    import_allowed(run, imports, trust)
    derived = audit_run(run)
    if on_derived is not None:
        on_derived(derived)
    if not fresh or derived.faults:
        return AuditReport(derived)
    sampled = sample_again(
        directory,
        num_samples=num_samples,
        replay=replay,
        seed=seed,
        error=error,
        ids=ids,
        max_images=max_images,
        trust=trust,
        imports=imports,
        checkpoint=checkpoint,
        accelerator=accelerator,
        devices=devices,
        threads=threads,
        progress=progress,
    )
    return AuditReport(derived, sampled)
