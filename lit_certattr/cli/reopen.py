"""A finished run again: its network, its images and its certifier, checked against the record."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from lit_certattr.attribution import frozen
from lit_certattr.certifier import Certifier
from lit_certattr.cli.certify_run import add_run_arguments, build_parts, make_trainer, open_network, select_samples
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError
from lit_certattr.modules import Targets
from lit_certattr.preflight import logits_of, match_classes
from lit_certattr.reports.output_directory import first_difference
from lit_certattr.reports.provenance import provenance, run_settings
from lit_certattr.reports.run_directory import RunDirectory, check_answers, check_structure

_FUNCTION = (
    "attribution",
    "noise",
    "memory_format",
    "fold_batch_norm",
    "certificates",
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


def reopen(
    directory: RunDirectory,
    *,
    checkpoint: str | None = None,
    accelerator: str | None = None,
    devices: int | str | None = None,
) -> Reopened:
    """Build what the ``config.yaml`` of a run names, and refuse what is not what was certified.

    Classes that the file names are imported: trust the directory as you would trust a script.

    Args:
        directory: The run.
        checkpoint: Where the weights are, if not where they were.
        accelerator: In place of the run's.
        devices: In place of the run's.

    Raises:
        InputError: If the network, the images or the settings are not those of the record, or cannot be loaded.
    """
    parser = OneLineParser()
    add_run_arguments(parser)
    run = parser.parse_args([f"--config={directory.config}"])
    run.logger = None
    for name, value in (("accelerator", accelerator), ("devices", devices)):
        if value is not None:
            run.trainer[name] = value
    parts = build_parts(parser, run)
    if parts.trainer.threads is not None:
        torch.set_num_threads(parts.trainer.threads)
    network = open_network(parts.network, checkpoint or run.checkpoint, run.weights_key)
    if getattr(rank_zero_only, "rank", 0) == 0:
        parts.data.prepare_data()
    parts.data.setup("predict")
    samples = select_samples(parts.data.predict_set, run.ids)
    with frozen(network), torch.no_grad():
        num_logits = logits_of(network, samples[0].image[None], f"image {samples.ids[0]}").shape[1]
    classes = match_classes(parts.data, samples, num_logits, type(network).__name__, run.class_indices)
    samples = classes.samples
    trainer = make_trainer(parts.trainer, None)
    now = run_settings(
        parts.certifier,
        network,
        samples,
        targets=run.targets,
        device=trainer.strategy.root_device.type,
        precision=str(trainer.precision),
    )
    record = directory.provenance()
    _check_same(record["settings"], now, directory)
    answers = provenance(network, parts.certifier.seed, now["device"], samples[0].image.shape)
    if not (record.get("network") or {}).get("probe"):
        raise InputError(f"{directory.provenance_file} does not hold the network's logits for fixed images")
    check_answers(record, answers, "this is not the network that was certified", "the claims cannot be tested on it")
    _check_described(record["network"], answers["network"])
    return Reopened(network, parts.certifier, samples, run.targets, trainer, parts.data.num_workers, classes.names)


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
