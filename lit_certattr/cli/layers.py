"""Configuration files that include other files: ``layers: [../data/cifar10.yaml, ...]``."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]
from jsonargparse import Path as ConfigPath  # type: ignore[attr-defined]

from lit_certattr.cli.packaged_configs import configurations, folder, known
from lit_certattr.cli.program import INSTALLED
from lit_certattr.cli.strict_yaml import check_yaml
from lit_certattr.errors import InputError
from lit_certattr.files.home import at_home

_KEY = "layers"


class LayeredConfig(ActionConfigFile):
    """The option ``--config FILE``: reads the files that FILE includes, then FILE; later files override earlier ones.

    A configuration of the package needs not be copied: see :func:`packaged`.

    A file includes others under the key ``layers``, by paths relative to its own folder; these may include further
    files. This is the same as one ``--config`` for each of them, in this order. Only ``--config`` reads ``layers``: a
    run directory contains a complete configuration, which cannot include other files.
    """

    def __call__(  # type: ignore[override]  # jsonargparse has a Namespace of its own
        self, parser: ArgumentParser, cfg: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Apply the files in order; the typed file stands for all of them if the output is named after it.

        Raises:
            InputError: If a file is missing or wrong; the message names the configuration that was probably meant.
        """
        values = packaged(values)
        _check_there(values)
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


def packaged(config: Any) -> Any:
    """The path of a configuration that comes with the package, if there is no file of this name.

    Args:
        config: What the user typed: ``certify/folder.yaml`` and ``configs/certify/folder.yaml`` name a configuration of
            the package, and ``~`` is the home directory. Anything else is returned unchanged.
    """
    if str(config).startswith("~/"):
        return str(at_home(config))
    name = str(config).removeprefix("configs/")
    if not name.endswith(".yaml") or Path(config).exists() or not known(name):
        return config
    return str(folder() / name)


def _check_there(config: Any) -> None:
    """Complain about a name without a file; text with a colon or a brace is YAML in place of a file."""
    if not isinstance(config, str) or re.search(r"[\n:{]", config) or Path(config).exists():
        return
    name = config.removeprefix("configs/").removesuffix(".yaml")
    names = [known.removesuffix(".yaml") for known, _ in configurations()]
    close = [one for one in names if one.endswith(f"/{name}")] or get_close_matches(name, names, n=1)
    found = " or ".join(f"{one}.yaml" for one in close[:3])
    meant = f"did you mean {found}?" if close else f"those of the package are listed by {INSTALLED} configs list"
    raise InputError(f"config {config}: there is no such file, and no such configuration of the package; {meant}")


def stack(config: str, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, str]]:
    """A configuration file and the files that it includes, in the order of reading.

    Args:
        config: Path of the file. Anything else (a missing file, YAML text) is returned unchanged.
        above: Files that include this one, directly or indirectly.

    Yields:
        The path of each file, and what to read: the path again, or the text without ``layers`` if the file includes
        others.

    Raises:
        InputError: If an included file is missing or includes itself, or if ``layers`` is not a list of paths.
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
            raise InputError(f"config {config}: there is no file {layer}, which is listed under {_KEY}")
        if below in (*above, file.resolve()):
            raise InputError(f"config {config}: its {_KEY} lead back to {layer}")
        yield from stack(str(below), (*above, file.resolve()))
    if rest:
        yield config, rest


def _named(file: Path) -> tuple[list[str], str] | None:
    """The files that a file includes, and the YAML of its other settings; ``None`` if it includes none."""
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
