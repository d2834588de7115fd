"""A finished run again: its network, its images and its certifier, checked against the record."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from lit_certattr.attribution import frozen
from lit_certattr.certification import Certifier
from lit_certattr.cli.certify_run import (
    TrainerOptions,
    add_run_arguments,
    build_parts,
    make_trainer,
    open_network,
    select_samples,
)
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.modules import Targets
from lit_certattr.preflight import logits_of, match_classes
from lit_certattr.records.output_directory import first_difference
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.run_directory import RunDirectory, check_answers, check_structure
from lit_certattr.records.trust import build, call, nothing_from

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


class Reopened(NamedTuple):
    """What certified the images of a run.

    Attributes:
        network: In eval mode.
        certifier: With the run's seed and number of samples.
        samples: The images.
        targets: Rule of the explained class.
        trainer: On the devices asked for.
        num_workers: Processes that read images.
        class_names: Names of the classes; empty if unknown.
    """

    network: nn.Module
    certifier: Certifier
    samples: SampleSet
    targets: Targets
    trainer: Trainer
    num_workers: int
    class_names: list[str]


class _Parts(NamedTuple):
    """What a configuration builds."""

    certifier: Certifier
    network: nn.Module | None
    data: ImageDataModule
    trainer: TrainerOptions
    checkpoint: str | None
    targets: Targets
    ids: list[str] | None
    class_indices: list[int] | None
    weights_key: str | None


def reopen(
    directory: RunDirectory,
    *,
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
    trust: bool = False,
) -> Reopened:
    """Build what the ``config.yaml`` of a run names, and refuse what is not what was certified.

    Only classes of this package, torch, torchvision and timm are built, unless ``trust`` is given; nothing is ever
    imported from the directory itself.

    Args:
        directory: The run.
        checkpoint: Where the weights are, if not where they were.
        accelerator: In place of the run's.
        devices: In place of the run's.
        trust: Import whatever ``config.yaml`` names, as one would run a script.

    Raises:
        InputError: If the network, the images or the settings are not those of the record, cannot be loaded, or are of
            classes that are not trusted.
    """
    changes = {name: value for name, value in (("accelerator", accelerator), ("devices", devices)) if value is not None}
    record = directory.provenance()
    with nothing_from(directory.path):
        parts = (_parse if trust else _build)(directory.config, changes)
        threads = record["settings"].get("threads")
        if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1) * 4:
            torch.set_num_threads(threads)
        return _checked(directory, record, parts, checkpoint or parts.checkpoint)


def _parse(path: Path, changes: Mapping[str, Any]) -> _Parts:
    """With the parser of the command line, which imports what it is told to."""
    parser = OneLineParser()
    add_run_arguments(parser)
    run = parser.parse_args([f"--config={path}"])
    run.logger = None
    for name, value in changes.items():
        run.trainer[name] = value
    made = build_parts(parser, run)
    return _Parts(
        made.certifier,
        made.network,
        made.data,
        made.trainer,
        run.checkpoint,
        run.targets,
        run.ids,
        run.class_indices,
        run.weights_key,
    )


def _build(path: Path, changes: Mapping[str, Any]) -> _Parts:
    """With known classes and plain values alone."""
    try:
        config = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    parts = {key: config.get(key) if isinstance(config, Mapping) else None for key in ("certifier", "data", "trainer")}
    for key, value in parts.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{path}: holds no {key}: only a run of certify.py run, whose config.yaml says how it was made, can be "
                "sampled again"
            )
    data, network = build(parts["data"], "data"), build(config.get("network"), "network")
    if not isinstance(data, ImageDataModule) or not isinstance(network, nn.Module | None):
        raise InputError(f"{path}: data must be a data set, and network a network")
    options = {**dict(parts["trainer"] or {}), **changes}
    return _Parts(
        call(Certifier, build(parts["certifier"], "certifier"), "certifier"),
        network,
        data,
        call(TrainerOptions, options, "trainer"),
        config.get("checkpoint"),
        config.get("targets", "predicted"),
        config.get("ids"),
        config.get("class_indices"),
        config.get("weights_key"),
    )


def _checked(directory: RunDirectory, record: Mapping[str, Any], parts: _Parts, checkpoint: str | None) -> Reopened:
    """The parts, if they are what was certified."""
    network = open_network(parts.network, checkpoint, parts.weights_key)
    if getattr(rank_zero_only, "rank", 0) == 0:
        parts.data.prepare_data()
    parts.data.setup("predict")
    samples = select_samples(parts.data.predict_set, parts.ids)
    with frozen(network), torch.no_grad():
        num_logits = logits_of(network, samples[0].image[None], f"image {samples.ids[0]}").shape[1]
    classes = match_classes(parts.data, samples, num_logits, type(network).__name__, parts.class_indices)
    samples = UnchangedSamples(classes.samples)
    trainer = make_trainer(parts.trainer, None)
    now = run_settings(
        parts.certifier,
        network,
        samples,
        targets=parts.targets,
        device=trainer.strategy.root_device.type,
        precision=str(trainer.precision),
    )
    _check_same(record["settings"], now, directory)
    answers = provenance(network, parts.certifier.seed, now["device"], samples[0].image.shape)
    if not (record.get("network") or {}).get("probe"):
        raise InputError(f"{directory.provenance_file} does not hold the network's logits for fixed images")
    check_answers(record, answers, "this is not the network that was certified", "the claims cannot be tested on it")
    _check_described(record["network"], answers["network"])
    return Reopened(network, parts.certifier, samples, parts.targets, trainer, parts.data.num_workers, classes.names)


def _check_described(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """What the page prints of the network."""
    for key in ("class", "parameters"):
        if before.get(key) != now[key]:
            raise InputError(f"provenance.json: {key} of the network was {before.get(key)}, is {now[key]}")


def _check_same(settings: Mapping[str, Any], now: Mapping[str, Any], directory: RunDirectory) -> None:
    """Refuse to test the claims about one function on another."""
    check_structure(settings, directory.path, "the claims cannot be tested")
    for key in _FUNCTION:
        difference = first_difference(settings.get(key), now.get(key), key)
        if difference is not None:
            raise InputError(f"this is not what was certified: {difference}; the claims cannot be tested on it")
