"""Builds the parts of a run again from its ``config.yaml``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
from jsonargparse import ArgumentError, ArgumentParser
from lightning import LightningDataModule
from torch import nn

from lit_certattr.certification import Certifier
from lit_certattr.data import ImageDataModule, as_image_data
from lit_certattr.errors import InputError
from lit_certattr.jobs.trainer import TrainerOptions
from lit_certattr.jobs.trust import build, call
from lit_certattr.modules import Targets
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.settings.moved import current_paths


@attrs.frozen
class Parts:
    """The parts of a run, before they are compared with the record.

    Attributes:
        certifier: The certifier.
        network: The network; ``None`` if the checkpoint names it.
        data: The data set.
        trainer: Device, precision and threads.
        checkpoint: File of the weights; ``None`` if the network already has them.
        targets: Rule that selects the explained class.
        ids: Ids of the selected images; ``None`` for all.
        max_images: Largest number of images, where the data set has no such setting of its own.
        part: The part of these images that was certified, e.g. ``2/8``; ``None`` for all.
        class_indices: Index of the network's logit for each class of the data.
        weights_key: Name of the weights in the checkpoint.
    """

    certifier: Certifier
    network: nn.Module | None
    data: ImageDataModule
    trainer: TrainerOptions
    checkpoint: str | None = None
    targets: Targets = "predicted"
    ids: list[str] | None = None
    max_images: int | None = None
    part: str | None = None
    class_indices: list[int] | str | None = None
    weights_key: str | None = None

    def replaced(self, given: Mapping[str, Any]) -> Self:
        """These parts, some of them replaced; a given network already has its weights.

        Args:
            given: New parts by name.
        """
        weights: dict[str, Any] = {"checkpoint": None, "weights_key": None} if "network" in given else {}
        return attrs.evolve(self, **weights, **given)


def build_parts(path: Path, config: Any, packages: Sequence[str] | None) -> Parts:
    """Build the parts that a configuration names.

    Args:
        path: Path of the file, for messages.
        config: Content of the file, as plain values.
        packages: Packages whose classes may be built, from plain values alone; ``None`` imports every named class.

    Raises:
        InputError: If the configuration lacks a part, or a part cannot be built.
    """
    parts = {key: config.get(key) if isinstance(config, Mapping) else None for key in ("certifier", "data", "trainer")}
    for key, value in parts.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{path}: holds no {key}: only the config.yaml of lit-certattr certify run describes all parts of a "
                "run; open a run that was made from Python with jobs.reopen(directory, certifier, data, network)"
            )
    parts["network"] = config.get("network")
    certifier, data, options, network = (
        _import_all(path, parts) if packages is None else _build_known(path, parts, packages)
    )
    return Parts(
        certifier,
        network,
        data,
        options,
        config.get("checkpoint"),
        config.get("targets", "predicted"),
        config.get("ids"),
        config.get("max_images"),
        config.get("part"),
        config.get("class_indices"),
        config.get("weights_key"),
    )


def from_python(run: RunDirectory, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Parts:
    """The parts of a run that was made from Python, whose ``config.yaml`` names none.

    Args:
        run: The run.
        settings: Settings of the run.
        given: The parts by name.

    Raises:
        InputError: If a part is missing.
    """
    for name in ("data", "network"):
        if name not in given:
            raise InputError(f"{run.path} was made from Python: give {name} as well, not only the certifier")
    options = TrainerOptions(str(settings.get("device", "auto")), precision=settings.get("precision", "32-true"))
    ids = sorted(run.finished())
    return Parts(
        trainer=options, targets=settings.get("targets", "predicted"), ids=ids, **{"class_indices": None, **given}
    )


def _build_known(
    path: Path, parts: Mapping[str, Any], packages: Sequence[str]
) -> tuple[Certifier, ImageDataModule, TrainerOptions, Any]:
    """Build the parts from classes of known packages and plain values."""
    data, network = (build(parts[name], name, packages) for name in ("data", "network"))
    if not isinstance(data, LightningDataModule) or not isinstance(network, nn.Module | None):
        raise InputError(f"{path}: data must be a data set, and network a network")
    certifier = call(Certifier, build(parts["certifier"], "certifier", packages), "certifier")
    return certifier, as_image_data(data), call(TrainerOptions, dict(parts["trainer"]), "trainer"), network


def _import_all(path: Path, parts: Mapping[str, Any]) -> tuple[Certifier, ImageDataModule, TrainerOptions, Any]:
    """Build the parts with the parser of the command line, which imports every named class."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Certifier, "certifier")
    parser.add_subclass_arguments(LightningDataModule, "data")
    parser.add_argument("--network", type=nn.Module | None)
    parser.add_class_arguments(TrainerOptions, "trainer")
    try:
        made = _instantiate(parser, parser.parse_object(current_paths(dict(parts))))
    except InputError:
        raise
    except (ArgumentError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:400]}") from error
    return made.certifier, as_image_data(made.data), made.trainer, made.network


def _instantiate(parser: ArgumentParser, config: Any) -> Any:
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return build(config)
