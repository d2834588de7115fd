"""Configuration files that name the files below them: ``layers: [../data/cifar10.yaml, ...]``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]
from jsonargparse import Path as ConfigPath  # type: ignore[attr-defined]

from lit_certattr.cli.strict_yaml import check_yaml
from lit_certattr.errors import InputError

_KEY = "layers"


class LayeredConfig(ActionConfigFile):
    """The option ``--config FILE``: the files that FILE names are read first, then FILE; later files win.

    A file names them under the key ``layers``, by paths that start at its own folder, and they may name further files.
    It is the same as one ``--config`` for each of them, in this order. Only ``--config`` reads ``layers``: what a run
    directory holds is a complete configuration, which cannot name other files.
    """

    def __call__(  # type: ignore[override]  # jsonargparse has a Namespace of its own
        self, parser: ArgumentParser, cfg: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Apply the files, in order; what was typed stands for all of them where a name is taken from it."""
        before = list(cfg.get(self.dest) or [])
        for file, layer in stack(values):
            try:
                super().__call__(parser, cfg, layer, option_string)
            except TypeError as error:
                if layer == file:
                    raise
                raise InputError(f"config {file}: {error.__cause__ or error}") from None  # text has no name of its own
        read = list(cfg.get(self.dest) or [])[len(before) :]
        if [str(one) for one in read] != [values] and Path(values).is_file():
            cfg[self.dest] = [*before, ConfigPath(values, mode="fr")]


def stack(config: str, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, str]]:
    """A configuration file and those below it, in the order in which they are to be read.

    Args:
        config: Path of the file. Anything else (a missing file, YAML text) comes back as it is.
        above: The files that have led to this one.

    Yields:
        The path of each file, and what is to be read: the path again, or if the file names others, its text without
        their names.

    Raises:
        InputError: If a file below is missing, or is among those that have led to it, or if ``layers`` is not a list of
            paths.
    """
    file = Path(config)
    named = _named(file)
    if named is None:
        yield config, config
        return
    layers, rest = named
    for layer in layers:
        below = (file.parent / layer).resolve()
        if not below.is_file():
            raise InputError(f"config {config}: there is no file {layer}, which its {_KEY} name")
        if below in (*above, file.resolve()):
            raise InputError(f"config {config}: its {_KEY} lead back to {layer}")
        yield from stack(str(below), (*above, file.resolve()))
    if rest:
        yield config, rest


def _named(file: Path) -> tuple[list[str], str] | None:
    """The files that a file names, and the YAML of all else that it says; ``None`` if it names none."""
    try:
        text = file.read_text(encoding="utf-8")
        check_yaml(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):  # the parser reads the file again, and says what is wrong with it
        return None
    if not isinstance(root, yaml.MappingNode):
        return None
    found = next((value for key, value in root.value if key.value == _KEY), None)
    if found is None:
        return None
    if not isinstance(found, yaml.SequenceNode) or not all(isinstance(one, yaml.ScalarNode) for one in found.value):
        raise InputError(f"config {file}: {_KEY} must be a list of paths, e.g. {_KEY}: [../data/cifar10.yaml]")
    root.value = [(key, value) for key, value in root.value if value is not found]
    return [one.value for one in found.value], yaml.serialize(root, Dumper=yaml.SafeDumper) if root.value else ""
