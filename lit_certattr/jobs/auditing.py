"""The job ``audit``: derive the claims of a run directory again, and test them with fresh noise."""

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from lit_certattr.audit.audit import Audit, audit_run
from lit_certattr.audit.finding import Finding
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.reopening import Reopened, directory_of
from lit_certattr.jobs.sampling_again import SampledAgain, check_numbers, sample_again
from lit_certattr.jobs.users_word import import_allowed


@attrs.frozen
class AuditReport:
    """Results of :func:`audit`.

    Attributes:
        derived: Results of the checks without sampling.
        sampled: Results of sampling the images again; ``None`` without sampling, which an inconsistency prevents.
    """

    derived: Audit
    sampled: SampledAgain | None = None

    @property
    def findings(self) -> list[Finding]:
        """Every inconsistency, and every unknown kind; empty for an unaltered run of known kinds."""
        return self.derived.findings + (self.sampled.findings if self.sampled is not None else [])

    @property
    def faults(self) -> list[Finding]:
        """Findings that report an inconsistency; unknown kinds are not among them."""
        return [finding for finding in self.findings if finding not in self.unaudited]

    @property
    def unaudited(self) -> list[Finding]:
        """Findings that report a certificate, a noise law or a method of a kind that was not imported."""
        return self.derived.unaudited

    @property
    def notes(self) -> list[str]:
        """What could not be checked, and why; and how the images were sampled again."""
        return self.derived.notes + (self.sampled.notes if self.sampled is not None else [])


@checked
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
    """Check a run: derive every certificate again, and find altered files; writes nothing.

    Without ``fresh``, the audit samples nothing and imports no code that the run names. With ``fresh``, a run without
    findings is sampled again: its claims are tested with independent noise, and the recorded samples of a few images
    are drawn again.

    Everything of an unknown kind is a finding in ``unaudited``; everything else is audited.

    Args:
        directory: Directory that ``certify.py run`` or :func:`~lit_certattr.jobs.run` has written, or the result of
            :func:`~lit_certattr.jobs.reopen`.
        fresh: Also test every claim with fresh noise.
        num_samples: Fresh samples per image. Default: as in the run.
        replay: Number of images whose recorded samples are drawn again; 0 for none. Default: 2.
        seed: Seed of the fresh noise. Default: random.
        error: Family-wise rate of falsely rejecting a true claim.
        ids: Sample only these images; the files of all images are checked.
        max_images: Sample only the first so many images of the run; the files of all images are checked.
        trust: Import every class that the ``config.yaml`` of the run names; this runs their code, as with a script.
        imports: Packages that may be imported; their certificates, results, methods and noise laws are audited like
            those of this package.
        checkpoint: New path of the weights, if the file was moved since the run.
        accelerator: cpu, cuda, ... Default: as in the run.
        devices: Number of devices. Default: as in the run.
        threads: CPU threads per process. Default: as in the run.
        progress: Whether to show the progress on stderr.
        on_derived: Called with the results of the checks without sampling, before the sampling, which takes minutes.

    Returns:
        The results; ``findings`` is empty for an unaltered run of known kinds.

    Raises:
        InputError: If the directory is not a run directory, if a number is out of range, if an option of ``fresh`` is
            given without it, or if network or images differ from the record or cannot be loaded.

    Example:
        >>> from lit_certattr import jobs
        >>> report = jobs.audit("runs/certify/mnist5k", fresh=True)  # doctest: +SKIP
        >>> report.findings  # doctest: +SKIP
        []
    """
    if not fresh and (trust or any(option is not None for option in (num_samples, replay, seed, ids, max_images))):
        raise InputError(
            "--num_samples, --seed, --replay, --ids, --max_images and --trust need new samples: add --fresh"
        )
    check_numbers(num_samples, replay, error)
    run = directory_of(directory)
    derived = audit_run(run, packages=import_allowed(run, imports, trust))
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
