"""The job ``run``: certify every image of a data set, and write a run directory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from lightning import LightningDataModule
from lightning.pytorch.loggers import Logger
from torch import nn

from lit_certattr.callbacks.process_reports import ProcessReports
from lit_certattr.callbacks.result_writer import ResultWriter
from lit_certattr.certification import Certifier
from lit_certattr.data import as_image_data
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.checks import check_compiled_run, check_precision, check_run, warn_of_selection
from lit_certattr.jobs.part import Part
from lit_certattr.jobs.parts import open_network, read_samples, with_samples
from lit_certattr.jobs.predict import images_per_batch, predict
from lit_certattr.jobs.telling import tell_noisy_accuracy
from lit_certattr.jobs.trainer import TrainerOptions, is_first_process, make_trainer, use_threads
from lit_certattr.modules import CertificationModule, Targets
from lit_certattr.records import RunDirectory
from lit_certattr.records.ids import check_ids
from lit_certattr.records.provenance import provenance, run_settings
from lit_certattr.records.resuming import check_resume
from lit_certattr.records.table import RADII, check_radii
from lit_certattr.reports.log_run import log_run

Split = Literal["images", "samples"]
"""What several processes divide among them."""


@checked
def run(
    certifier: Certifier,
    data: LightningDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    targets: Targets = "predicted",
    output: str | Path | None = None,
    overwrite: bool = False,
    num_samples: int | None = None,
    seed: int | None = None,
    ids: list[str] | None = None,
    max_images: int | None = None,
    part: str | None = None,
    class_indices: list[int] | str | None = None,
    weights_key: str | None = None,
    radii: Sequence[float] | None = None,
    max_panels: int = 16,
    split: Split = "images",
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (never changed)
    logger: Logger | None = None,
    config: str | None = None,
    progress: bool = True,
) -> RunDirectory:
    """Certify every image of a data set, and write a run directory.

    If an earlier call with the same arguments was interrupted, the run resumes. If it was finished, and there are more
    images now, these are certified, too (:mod:`lit_certattr.records.resuming`). The arguments are not changed, except
    the network, which is put in evaluation mode, frozen, and given the weights of ``checkpoint``.

    Args:
        certifier: Certifier with method, noise law and certificates.
        data: Images; the test set is certified. ``max_images`` of the data limits their number. A LightningDataModule
            from outside the package is read as :class:`~lit_certattr.data.FromLightning` says.
        network: Network from images in [0, 1] to logits. Not needed if the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. A
            checkpoint of ``train.py fit`` also rebuilds its network.
        targets: The explained class: ``predicted`` for the clean image, the ``label`` of the image, or the
            ``noisy_majority``: the class that most of ``certifier.class_samples`` noisy copies are predicted as. Their
            noise is independent of that of the certificates.
        output: Directory to write, or to resume. Default: ``runs/certify/<name of the last config file>``.
        overwrite: Delete an existing run in the directory and start again.
        num_samples: Noisy samples per image; replaces ``certifier.num_samples``.
        seed: Seed of the noise; replaces ``certifier.seed``.
        ids: Certify only these images.
        max_images: Certify only the first so many images; replaces ``max_images`` of the data.
        part: Certify only a part of the images: ``2/8`` is the second of eight, which holds the 2nd, 10th, 18th, ...
            image. :func:`~lit_certattr.jobs.merge` makes one run of all parts.
        class_indices: Index of the network's logit for each class of the data, in the order of the data's class names.
            Needed if the data have only some of the network's classes, e.g. two folders and a network of 1000 classes.
            A text is the path of a file that names the logits (JSON, CSV or text, see
            :class:`~lit_certattr.data.ClassMap`).
        weights_key: Name of the weights in the checkpoint, if it contains several sets (e.g. also an average).
        radii: Radii of the columns in ``results.parquet``, in the unit of the budget. Default: 0.05 to 0.5; for patches
            and regions 1 to 4.
        max_panels: Number of images with a panel in the report.
        split: What several processes divide: the ``images`` (a process that is free takes the next), or the
            ``samples`` of each image, for few images with many samples. The results have the same bytes.
        trainer: Device, precision and threads.
        logger: A Lightning logger, e.g. ``WandbLogger``; it receives the configuration, the means over the images,
            at most 16 panels and the table.
        config: Resolved configuration as YAML, stored in the run directory, from which
            :func:`~lit_certattr.jobs.reopen` builds the parts again; without it, the settings are stored.
        progress: Whether to show the progress and the noisy accuracy on stderr. If the noisy accuracy of an image is
            low, one warning is logged in any case.

    Returns:
        The run directory, e.g. with ``records(ids)``, ``table``, ``report`` and ``path``.

    Raises:
        InputError: If a setting, a file or an image cannot be used; nothing is written then.

    Example:
        >>> from lit_certattr import Certifier, jobs
        >>> from lit_certattr.data import Photographs
        >>> directory = jobs.run(certifier, Photographs(), network, output="runs/mine")  # doctest: +SKIP
    """
    use_threads(trainer.threads)
    radii = certifier.noise.budget.usual_radii(RADII) if radii is None else radii
    check_radii(radii)
    if max_panels < 0:
        raise InputError(f"max_panels must be at least 0, got {max_panels}")
    directory = RunDirectory("runs/certify/run" if output is None else output)
    certifier = with_samples(certifier, num_samples, seed)
    network, data = open_network(network, checkpoint, weights_key), as_image_data(data)
    if part is not None and ids is not None:
        raise InputError("give --part or --ids, not both")
    samples = read_samples(data, ids, max_images)
    share = None if part is None else Part.read(part)
    whole, samples = samples.ids, samples if share is None else share.select(samples)
    check_ids(samples.ids)
    checked = check_run(certifier, network, data, samples, targets, class_indices)
    samples = UnchangedSamples(checked.samples)
    if checkpoint is not None and is_first_process():
        warn_of_selection(checkpoint, certifier.seed, samples)

    if split not in get_args(Split):
        raise InputError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")
    module = CertificationModule(network, certifier, targets, together=split == "samples")
    loop = make_trainer(trainer, logger)
    check_precision(certifier, str(loop.precision))
    preflight = checked.record
    if certifier.compile_mode is not None:
        preflight |= check_compiled_run(certifier, network, checked.samples[0], targets, loop)
    device = loop.strategy.root_device.type
    settings = run_settings(
        certifier,
        network,
        samples,
        targets=targets,
        device=device,
        precision=str(loop.precision),
        hashed=is_first_process() or loop.world_size == 1,
    )
    about = provenance(network, certifier.seed, device, samples[0].image.shape)
    added = check_resume(directory, settings, about, samples, overwrite) if is_first_process() else None
    if config is None:
        config = _settings_as_text(settings, radii=list(radii), max_panels=max_panels)
    of_part = {} if share is None else {"part": share.record(whole)}
    writer = ResultWriter(
        directory,
        settings,
        samples.ids,
        class_names=checked.class_names,
        overwrite=overwrite,
        config=config,
        provenance=about | {"preflight": preflight, "data": data.state_dict()} | of_part,
        radii=radii,
        max_panels=max_panels,
        extension=None if added is None else added.record(),
        samples=samples,
    )
    predict(
        loop,
        module,
        samples,
        [writer, ProcessReports(writer)],
        batch_size=images_per_batch(samples[0].image, certifier.num_samples) if loop.world_size == 1 else 1,
        num_workers=data.num_workers,
        progress=progress,
    )
    if loop.is_global_zero:
        tell_noisy_accuracy(directory, len(samples), progress)
    if logger is not None and loop.is_global_zero:
        log_run(logger, directory, samples.ids, certifier, radii, config, checkpoint)
    return directory


def _settings_as_text(settings: Mapping[str, Any], **page: Any) -> str:
    """The settings of a run as YAML, with the settings of table and page that differ from their defaults."""
    usual = {"radii": list(RADII), "max_panels": 16}
    unusual = {name: value for name, value in page.items() if value != usual[name]}
    return yaml.safe_dump(json.loads(json.dumps(dict(settings) | unusual)))  # no value twice: YAML would write an alias
