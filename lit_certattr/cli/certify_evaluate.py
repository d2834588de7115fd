"""``certify.py evaluate``: the usual table of the literature on robust attributions, for any checkpoint."""

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr.attribution import frozen
from lit_certattr.callbacks.evaluation_writer import EvaluationWriter
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.cli.certify_run import (
    TrainerOptions,
    _plain,
    build_parts,
    make_trainer,
    open_network,
    select_samples,
    use_threads,
)
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.data import NO_LABEL, ImageDataModule, SampleSet, collate
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole
from lit_certattr.models import network_hash, structure_hash
from lit_certattr.modules.evaluation import EvaluationModule
from lit_certattr.preflight import accuracy_warning, check_network, logits_of, match_classes
from lit_certattr.records.evaluation_directory import EvaluationDirectory, Mean, table_rows
from lit_certattr.records.provenance import data_hash
from lit_certattr.records.run_directory import check_ids
from lit_certattr.reports.agreement_figure import agreement_figure
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names
from lit_certattr.statistics.rounding import exact

EVALUATE_HELP = """Evaluate the robustness of plain attributions, as the literature does.

Examples:
  certify.py evaluate --config configs/protocol/mnist5k.yaml --checkpoint=runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py evaluate --config configs/protocol/mnist.yaml --checkpoint=best.ckpt --data.init_args.max_images=500
  certify.py evaluate --config configs/protocol/imagenet.yaml --protocol.search.eps=0.0157

Natural accuracy, adversarial accuracy, and for every correctly classified image the agreement of its map with that of
the worst perturbation found that keeps the label: top-k intersection, Kendall, Spearman, LENS; random search of equally
many points and chance levels beside them. Nothing here is certified: an attack shows an upper bound of robustness
(certify.py run proves lower ones).

The output directory holds summary.md, summary.csv, images.parquet, agreement.png and config.yaml. The same command goes
on with an evaluation that was interrupted."""


def add_evaluate_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py evaluate``."""
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(RobustnessProtocol, "protocol", help="What is searched and compared")
    parser.add_function_arguments(evaluate, as_group=False, skip={"protocol", "config"})


def evaluate_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build what the configuration names, and evaluate."""
    if config.output is None:
        files = [str(path) for path in config.config or []]
        config.output = f"runs/evaluate/{Path(files[-1]).stem if files else 'run'}"
    plain = {name: _plain(value) for name, value in vars(config).items() if name != "config"}
    parts = build_parts(parser, config)
    arguments = {name: value for name, value in parts.items() if name != "config"}
    evaluate(**arguments, config=yaml.safe_dump(plain, sort_keys=False))


def evaluate(
    protocol: RobustnessProtocol,
    data: ImageDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    ids: list[str] | None = None,
    class_indices: list[int] | None = None,
    weights_key: str | None = None,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (never changed; jsonargparse shows it as the default)
    logger: Logger | None = None,
    config: str | None = None,
) -> Path:
    """Evaluate a network on a data set.

    Args:
        protocol: What is searched and compared.
        data: Labelled images; their test set is used. ``max_images`` of the data chooses fewer.
        network: Network from images in [0, 1] to logits. Leave it out where the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. One
            of ``train.py fit`` also rebuilds its network.
        output: Directory to write, or to go on with; ``runs/evaluate/<name of the last config file>`` if left out.
        overwrite: Delete an evaluation with other settings that is there.
        ids: Evaluate these images only.
        class_indices: The network's logit of each class of the data, in the order of the data's class names. Needed
            where these are not all of the network's classes, as with two folders and a network of 1000 classes.
        weights_key: Which weights of the checkpoint, where it holds several sets (an average beside them).
        trainer: Where the work is done.
        logger: A Lightning logger, e.g. ``WandbLogger``: receives the configuration and the means.
        config: Resolved configuration, kept in the directory.

    Returns:
        The directory.

    Raises:
        InputError: If a setting, a file or an image cannot be used; nothing is written then.
    """
    use_threads(trainer.threads)
    directory = EvaluationDirectory("runs/evaluate/run" if output is None else output)
    network = open_network(network, checkpoint, weights_key)
    first_process = getattr(rank_zero_only, "rank", 0) == 0
    if first_process:
        data.prepare_data()
    data.setup("predict")
    samples = _check(protocol, network, data, select_samples(data.predict_set, ids), class_indices)
    samples = UnchangedSamples(samples)
    check_ids(samples.ids)
    module = EvaluationModule(network, protocol)
    module.allow_zero_length_dataloader_with_multiple_devices = True
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        loop = make_trainer(trainer, None)
        settings = protocol.settings() | {
            "batch_size": data.batch_size,
            "device": loop.strategy.root_device.type,
            "precision": str(loop.precision),
            "processes": loop.world_size,
            "threads": torch.get_num_threads(),
            "torch": version("torch"),
            "network": network_hash(network),
            "structure": structure_hash(network),
            "images": data_hash(samples),
        }
        if first_process:
            directory.check(settings, overwrite)
        writer = EvaluationWriter(directory, settings, overwrite=overwrite, config=config)
        loop.callbacks += [CertificationProgress(), writer]  # type: ignore[attr-defined]
        loader = DataLoader(samples, batch_size=data.batch_size, num_workers=data.num_workers, collate_fn=collate)
        loop.predict(module, dataloaders=loader, return_predictions=False)
    if loop.is_global_zero:
        found = _finish(directory, protocol, samples)
        if logger is not None:
            _log(logger, found, config, settings)
    return directory.path


def _check(
    protocol: RobustnessProtocol,
    network: nn.Module,
    data: ImageDataModule,
    samples: SampleSet,
    class_indices: list[int] | None,
) -> SampleSet:
    """Find what would stop the evaluation later, before anything is written; the images with logits as targets."""
    if NO_LABEL in samples.targets:
        raise InputError(f"image {samples.ids[samples.targets.index(NO_LABEL)]} has no label; accuracy needs one")
    image, _, image_id = samples[0]
    with frozen(check_network(network)), torch.no_grad():
        logits = logits_of(network, image[None], f"image {image_id}")
        samples = match_classes(data, samples, logits.shape[1], type(network).__name__, class_indices).samples
        warning = accuracy_warning(network, samples)
    if warning is not None:
        warnings.warn(warning, stacklevel=2)
    protocol.check(network, image)
    return samples


def _finish(directory: EvaluationDirectory, protocol: RobustnessProtocol, samples: SampleSet) -> list[Mean]:
    """Write the tables and the picture, and print the table."""
    searches, words = list(protocol.searches), column_names(protocol)
    suffixes = ("", "_chance", "_adjusted")
    numbers = [f"{name}{suffix}" for name in words for suffix in suffixes]
    numbers += [f"diverse_picks_{side}_w{window}" for window in protocol.windows for side in ("clean", "perturbed")]
    found = directory.finish(samples.ids, searches, words, numbers)
    if any(mean.search for mean in found):
        title = (
            f"{len(samples)} images, {protocol.search.norm} budget {exact(protocol.search.eps)}, "
            f"k = {exact(protocol.top_k)}"
        )
        write_whole(directory.figure, agreement_figure(found, searches, words, title))
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    table = Table("", *searches, "chance", title=f"{len(samples)} images: mean ± standard error")
    for what, cells, chance in table_rows(found, searches, words):
        table.add_row(what, *cells, chance)
    console.print(table)
    console.print(f"{directory.text}\n{directory.images}", markup=False)
    return found


def _log(logger: Logger, found: list[Mean], config: str | None, settings: dict[str, Any]) -> None:
    logger.log_hyperparams(yaml.safe_load(config) if config else settings)
    logger.log_metrics({"/".join(filter(None, ("evaluate", mean.search, mean.number))): mean.mean for mean in found})
    logger.save()
    logger.finalize("success")
