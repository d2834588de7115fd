"""The parts of a run, built again from its ``config.yaml``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
from jsonargparse import ArgumentError, ArgumentParser
from torch import nn

from lit_certattr.certification import Certifier
from lit_certattr.data import ImageDataModule
from lit_certattr.errors import InputError
from lit_certattr.jobs.trainer import TrainerOptions
from lit_certattr.jobs.trust import build, call
from lit_certattr.modules import Targets
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.settings.moved import current_paths


@attrs.frozen
class Parts:
    """What certified the images of a run, before it is compared with the record.

    Attributes:
        certifier: What is certified, and how.
        network: The network; ``None`` where the checkpoint names it.
        data: The images.
        trainer: Where the work was done.
        checkpoint: File of the weights; ``None`` where the network has them.
        targets: Rule of the explained class.
        ids: The images that were chosen; ``None`` for all.
        class_indices: The network's logit of each class of the data.
        weights_key: Which weights of the checkpoint.
    """

    certifier: Certifier
    network: nn.Module | None
    data: ImageDataModule
    trainer: TrainerOptions
    checkpoint: str | None = None
    targets: Targets = "predicted"
    ids: list[str] | None = None
    class_indices: list[int] | None = None
    weights_key: str | None = None

    def replaced(self, given: Mapping[str, Any]) -> Self:
        """These parts, some of them replaced; a network that is given has its weights.

        Args:
            given: Parts by name.
        """
        weights: dict[str, Any] = {"checkpoint": None, "weights_key": None} if "network" in given else {}
        return attrs.evolve(self, **weights, **given)


def build_parts(path: Path, config: Any, packages: Sequence[str] | None) -> Parts:
    """The parts that a configuration names.

    Args:
        path: The file, for complaints.
        config: Its content, as plain values.
        packages: Their classes are built, from plain values alone; ``None`` imports whatever is named.

    Raises:
        InputError: If it names none, or what cannot be built.
    """
    parts = {key: config.get(key) if isinstance(config, Mapping) else None for key in ("certifier", "data", "trainer")}
    for key, value in parts.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{path}: holds no {key}: only a run of certify.py run, whose config.yaml says how it was made, can be "
                "sampled again; reopen a run from Python with jobs.reopen(directory, certifier, data, network)"
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
        config.get("class_indices"),
        config.get("weights_key"),
    )


def from_python(run: RunDirectory, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Parts:
    """The parts of a run whose ``config.yaml`` names none, since it was made from Python.

    Args:
        run: The run.
        settings: Its settings.
        given: Its parts by name.

    Raises:
        InputError: If one is missing.
    """
    for name in ("data", "network"):
        if name not in given:
            raise InputError(f"{run.path} is a run from Python: give {name} as well, beside the certifier")
    options = TrainerOptions(str(settings.get("device", "auto")), precision=settings.get("precision", "32-true"))
    ids = sorted(run.finished())
    return Parts(
        trainer=options, targets=settings.get("targets", "predicted"), ids=ids, **{"class_indices": None, **given}
    )


def _build_known(
    path: Path, parts: Mapping[str, Any], packages: Sequence[str]
) -> tuple[Certifier, ImageDataModule, TrainerOptions, Any]:
    """With known classes and plain values alone."""
    data, network = (build(parts[name], name, packages) for name in ("data", "network"))
    if not isinstance(data, ImageDataModule) or not isinstance(network, nn.Module | None):
        raise InputError(f"{path}: data must be a data set, and network a network")
    certifier = call(Certifier, build(parts["certifier"], "certifier", packages), "certifier")
    return certifier, data, call(TrainerOptions, dict(parts["trainer"]), "trainer"), network


def _import_all(path: Path, parts: Mapping[str, Any]) -> tuple[Certifier, ImageDataModule, TrainerOptions, Any]:
    """With the parser of the command line, which imports what it is told to."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Certifier, "certifier")
    parser.add_subclass_arguments(ImageDataModule, "data")
    parser.add_argument("--network", type=nn.Module | None)
    parser.add_class_arguments(TrainerOptions, "trainer")
    try:
        made = _instantiate(parser, parser.parse_object(current_paths(dict(parts))))
    except InputError:
        raise
    except (ArgumentError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:400]}") from error
    return made.certifier, made.data, made.trainer, made.network


def _instantiate(parser: ArgumentParser, config: Any) -> Any:
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return build(config)
