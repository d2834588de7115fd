"""Samples the images of a run again: tests its claims with independent noise, and draws its recorded samples again."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lit_certattr.audit.finding import Finding
from lit_certattr.audit.fresh import count_claims
from lit_certattr.audit.replay import TOLERANCE
from lit_certattr.callbacks.fresh_noise import FreshNoise
from lit_certattr.callbacks.replay import Replay
from lit_certattr.errors import InputError
from lit_certattr.jobs.parts import select_samples, with_samples
from lit_certattr.jobs.predict import predict
from lit_certattr.jobs.reopening import Reopened, directory_of, reopened
from lit_certattr.jobs.trainer import make_trainer
from lit_certattr.modules import CertificationModule
from lit_certattr.smoothing import alpha_slack
from lit_certattr.statistics.rounding import at_most, counted, exact, total

_REPLAYED = 2


@attrs.frozen
class SampledAgain:
    """Results of sampling the images of a run again.

    Attributes:
        findings: Claims that fresh noise contradicts, and recorded samples that could not be reproduced.
        notes: Description of the tests.
        seed: Seed of the fresh noise.
        num_claims: Number of tested claims.
        replayed: Ids of the images whose recorded samples were drawn again.
        untested: Names of certificates that fresh noise cannot test.
    """

    findings: list[Finding]
    notes: list[str]
    seed: int
    num_claims: int
    replayed: list[str]
    untested: list[str]


def sample_again(
    directory: str | Path | Reopened,
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
) -> SampledAgain:
    """Sample the images of a run again and test its claims; the part of an audit that needs the network.

    Args:
        directory: A run whose audit found nothing, or the result of :func:`~lit_certattr.jobs.reopen`.
        num_samples: Fresh samples per image. Default: as in the run.
        replay: Number of images whose recorded samples are drawn again; 0 for none. Default: 2.
        seed: Seed of the fresh noise. Default: random.
        error: Family-wise rate of falsely rejecting a true claim.
        ids: Sample only these images.
        max_images: Sample only the first so many images of the run.
        trust: Import every class that the ``config.yaml`` of the run names; this runs their code, as with a script.
        imports: Packages that may be imported; their classes may be built, too.
        checkpoint: New path of the weights, if the file was moved since the run.
        accelerator: cpu, cuda, ... Default: as in the run.
        devices: Number of devices. Default: as in the run.
        threads: CPU threads per process. Default: as in the run.
        progress: Whether to show the progress on stderr.

    Returns:
        The contradicted claims, and a description of the tests.

    Raises:
        InputError: If a number is out of range, or if network or images differ from the record or cannot be loaded.
    """
    check_numbers(num_samples, replay, error)
    run = directory_of(directory)
    settings = run.provenance()["settings"]
    seed = secrets.randbits(62) if seed is None else seed
    if seed == settings["seed"]:
        raise InputError(f"--seed={seed} is the run's own: the same noise again would prove nothing; choose another")
    parts = reopened(
        directory,
        trust=trust,
        imports=imports,
        checkpoint=checkpoint,
        accelerator=accelerator,
        devices=devices,
        threads=threads,
    )
    samples = select_samples(parts.samples, ids, max_images)
    again = Replay(run, parts.certifier, samples.ids, _REPLAYED if replay is None else replay, seed, parts.class_names)
    certifier = with_samples(parts.certifier, num_samples, seed)
    certifier.stopping = ()  # a fixed number, as the exact test needs
    certifier.class_seed = settings["seed"]  # the same class; what is tested about it has other noise
    num_claims, untested = count_claims(run, samples.ids)
    if not num_claims:
        raise InputError(f"{run.path} contains no claim that fresh noise can test: nothing is certified")
    # The fresh noise itself is not drawn from exactly the law of the theorem.
    slack = len(samples) * alpha_slack(certifier.noise, certifier.num_samples, samples[0][0].numel())
    if slack >= error:
        raise InputError(f"--error={error} must be above {at_most(slack, 2)}, the error of the noise sampler")
    level = (error - slack) / num_claims
    fresh = FreshNoise(run, level, seed)
    module = CertificationModule(parts.network, certifier, parts.targets)
    predict(
        make_trainer(parts.trainer),
        module,
        samples,
        [fresh, again],
        num_workers=parts.num_workers,
        progress=progress,
    )
    notes = [
        f"{counted(num_claims, 'claim')} about {counted(len(samples), 'image')} tested with "
        f"{certifier.num_samples:,} fresh samples per image, seed {fresh.seed}.",
        f"If all claims are true, fresh noise contradicts at least one with probability at most {exact(error)} "
        f"({at_most(level, 2)} per claim).",
        f"The run itself contains a false claim with probability at most {exact(own_error(settings, len(samples)))}.",
    ]
    if again.chosen:
        how = "bit by bit" if again.exact else f"within {TOLERANCE:.0%}, since it ran on another machine or device"
        notes.append(f"Recorded samples of {counted(len(again.chosen), 'image')} drawn again and compared {how}.")
    notes += [f"Not tested: {name}. Its kind of result offers no claims to test." for name in untested]
    return SampledAgain(again.findings + fresh.findings, notes, fresh.seed, num_claims, again.chosen, untested)


def check_numbers(num_samples: int | None, replay: int | None, error: float) -> None:
    """Refuse numbers that are out of range, before anything is read.

    Args:
        num_samples: Fresh samples per image.
        replay: Images whose recorded samples are drawn again.
        error: Family-wise rate of falsely rejecting a true claim.

    Raises:
        InputError: If a number is out of range; the message names it.
    """
    if replay is not None and replay < 0:
        raise InputError(f"--replay must not be negative, got {replay}")
    if not 0 < error < 1:
        raise InputError(f"--error must lie strictly between 0 and 1, got {error}")
    if num_samples is not None and num_samples < 1:
        raise InputError(f"--num_samples must be at least 1, got {num_samples}")


def own_error(settings: Mapping[str, Any], num_images: int) -> float:
    """Upper bound for the probability that a run contains a false statement about some of its images.

    Args:
        settings: Settings of the run.
        num_images: Number of these images.
    """
    return min(total((values["alpha"] for values in settings["certificates"].values()), num_images), 1)
