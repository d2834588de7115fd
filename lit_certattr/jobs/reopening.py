"""The job ``reopen``: a finished run again; its network, its images and its certifier, checked against the record."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from lit_certattr.attribution import frozen
from lit_certattr.certification import Certifier
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.jobs.parts import open_network, read_samples
from lit_certattr.jobs.recorded_parts import Parts, build_parts, from_python
from lit_certattr.jobs.trainer import TrainerOptions, make_trainer, use_threads
from lit_certattr.jobs.trust import import_packages, nothing_from
from lit_certattr.modules import Targets
from lit_certattr.preflight import logits_of, match_classes
from lit_certattr.records.job_directory import first_difference
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.run_directory import RunDirectory, check_answers, check_structure

_FUNCTION = (
    "attribution",
    "noise",
    "memory_format",
    "fold_batch_norm",
    "certificates",
    "sources",
    "states",
    "targets",
    "precision",
    "structure",
    "network",
    "images",
)


@attrs.frozen
class Reopened:
    """What certified the images of a run.

    Attributes:
        directory: The run.
        network: In eval mode.
        certifier: With the run's seed and number of samples.
        samples: The images.
        targets: Rule of the explained class.
        trainer: Where the work is done.
        num_workers: Processes that read images.
        class_names: Names of the classes; empty if unknown.
    """

    directory: RunDirectory
    network: nn.Module
    certifier: Certifier
    samples: SampleSet
    targets: Targets
    trainer: TrainerOptions
    num_workers: int
    class_names: list[str]


def reopen(
    directory: str | Path,
    certifier: Certifier | None = None,
    data: ImageDataModule | None = None,
    network: nn.Module | None = None,
    class_indices: list[int] | None = None,
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
    threads: int | None = None,
    trust: bool = False,
    imports: Sequence[str] = (),
) -> Reopened:
    """Build what certified the images of a run, and refuse what is not what was certified.

    A run of ``certify.py run`` says in its ``config.yaml`` what certified its images. For a run of
    :func:`~lit_certattr.jobs.run` that was given no ``config`` the objects themselves must be given: ``certifier``,
    ``data`` and ``network``, and ``class_indices`` if the run had them. What is given takes the place of what
    ``config.yaml`` names, and everything is compared with the record: settings, weights and structure of the network,
    its logits for fixed images, and the images.

    Only classes of this package, torch, torchvision and timm are built, unless ``trust`` or ``imports`` are given;
    nothing is ever imported from the directory itself.

    Args:
        directory: Directory that ``certify.py run`` or :func:`~lit_certattr.jobs.run` has left.
        certifier: What certified, and how.
        data: The images.
        network: The network, with its weights.
        class_indices: The network's logit of each class of the data, as the run had them.
        checkpoint: Where the weights are, if not where they were.
        accelerator: cpu, cuda, ...; the run's if left out.
        devices: Number of devices; the run's if left out.
        threads: CPU threads per process; the run's if left out.
        trust: Import whatever ``config.yaml`` names, as you would run a script.
        imports: Packages that may be imported; their classes are built, too.

    Returns:
        The parts of the run.

    Raises:
        InputError: If the network, the images or the settings are not those of the record, cannot be loaded, or are of
            classes that are not trusted.

    Example:
        >>> from lit_certattr import jobs
        >>> reopened = jobs.reopen("runs/certify/mnist5k")  # doctest: +SKIP
        >>> reopened.certifier(reopened.network, reopened.samples[0].image[None])  # doctest: +SKIP
    """
    run = RunDirectory(directory)
    given = {
        "certifier": certifier,
        "data": data,
        "network": network,
        "class_indices": class_indices,
    }
    changes: dict[str, Any] = {"accelerator": accelerator, "devices": devices, "threads": threads}
    record = run.provenance()
    packages = import_packages(imports, run.path)
    with nothing_from(run.path):
        known = {name: part for name, part in given.items() if part is not None}
        parts = _parts(run, record, known, None if trust else packages)
        options = replace(parts.trainer, **{name: value for name, value in changes.items() if value is not None})
        use_threads(_threads(record) if threads is None else threads)
        return _checked(run, record, parts, options, checkpoint)


def reopened(directory: str | Path | Reopened, **how: Any) -> Reopened:
    """The parts of a run, which may be open already.

    Args:
        directory: The run.
        **how: Arguments of :func:`reopen`.

    Raises:
        InputError: See :func:`reopen`; also if the run is open already and one of the arguments is given.
    """
    if not isinstance(directory, Reopened):
        return reopen(directory, **how)
    asked = next((name for name, value in how.items() if value not in (None, False, ())), None)
    if asked is not None:
        raise InputError(f"{asked}: give it to jobs.reopen(), which has opened this run already")
    return directory


def directory_of(directory: str | Path | Reopened) -> RunDirectory:
    """The directory of a run, which may be open already.

    Args:
        directory: The run.
    """
    return directory.directory if isinstance(directory, Reopened) else RunDirectory(directory)


def _parts(
    run: RunDirectory, record: Mapping[str, Any], given: Mapping[str, Any], packages: Sequence[str] | None
) -> Parts:
    """The parts that are given, and the others as ``config.yaml`` names them."""
    try:
        config = read_yaml(run.config)
    except OSError as error:
        raise InputError(f"{run.config} cannot be read: {error.strerror}") from None
    if isinstance(config, Mapping) and not isinstance(config.get("certifier"), Mapping) and "certifier" in given:
        return from_python(run, record["settings"], given)
    return build_parts(run.config, config, packages).replaced(given)


def _threads(record: Mapping[str, Any]) -> int | None:
    """The threads of a run, if this machine can start as many."""
    threads = record["settings"].get("threads")
    return threads if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1) * 4 else None


def _checked(
    run: RunDirectory, record: Mapping[str, Any], parts: Parts, options: TrainerOptions, checkpoint: str | None
) -> Reopened:
    """The parts, if they are what was certified."""
    network = open_network(parts.network, checkpoint or parts.checkpoint, parts.weights_key)
    samples = read_samples(parts.data, parts.ids)
    with frozen(network), torch.no_grad():
        num_logits = logits_of(network, samples[0].image[None], f"image {samples.ids[0]}").shape[1]
    classes = match_classes(parts.data, samples, num_logits, type(network).__name__, parts.class_indices)
    samples = UnchangedSamples(classes.samples)
    trainer = make_trainer(options)
    now = run_settings(
        parts.certifier,
        network,
        samples,
        targets=parts.targets,
        device=trainer.strategy.root_device.type,
        precision=str(trainer.precision),
    )
    _check_same(record["settings"], now, run)
    answers = provenance(network, parts.certifier.seed, now["device"], samples[0].image.shape)
    if not (record.get("network") or {}).get("probe"):
        raise InputError(f"{run.provenance_file} does not hold the network's logits for fixed images")
    check_answers(record, answers, "this is not the network that was certified", "the claims cannot be tested on it")
    _check_described(record["network"], answers["network"])
    return Reopened(
        run, network, parts.certifier, samples, parts.targets, options, parts.data.num_workers, classes.names
    )


def _check_described(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """What the page prints of the network."""
    for key in ("class", "parameters"):
        if before.get(key) != now[key]:
            raise InputError(f"provenance.json: {key} of the network was {before.get(key)}, is {now[key]}")


def _check_same(settings: Mapping[str, Any], now: Mapping[str, Any], run: RunDirectory) -> None:
    """Refuse to test the claims about one function on another."""
    check_structure(settings, run.path, "the claims cannot be tested")
    for key in _FUNCTION:
        difference = first_difference(settings.get(key), now.get(key), key)
        if difference is not None:
            raise InputError(f"this is not what was certified: {difference}; the claims cannot be tested on it")
