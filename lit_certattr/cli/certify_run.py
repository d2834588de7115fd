"""``certify.py run``: certify every image of a data set, and leave a run directory."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import attrs
import torch
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr.attribution import frozen
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.callbacks.result_writer import ResultWriter
from lit_certattr.callbacks.selection import recorded_selections
from lit_certattr.certification import Certifier
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.data import NO_LABEL, ImageDataModule, SampleSet, collate
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.models import load_network, load_weights
from lit_certattr.models.checkpoint import check_weights_key
from lit_certattr.modules import CertificationModule, Targets
from lit_certattr.preflight import CHECKS, accuracy_warning, check_network, logits_of, match_classes
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.run_directory import RunDirectory, check_ids
from lit_certattr.records.table import RADII, check_radii
from lit_certattr.reports.log_run import log_run
from lit_certattr.settings import check_count
from lit_certattr.smoothing import Noise

RUN_HELP = """Certify the attribution maps of a set of images.

Examples:
  certify.py run --config configs/certify/photographs.yaml
  certify.py run --config configs/certify/photographs.yaml --certifier.num_samples=2000 --output=runs/more
  certify.py run --config configs/certify/mnist5k.yaml --checkpoint=runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py run --config configs/certify/photographs.yaml --print_config

Later files and arguments win over earlier ones. The same command goes on with a run that was interrupted.
The output directory holds report.html, results.parquet, maps/, images/, figures/, config.yaml and
provenance.json."""


@dataclass
class TrainerOptions:
    """Where the work is done; passed on to Lightning's Trainer.

    Args:
        accelerator: cpu, cuda, mps, ..., or auto.
        devices: Number of devices (processes on a CPU), or auto.
        strategy: Lightning's strategy; auto takes ddp for several devices.
        precision: Arithmetic of the network. Another precision is another explainer: certify what is deployed.
        threads: CPU threads a process; null leaves torch's choice. Part of the settings that decide the bits.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"] = "32-true"
    threads: int | None = None


def add_run_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py run``."""
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(Certifier, "certifier", help="What is certified, and how")
    parser.add_function_arguments(run, as_group=False, skip={"certifier", "config"})


def run_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build what the configuration names, and run."""
    if config.output is None:
        files = [str(path) for path in config.config or []]
        config.output = f"runs/certify/{Path(files[-1]).stem if files else 'run'}"
    plain = {name: _plain(value) for name, value in vars(config).items() if name != "config"}
    text = yaml.safe_dump(plain, sort_keys=False)
    parts = build_parts(parser, config)
    arguments = {name: value for name, value in parts.items() if name != "config"}
    run(**arguments, config=text)


def build_parts(parser: OneLineParser, config: Namespace) -> Namespace:
    """Build the classes that the configuration names."""
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    try:
        parts: Namespace = build(config)
    except InputError:
        raise
    except ValueError as error:
        # Where a type has alternatives (a list or a mapping of certificates), jsonargparse lists what each said.
        said = [line.strip() for line in str(error).splitlines() if line.strip().startswith("- ")]
        said = [line.removeprefix("- ") for line in said if not line.startswith("- Expected a")]
        if not said:
            raise
        raise InputError("; ".join(said)) from error
    return parts


def _plain(value: Any) -> Any:
    """A parsed setting as YAML can hold it."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def run(
    certifier: Certifier,
    data: ImageDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    targets: Targets = "predicted",
    output: str | None = None,
    overwrite: bool = False,
    ids: list[str] | None = None,
    class_indices: list[int] | None = None,
    weights_key: str | None = None,
    radii: list[float] = list(RADII),  # noqa: B006  (never changed; jsonargparse shows it as the default)
    max_panels: int = 16,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (the same)
    logger: Logger | None = None,
    config: str | None = None,
) -> Path:
    """Certify every image of a data set.

    Args:
        certifier: What is certified, and how.
        data: Images; their test set is certified. ``max_images`` of the data chooses fewer.
        network: Network from images in [0, 1] to logits. Leave it out where the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. One
            of ``train.py fit`` also rebuilds its network.
        targets: Class that is explained: the one predicted for the clean image, or the label.
        output: Directory to write, or to go on with; ``runs/certify/<name of the last config file>`` if left out.
        overwrite: Delete a run with other settings that is there.
        ids: Certify these images only.
        class_indices: The network's logit of each class of the data, in the order of the data's class names. Needed
            where these are not all of the network's classes, as with two folders and a network of 1000 classes.
        weights_key: Which weights of the checkpoint, where it holds several sets (an average beside them).
        radii: Radii of the columns in ``results.parquet``, in pixel l2 units.
        max_panels: Images that get a panel in the report.
        trainer: Where the work is done.
        logger: A Lightning logger, e.g. ``WandbLogger``: receives the configuration, the means over the images,
            at most 16 panels and the table.
        config: Resolved configuration, kept in the run directory.

    Returns:
        The run directory.

    Raises:
        InputError: If a setting, a file or an image cannot be used; nothing is written then.
    """
    use_threads(trainer.threads)
    check_radii(radii)
    if max_panels < 0:
        raise InputError(f"max_panels must be at least 0, got {max_panels}")
    directory = RunDirectory("runs/certify/run" if output is None else output)
    network = open_network(network, checkpoint, weights_key)
    first_process = getattr(rank_zero_only, "rank", 0) == 0
    if first_process:
        data.prepare_data()
    data.setup("predict")
    samples = select_samples(data.predict_set, ids)
    check_ids(samples.ids)
    checked = check(certifier, network, data, samples, targets, class_indices)
    samples = UnchangedSamples(checked.samples)
    if checkpoint is not None and first_process:
        warn_of_selection(checkpoint, certifier.seed, samples)

    module = CertificationModule(network, certifier, targets)
    module.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than devices
    with warnings.catch_warnings():
        # One image is seconds to minutes of work: reading it needs no worker process.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        loop = make_trainer(trainer, logger)
        device = loop.strategy.root_device.type
        settings = run_settings(
            certifier, network, samples, targets=targets, device=device, precision=str(loop.precision)
        )
        if first_process:
            directory.check(settings, overwrite)
        writer = ResultWriter(
            directory,
            settings,
            samples.ids,
            class_names=checked.class_names,
            overwrite=overwrite,
            config=config,
            provenance=provenance(network, certifier.seed, device, samples[0].image.shape)
            | {"preflight": checked.record, "data": data.state_dict()},
            radii=radii,
            max_panels=max_panels,
        )
        loop.callbacks += [CertificationProgress(), writer]  # type: ignore[attr-defined]
        loader = DataLoader(samples, batch_size=1, num_workers=data.num_workers, collate_fn=collate)
        loop.predict(module, dataloaders=loader, return_predictions=False)
    if loop.is_global_zero:
        if logger is not None:
            log_run(logger, directory, samples.ids, config)
        sys.stdout.write(f"{directory.report}\n{directory.table}\n")
    return directory.path


def open_network(network: nn.Module | None, checkpoint: str | None, weights_key: str | None = None) -> nn.Module:
    """The network in eval mode, with the weights of the checkpoint."""
    check_weights_key(checkpoint, weights_key)
    if network is None:
        if checkpoint is None:
            raise InputError("nothing to certify: give --checkpoint of train.py, or --network")
        return load_network(checkpoint, weights_key)
    if checkpoint is not None:
        load_weights(network, checkpoint, weights_key)
    return network.eval()


def warn_of_selection(checkpoint: str, seed: int, samples: SampleSet) -> None:
    """Warn where the noise by which a checkpoint was chosen would be drawn again to certify it.

    Args:
        checkpoint: File of the weights.
        seed: Seed of the noise to come.
        samples: Images to certify.
    """
    for selection in recorded_selections(checkpoint):
        if selection.seed == seed and (seen := set(selection.ids) & set(samples.ids)):
            warnings.warn(
                f"checkpoint {checkpoint} may have been chosen by {', '.join(selection.monitors)}, certified with seed "
                f"{seed} on {len(seen)} of these images: the certificates would repeat the noise of the selection, and "
                f"those of the best of {selection.looks} networks hold at {selection.looks} times alpha only. Give "
                f"another seed, e.g. --certifier.seed={seed + 1}, and other images where you have them",
                UserWarning,
                stacklevel=2,
            )


def select_samples(samples: SampleSet, ids: list[str] | None) -> SampleSet:
    """The images of ``ids``, or all."""
    if ids is not None:
        unknown = next((image_id for image_id in ids if image_id not in samples.ids), None)
        if unknown is not None:
            raise InputError(f"ids: the data has no image {unknown!r}; the first are {', '.join(samples.ids[:3])}")
        samples = samples.subset([index for index, image_id in enumerate(samples.ids) if image_id in set(ids)])
    if not len(samples):
        raise InputError("the data has no images to certify")
    return samples


class Checked(NamedTuple):
    """What is certified, after it was found that it can be.

    Attributes:
        samples: The images; their targets are numbers of logits.
        class_names: Name of each logit; empty if unknown.
        record: What the preflight has found, for the provenance.
    """

    samples: SampleSet
    class_names: list[str]
    record: dict[str, Any]


def check(
    certifier: Certifier,
    network: nn.Module,
    data: ImageDataModule,
    samples: SampleSet,
    targets: Targets,
    class_indices: list[int] | None,
) -> Checked:
    """Find what would stop a run later, or make it say something wrong, before anything is written.

    Args:
        certifier: What is certified, and how.
        network: The network, in eval mode.
        data: Data whose ``setup`` has run.
        samples: Its images that are certified.
        targets: Class that is explained.
        class_indices: See :func:`~lit_certattr.preflight.match_classes`.

    Raises:
        InputError: Naming what is wrong, and the remedy.
    """
    image, _, image_id = samples[0]
    name = f"image {image_id}"
    size = getattr(network, "input_size", None)
    if size is not None and tuple(image.shape) != tuple(size):
        raise InputError(f"{name} has shape {tuple(image.shape)}, but {type(network).__name__} needs {tuple(size)}")
    with frozen(check_network(network)), torch.no_grad():
        logits = logits_of(network, image[None], name)
        classes = match_classes(data, samples, logits.shape[1], type(network).__name__, class_indices)
        samples = classes.samples
        if targets == "label" and NO_LABEL in samples.targets:
            unlabelled = samples.ids[samples.targets.index(NO_LABEL)]
            raise InputError(f"image {unlabelled} has no label; use --targets=predicted, or --ids with labelled images")
        target = samples.targets[0] if targets == "label" else int(logits.argmax(1))
        certified = certifier.network(network, image[None])
        findings = certifier.preflight(certified, image[None], target, str(image_id), name)
        warning = accuracy_warning(network, samples)
    certifier.check_sample_size(findings.map_shape)
    if type(certifier.noise).check is not Noise.check:
        for image, _, image_id in (samples[index] for index in range(len(samples))):
            certifier.noise.check(image, str(image_id))
    if warning is not None:
        warnings.warn(warning, stacklevel=2)
    record = {"checks": list(CHECKS), **attrs.asdict(findings), "warnings": [warning] if warning else []}
    return Checked(samples, classes.names, record)


def use_threads(threads: int | None) -> None:
    """Let torch use this number of CPU threads; ``None`` leaves its choice.

    Raises:
        InputError: If it is below 1, or more than a machine can start.
    """
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"trainer.threads must be at least 1 or null, got {threads}")
    check_count("trainer.threads", threads)
    torch.set_num_threads(threads)


def make_trainer(options: TrainerOptions, logger: Logger | None) -> Trainer:
    """The Trainer of the predict loop.

    Raises:
        InputError: If it refuses its settings, or more devices are asked for than a machine can have.
    """
    if str(options.devices).isdecimal():
        check_count("trainer.devices", int(options.devices))
    try:
        return Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            strategy=options.strategy,
            precision=options.precision,
            logger=logger if logger is not None else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,  # attributions need gradients
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise InputError(f"trainer: {error}") from None
