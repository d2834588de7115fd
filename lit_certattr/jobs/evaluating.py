"""The job ``evaluate``: the table that papers on robust attributions report, for any checkpoint."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import torch
import yaml
from lightning import LightningDataModule
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import nn

from lit_certattr.callbacks.evaluation_writer import EvaluationWriter
from lit_certattr.data import as_image_data
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.checks import check_evaluation
from lit_certattr.jobs.parts import open_network, read_samples
from lit_certattr.jobs.predict import predict
from lit_certattr.jobs.trainer import TrainerOptions, is_first_process, make_trainer, use_threads
from lit_certattr.models import network_hash, structure_hash
from lit_certattr.modules.evaluation import EvaluationModule
from lit_certattr.records.evaluation_directory import EvaluationDirectory, Mean
from lit_certattr.records.ids import check_ids
from lit_certattr.records.provenance import data_hash
from lit_certattr.reports.wandb_run import use_checkpoint
from lit_certattr.robustness.protocol import RobustnessProtocol


@attrs.frozen
class Evaluation:
    """Results of :func:`evaluate`.

    Attributes:
        directory: Directory of the results: ``images``, ``summary``, ``text``, ``figure``.
        protocol: Searches and measures of agreement.
        ids: Ids of the images, in the order of the tables.
        means: Accuracies and agreements, as means over the images; in the first process only.
    """

    directory: EvaluationDirectory
    protocol: RobustnessProtocol
    ids: list[str]
    means: list[Mean]


@checked
def evaluate(
    protocol: RobustnessProtocol,
    data: LightningDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    seed: int | None = None,
    ids: list[str] | None = None,
    max_images: int | None = None,
    class_indices: list[int] | str | None = None,
    weights_key: str | None = None,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (never changed)
    logger: Logger | None = None,
    config: str | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluate the attributions of a network on a data set, and write the tables.

    If an earlier call with the same arguments was interrupted, the evaluation resumes. The arguments are not changed,
    except the network, which is put in evaluation mode, frozen, and given the weights of ``checkpoint``.

    Args:
        protocol: Searches and measures of agreement.
        data: Labelled images; the test set is used. ``max_images`` of the data limits their number.
        network: Network from images in [0, 1] to logits. Not needed if the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. A
            checkpoint of ``train.py fit`` also rebuilds its network.
        output: Directory to write, or to resume. Default: ``runs/evaluate/<name of the last config file>``.
        overwrite: Delete an existing evaluation in the directory and start again.
        seed: Seed of the random starts; replaces ``seed`` of the searches of the protocol.
        ids: Evaluate only these images.
        max_images: Evaluate only the first so many images; replaces ``max_images`` of the data.
        class_indices: Index of the network's logit for each class of the data, in the order of the data's class names.
            Needed if the data have only some of the network's classes, e.g. two folders and a network of 1000 classes.
            A text is the path of a file that names the logits (JSON, CSV or text, see
            :class:`~lit_certattr.data.ClassMap`).
        weights_key: Name of the weights in the checkpoint, if it contains several sets (e.g. also an average).
        trainer: Device, precision and threads.
        logger: A Lightning logger, e.g. ``WandbLogger``; it receives the configuration and the means.
        config: Resolved configuration as YAML, stored in the directory.
        progress: Whether to show the progress on stderr.

    Returns:
        The means over the images, and the directory.

    Raises:
        InputError: If a setting, a file or an image cannot be used; nothing is written then.

    Example:
        >>> from lit_certattr import jobs
        >>> from lit_certattr.data import MNIST5k
        >>> evaluation = jobs.evaluate(protocol, MNIST5k(), checkpoint="best.ckpt")  # doctest: +SKIP
        >>> [mean.mean for mean in evaluation.means if mean.number == "natural_accuracy"]  # doctest: +SKIP
        [0.94]
    """
    use_threads(trainer.threads)
    directory = EvaluationDirectory("runs/evaluate/run" if output is None else output)
    protocol = protocol if seed is None else protocol.with_seed(seed)
    network, data = open_network(network, checkpoint, weights_key), as_image_data(data)
    samples = read_samples(data, ids, max_images)
    samples = UnchangedSamples(check_evaluation(protocol, network, data, samples, class_indices))
    check_ids(samples.ids)
    loop = make_trainer(trainer)
    settings = protocol.settings() | {
        "batch_size": data.batch_size,
        "device": loop.strategy.root_device.type,
        "precision": str(loop.precision),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        "network": network_hash(network),
        "structure": structure_hash(network),
        "images": data_hash(samples),
    }
    if is_first_process():
        directory.check(settings, overwrite)
    writer = EvaluationWriter(directory, settings, samples.ids, protocol, overwrite=overwrite, config=config)
    predict(
        loop,
        EvaluationModule(network, protocol),
        samples,
        [writer],
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        progress=progress,
    )
    if logger is not None and loop.is_global_zero:
        _log(logger, directory, writer.means, config, settings, checkpoint)
    return Evaluation(directory, protocol, list(samples.ids), writer.means)


def _log(
    logger: Logger,
    directory: EvaluationDirectory,
    found: list[Mean],
    config: str | None,
    settings: dict[str, Any],
    checkpoint: str | None,
) -> None:
    logger.log_hyperparams(yaml.safe_load(config) if config else settings)
    logger.log_metrics({"evaluate/" + "_".join(filter(None, (mean.search, mean.number))): mean.mean for mean in found})
    if isinstance(logger, WandbLogger) and checkpoint is not None:
        use_checkpoint(logger.experiment, checkpoint)
    logger.save()
    logger.finalize("success")
    if isinstance(logger, WandbLogger):
        directory.log_wandb(logger.experiment.id)
        logger.experiment.finish()
