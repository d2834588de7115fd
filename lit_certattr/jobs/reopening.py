"""The job ``reopen``: network, images and certifier of a finished run, compared with the record."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
import torch
from lightning import LightningDataModule
from torch import nn

from lit_certattr.attribution import frozen
from lit_certattr.certification import Certifier
from lit_certattr.data import SampleSet, as_image_data
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.part import Part
from lit_certattr.jobs.parts import open_network, read_samples
from lit_certattr.jobs.recorded_parts import Parts, build_parts, from_python
from lit_certattr.jobs.trainer import TrainerOptions, make_trainer, use_threads
from lit_certattr.jobs.trust import import_packages, nothing_from
from lit_certattr.modules import Targets
from lit_certattr.preflight import logits_of, match_classes
from lit_certattr.records.job_directory import first_difference
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.resuming import network_in_words
from lit_certattr.records.run_directory import RunDirectory, check_answers, check_structure

_FUNCTION = (
    "attribution",
    "noise",
    "memory_format",
    "fold_batch_norm",
    "compile_mode",
    "certificates",
    "sources",
    "states",
    "targets",
    "class_samples",
    "precision",
    "structure",
    "network",
    "images",
)


@attrs.frozen
class Reopened:
    """The parts of a run.

    Attributes:
        directory: The run.
        network: The network, in eval mode.
        certifier: The certifier, with the seed and the number of samples of the run.
        samples: The images.
        targets: Rule that selects the explained class.
        trainer: Device, precision and threads.
        num_workers: Processes that read images; 0 reads in the main process.
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


@checked
def reopen(
    directory: str | Path,
    certifier: Certifier | None = None,
    data: LightningDataModule | None = None,
    network: nn.Module | None = None,
    class_indices: list[int] | str | None = None,
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
    num_nodes: int | None = None,
    strategy: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    imports: Sequence[str] = (),
) -> Reopened:
    """Build the network, the images and the certifier of a run, and compare them with the record.

    The ``config.yaml`` of ``certify.py run`` describes all parts. If :func:`~lit_certattr.jobs.run` made the run
    without ``config``, you must give the objects: ``certifier``, ``data`` and ``network``, and ``class_indices`` if the
    run had them. A given object replaces the one in ``config.yaml``. All parts are compared with the record: settings,
    weights and structure of the network, its logits for fixed images, and the images.

    Only classes of this package, torch, torchvision and timm are built, unless you give ``trust`` or ``imports``;
    nothing is ever imported from the run directory.

    Args:
        directory: Directory that ``certify.py run`` or :func:`~lit_certattr.jobs.run` has written.
        certifier: The certifier of the run.
        data: The data set of the run.
        network: The network, with its weights.
        class_indices: Index of the network's logit for each class of the data, as in the run.
        checkpoint: New path of the weights, if the file was moved since the run.
        accelerator: cpu, cuda, ... Default: as in the run.
        devices: Number of devices. Default: as in the run.
        num_nodes: Number of machines. Default: one, wherever the run was made.
        strategy: Lightning's strategy. Default: as in the run.
        threads: CPU threads per process. Default: as in the run.
        trust: Import every class that ``config.yaml`` names; this runs their code, as with a script.
        imports: Packages that may be imported; their classes may be built, too.

    Returns:
        The parts of the run.

    Raises:
        InputError: If the network, the images or the settings differ from the record, cannot be loaded, or are of
            classes that are not trusted.

    Example:
        >>> from lit_certattr import jobs
        >>> reopened = jobs.reopen("runs/certify/mnist5k")  # doctest: +SKIP
        >>> reopened.certifier(reopened.network, reopened.samples[0].image[None])  # doctest: +SKIP
    """
    run = RunDirectory(directory)
    run.check_is_run()
    given = {
        "certifier": certifier,
        "data": None if data is None else as_image_data(data),
        "network": network,
        "class_indices": class_indices,
    }
    changes: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": 1 if num_nodes is None else num_nodes,
        "strategy": strategy,
        "threads": threads,
    }
    record = run.provenance()
    packages = import_packages(imports, run.path)
    with nothing_from(run.path):
        known = {name: part for name, part in given.items() if part is not None}
        parts = _parts(run, record, known, None if trust else packages)
        options = replace(parts.trainer, **{name: value for name, value in changes.items() if value is not None})
        use_threads(_threads(record) if threads is None else threads)
        return _checked(run, record, parts, options, checkpoint)


def reopened(directory: str | Path | Reopened, **how: Any) -> Reopened:
    """The parts of a run, which may already be open.

    Args:
        directory: The run directory, or the result of :func:`reopen`.
        **how: Arguments of :func:`reopen`.

    Raises:
        InputError: As for :func:`reopen`; also if the run is already open and one of the arguments is given.
    """
    if not isinstance(directory, Reopened):
        return reopen(directory, **how)
    asked = next((name for name, value in how.items() if value not in (None, False, ())), None)
    if asked is not None:
        raise InputError(f"{asked}: this run is already open; give this argument to jobs.reopen() instead")
    return directory


def directory_of(directory: str | Path | Reopened) -> RunDirectory:
    """The directory of a run, which may already be open.

    Args:
        directory: The run directory, or the result of :func:`reopen`.
    """
    return directory.directory if isinstance(directory, Reopened) else RunDirectory(directory)


def _parts(
    run: RunDirectory, record: Mapping[str, Any], given: Mapping[str, Any], packages: Sequence[str] | None
) -> Parts:
    """The given parts; all others are built from ``config.yaml``."""
    try:
        config = read_yaml(run.config)
    except OSError as error:
        raise InputError(f"{run.config} cannot be read: {error.strerror}") from None
    if isinstance(config, Mapping) and not isinstance(config.get("certifier"), Mapping) and "certifier" in given:
        return from_python(run, record["settings"], given)
    return build_parts(run.config, config, packages).replaced(given)


def _threads(record: Mapping[str, Any]) -> int | None:
    """Number of threads of a run; ``None`` if this machine cannot start so many."""
    threads = record["settings"].get("threads")
    return threads if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1) * 4 else None


def _checked(
    run: RunDirectory, record: Mapping[str, Any], parts: Parts, options: TrainerOptions, checkpoint: str | None
) -> Reopened:
    """The parts, after the comparison with the record."""
    network = open_network(parts.network, checkpoint or parts.checkpoint, parts.weights_key)
    samples = read_samples(parts.data, parts.ids, parts.max_images)
    if parts.part is not None:
        samples = Part.read(parts.part).select(samples)
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
    answers = provenance(network, parts.certifier.seed, now["device"], samples[0].image.shape)
    _check_same(record, now, answers, run)
    if not (record.get("network") or {}).get("probe"):
        raise InputError(f"{run.provenance_file} does not contain the network's logits for fixed images; certify again")
    check_answers(record, answers, "this is not the network that was certified", "the claims cannot be tested on it")
    _check_described(record["network"], answers["network"])
    return Reopened(
        run, network, parts.certifier, samples, parts.targets, options, parts.data.num_workers, classes.names
    )


def _check_described(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the properties of the network that the page shows."""
    for key in ("class", "parameters"):
        if before.get(key) != now[key]:
            raise InputError(f"provenance.json: {key} of the network was {before.get(key)}, is {now[key]}")


def _check_same(
    record: Mapping[str, Any], now: Mapping[str, Any], answers: Mapping[str, Any], run: RunDirectory
) -> None:
    """Refuse to test the claims about one function with another function."""
    settings = record["settings"]
    check_structure(settings, run.path, "the claims cannot be tested")
    for key in _FUNCTION:
        difference = first_difference(settings.get(key), now.get(key), key)
        if difference is not None:
            if key in ("network", "structure"):
                weights = settings.get("network") != now.get("network")
                difference = network_in_words(record, answers, "network" if weights else "structure")
            raise InputError(f"this is not what was certified: {difference}; the claims cannot be tested on it")
