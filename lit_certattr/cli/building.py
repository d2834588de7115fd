"""Converts parsed options to the arguments of a job: its objects, and the text of its configuration."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.errors import InputError

_ANOTHER_TYPE = re.compile(r"- (?:Expected an? |Does not validate against any|Import path \S+ does not correspond to)")
"""What an alternative says that the user did not mean."""


def build_parts(parser: OneLineParser, config: Namespace) -> Namespace:
    """Build the classes that the configuration names.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.

    Returns:
        The configuration with objects in place of class names.

    Raises:
        InputError: If a class refuses its arguments.
    """
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    try:
        parts: Namespace = build(config)
    except InputError:
        raise
    except ValueError as error:
        # Where a type has alternatives (a list or a mapping of certificates), jsonargparse lists what each said.
        said = [line.strip() for line in str(error).splitlines() if line.strip().startswith("- ")]
        said = [line.removeprefix("- ") for line in said if not _ANOTHER_TYPE.match(line)]
        if not said:
            raise
        raise InputError(f"{_foreign(error, said)}{'; '.join(said)}") from error
    return parts


def _foreign(error: ValueError, said: Collection[str]) -> str:
    """The class and the type of an exception that is no refusal of this package, whose message may name neither."""
    cause: BaseException | None = error
    while isinstance(cause, ValueError) and cause.__cause__ is not None:
        cause = cause.__cause__
    named = re.search(r"class_path='([^']+)'", str(error))
    if named is None or isinstance(cause, InputError) or str(cause).strip() not in said:
        return ""
    return f"{named[1]}: {type(cause).__name__}: "


def name_output(config: Namespace, folder: str) -> None:
    """Name the output directory after the last configuration file, if the user gave no name.

    Args:
        config: The configuration; its ``output`` is set.
        folder: Parent of the output directory.
    """
    if config.output is None:
        files = [str(path) for path in config.config or []]
        config.output = f"{folder}/{Path(files[-1]).stem if files else 'run'}"


def as_text(config: Namespace) -> str:
    """A configuration as YAML.

    Args:
        config: The configuration, before its classes are built.
    """
    return yaml.safe_dump(
        {name: plain(value) for name, value in vars(config).items() if name != "config"}, sort_keys=False
    )


def plain(value: Any) -> Any:
    """A parsed setting as plain values for YAML.

    Args:
        value: The setting.
    """
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def apply_short_options(config: Namespace, places: Mapping[str, Sequence[str]], kept: Collection[str] = ()) -> None:
    """Move the values of the short options to the settings that they replace, so that the record has each value once.

    Args:
        config: The configuration; the short options are removed.
        places: Settings that each short option replaces; a setting of a part that is null is skipped.
        kept: Short options that the job itself applies if a class has no such setting.

    Raises:
        InputError: If a class has no such setting.
    """
    for name, settings in places.items():
        value = config.pop(name)
        if value is None:
            continue
        for setting in settings:
            above, _, key = setting.rpartition(".")
            part = config.get(above.removesuffix(".init_args"))
            if part is None:
                continue
            values = config.get(above)
            if (values is None or key not in values) and name in kept:
                config[name] = value
                continue
            if values is None or key not in values:
                raise InputError(f"--{name}: {part.get('class_path', above)} has no setting {key}")
            config[setting] = value
