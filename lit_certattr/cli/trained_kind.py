"""What ``train.py`` trains: a classifier, or a denoiser if the configuration has ``model.denoiser``."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lit_certattr.cli.layers import packaged, stack
from lit_certattr.errors import InputError
from lit_certattr.modules import DenoiserTraining, RobustClassifier, TrainingModule


def training_module(typed: Any) -> type[TrainingModule]:
    """The module that a command line is about.

    Args:
        typed: The arguments: a list, or nested mappings.

    Raises:
        InputError: If the configuration names both a classifier and a denoiser.
    """
    named = set(_of_mapping(typed) if isinstance(typed, Mapping) else _of_arguments([str(one) for one in typed]))
    if {"net", "denoiser"} <= named:
        raise InputError(
            "the configuration has model.net, a classifier that is trained, and model.denoiser, a denoiser that is "
            "trained: leave out one of them; the classifier that judges a denoiser is model.network"
        )
    return DenoiserTraining if "denoiser" in named else RobustClassifier


def _of_arguments(typed: list[str]) -> Iterator[str]:
    """The settings below ``model`` that arguments and configuration files name."""
    for argument, following in pairwise([*typed, ""]):
        option, equals, value = argument.partition("=")
        value = value if equals else following
        if option in ("--config", "-c"):
            for _, layer in stack(packaged(value)):
                yield from _of_mapping(_read(layer))
        elif option == "--model":
            yield from _keys(_read(value))
        elif option.startswith("--model."):
            yield option.split(".")[1]


def _of_mapping(content: Any) -> Iterator[str]:
    """The settings below ``model`` in a configuration, also of one that names the subcommand first."""
    if not isinstance(content, Mapping):
        return
    yield from _keys(content.get("model"))
    for command in ("fit", "validate", "test"):
        if isinstance(below := content.get(command), Mapping):
            yield from _keys(below.get("model"))


def _keys(model: Any) -> Iterator[str]:
    if isinstance(model, Mapping):
        yield from (str(key).partition(".")[0] for key in model)


def _read(config: str) -> Any:
    """The content of a file or a text; what cannot be read is left to the parser, which says why."""
    try:
        text = Path(config).read_text(encoding="utf-8")
    except OSError:  # no file, perhaps a text that is too long for a name
        text = config
    except ValueError:
        return None
    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return None
