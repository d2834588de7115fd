"""Mistakes of users and faults of the machine give one line on stderr and exit status 2; a bug gives a traceback."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from os import PathLike
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.memory import is_oom_error

import lit_certattr.cli.strict_yaml  # noqa: F401  (the parsers below read YAML with it)
from lit_certattr.cli.arguments import check_old_name, refuse_absent, refuse_old_names, spell_out, value_of
from lit_certattr.cli.layers import LayeredConfig
from lit_certattr.cli.nulls import first_null
from lit_certattr.cli.output import reader_may_leave, somewhere_to_write
from lit_certattr.cli.program import spoken
from lit_certattr.cli.refusing import has_met, launched_rank, refuse
from lit_certattr.errors import InputError, SharedError, single_line
from lit_certattr.files.whole_file import REMEDIES
from lit_certattr.jobs.chatter import without_chatter

_IGNORED = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6.6 with torch 2.14, in its own code
    r"LightningCLI's args parameter is intended",  # the installed command gives the words after its own
    r".*does not have many workers",  # reading in the main process is a choice: the data are in memory or cached
)


@contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Turn a mistake of the user or a fault of the machine into ``program: error: ...`` on stderr and exit status 2.

    A mistake is an :class:`~lit_certattr.errors.InputError` or Lightning's exception for a misconfiguration;
    :func:`machine_fault` recognises the faults of the machine. Inside the block, Lightning's own messages (seed,
    devices, advertisements) are silent, so that the line stands alone. Warnings are printed, except those that a user
    cannot resolve; until several processes meet, the first one prints theirs. If the reader of the output is gone
    (``| head``), the command ends quietly.

    Args:
        program: Name of the command, e.g. ``"train.py"``.

    Example:
        >>> with one_line_errors("train.py"):  # doctest: +SKIP
        ...     raise InputError("sigma must be positive, got -0.5")
        train.py: error: sigma must be positive, got -0.5
    """
    with somewhere_to_write():
        try:
            with reader_may_leave(), without_chatter(), warnings.catch_warnings():
                for message in _IGNORED:
                    warnings.filterwarnings("ignore", message)
                warnings.showwarning = _one_line_warnings(program)
                yield
        except Exception as error:
            line = _mistake(error) or machine_fault(error)
            if line is None:
                raise
            refuse(program, single_line(line), together=isinstance(error, SharedError))


def _one_line_warnings(program: str) -> Callable[..., None]:
    """A function that prints a warning as ``program: warning: ...``, without its place in the code."""
    rank = launched_rank()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if rank and not has_met():
            return  # the first process prints the same
        whose = f"process {rank}: " if rank else ""
        sys.stderr.write(spoken(f"{program}: warning: {whose}{single_line(message)}\n"))

    return show


def _mistake(error: BaseException | None) -> str | None:
    """Message about a mistake of the user; ``None`` for any other error."""
    # Where a setting may be of several types, jsonargparse wraps what the first of them said.
    while error is not None and not isinstance(error, InputError | MisconfigurationException):
        error = error.__cause__ if isinstance(error, ValueError) else None
    return None if error is None else str(error)


def machine_fault(error: BaseException) -> str | None:
    """Message about a fault of the machine, with the remedy; ``None`` for any other error, perhaps a bug.

    Args:
        error: Any error. Faults of the machine are those of the system (a file, the network), and lack of memory on the
            host or the device.

    Example:
        >>> machine_fault(OSError(28, "No space left on device", "runs/a"))
        'runs/a: No space left on device; free some space, then run the same command again to resume'
        >>> machine_fault(ValueError("a bug"))
    """
    if isinstance(error, MemoryError) or is_oom_error(error) or _NO_MEMORY.search(str(error)):
        said = str(error).strip().partition("\n")[0].partition(" Tried to allocate")[0].rstrip(".")
        return f"out of memory{f' ({said})' if said else ''}; choose a smaller batch size, or smaller or fewer images"
    if isinstance(error, OSError):
        said = (error.strerror if isinstance(error.strerror, str) else None) or str(error) or type(error).__name__
        place = "" if error.filename is None else f"{error.filename}: "
        remedy = REMEDIES.get(error.errno or 0)
        return f"{place}{said}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, OverflowError):
        return f"a number is too large ({error})"
    return None


_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|Unable to allocate|bad_alloc", re.I)


class OneLineParser(LightningArgumentParser):
    """Lightning's parser, which raises an :class:`InputError` of one line; pass it as ``parser_class``.

    Args:
        *args: Arguments of Lightning's parser.
        **kwargs: Further arguments of Lightning's parser.
    """

    renamed: Mapping[str, str] = {}
    """New names of options by their old ones."""
    absent: Mapping[str, str] = {}
    """Why options of other commands are absent, by their names."""

    _config_file: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # a prefix of an option is a misspelt option
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an option; the option for configuration files also reads the files that they name under ``layers``."""
        if kwargs.get("action") in ("config", ActionConfigFile):
            kwargs["action"] = LayeredConfig
        return super().add_argument(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse; switches need no value, and a null is refused if the setting needs a value.

        Raises:
            InputError: If an argument or a file is wrong.
        """
        typed = [str(argument) for argument in (sys.argv[1:] if args is None else args)]
        refuse_old_names(self, typed, self.renamed)
        refuse_absent(self, typed, self.absent)
        spelled, below = spell_out(self, typed)
        switched = [f"{argument}=true" if argument in below else argument for argument in spelled]
        try:
            config: Namespace = super().parse_args(switched, *rest, **kwargs)
        except (InputError, ArgumentError):
            if not below:
                raise
            config = super().parse_args(spelled, *rest, **kwargs)  # complains about what was typed
        missing = next((argument for argument in below if value_of(config, argument) is not True), None)
        if missing is not None:
            self.error(f"argument {missing}: expected one argument")
        whole = not kwargs.get("_skip_validation")  # jsonargparse parses subcommands first, and checks in the end
        null = first_null(self, config) if whole else None
        if null is not None:
            self.error(f"{null} must not be null; leave it out for its default, if it has one")
        return config

    def parse_path(self, path: str | PathLike, *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration file.

        Raises:
            InputError: If the file cannot be read; the message names it.
        """
        outer, self._config_file = self._config_file, str(path)
        try:
            config: Namespace = super().parse_path(path, *args, **kwargs)
            return config
        except UnicodeDecodeError as error:
            raise InputError(f"config {path} cannot be read: {error}; save it as UTF-8") from None
        except (OSError, RecursionError) as error:
            raise InputError(f"config {path} cannot be read: {error}") from None
        finally:
            self._config_file = outer

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error. jsonargparse uses a parser for each alternative of a type, and catches their errors.

        Raises:
            InputError: Always, except in such a parser.
            ArgumentError: In such a parser.
        """
        if not self.exit_on_error:
            raise ArgumentError(None, message) from ex
        if (unknown := _UNKNOWN.search(message)) is not None:  # in a configuration file
            below = next(action.choices for action in self._actions if isinstance(action.choices, dict))
            check_old_name(unknown[2], below[unknown[1]].renamed, below[unknown[1]])
        line = explain(message, _options(self))
        raise InputError(line if self._config_file is None else f"config {self._config_file}: {line}") from ex


_UNKNOWN = re.compile(r"Subcommand '(\w+)' does not accept option '([\w.]+)'")


def _options(parser: ArgumentParser) -> list[str]:
    """The options of a parser and of its subcommands."""
    names = [action.dest for action in parser._actions]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            names += [name for below in action.choices.values() for name in _options(below)]
    return names


def explain(message: str, options: list[str] | None = None) -> str:
    r"""Shorten a message of jsonargparse, which lists every alternative of every type, to one line.

    Args:
        message: The message.
        options: Existing options, for the suggestion after a misspelt one.

    Example:
        >>> explain('Parser key "model.net":\n  Problem with given class_path "a.B":\n    Option "c" is wrong')
        'model.net: a.B: Option "c" is wrong'
        >>> explain("unrecognized arguments: --trainer.max_epoch=3", ["trainer.max_epochs"])
        'unrecognized arguments: --trainer.max_epoch=3 (did you mean trainer.max_epochs?)'
    """
    parts: list[str] = []
    for line in _WRAPPERS.sub("", message).splitlines():
        text = line.strip().removeprefix("- ")
        for pattern, plain in _REWRITE:
            text = pattern.sub(plain, text)
        if text and text not in parts and not _NOISE.match(text):
            parts.append(text)
    told = [part for part in parts if part not in _ALTERNATIVES]
    if _NESTED.search(message) and len(told) > 1:  # the key, and what is wrong inside of one of the alternatives
        parts = told
    chain = ""
    for part in parts:
        chain += part if not chain else f" {part}" if chain.endswith(":") else f"; {part}"
    return chain + _suggestion(chain, options or [])


# "Type typing.Callable[...] expects a function or a callable class:" says nothing that the key does not say.
_WRAPPERS = re.compile(r"Type typing\.Callable.* expects a function or a callable class: |\.? Got value: Namespace\(.*")
_NOISE = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Given value type:|Given value: NestedArg|Expected NoneType"
    r"|Expected path but|Given value: (?:Namespace\(|[\[{])"
)
_NESTED = re.compile(r"Given value: (?:Namespace\(|[\[{])")  # which may have thousands of characters
_ALTERNATIVES = ("Expected Sequence", "Expected Mapping")
_REWRITE = [
    (re.compile(r"<class '(?:\w+\.)*(\w+)'>"), r"\1"),
    (re.compile(r'Parser key "([^"]+)":\s*'), r"\1: "),
    (re.compile(r"Problem with given class_path ['\"]([^'\"]+)['\"]:"), r"\1:"),
    (re.compile(r"Expected a dot import path string: (\S+)"), r"there is no class '\1'"),
    (re.compile(r"Expected an? (\w+)"), r"Expected \1"),
    (re.compile(r"Expected (?:Sequence|list)\. Got value: (\S+)$"), r"Expected a list, e.g. [\1]. Got value: \1"),
    (re.compile(r"Expected tuple\. Got value"), r"Expected values in brackets, separated by commas. Got value"),
    (re.compile(r"Expected (?:typing\.)?Literal\[([^\]]*)\]"), r"Expected one of \1"),
    (re.compile(r'Problems parsing config: |in "<unicode string>", '), ""),
    (re.compile(r"Unexpected config:$"), "it is empty; it must hold settings, e.g. targets: predicted"),
    (re.compile(r"Unexpected config:"), "it must hold settings, e.g. targets: predicted, and holds"),
    (re.compile(r"Exceeds the limit \(\d+ digits\) for integer string conversion: value has"), "a number of"),
    (re.compile(r"; use sys\.set_int_max_str_digits.*"), ""),
    (re.compile(r" +$"), ""),
]


def _suggestion(line: str, options: list[str]) -> str:
    """The existing class or option that a misspelt one probably means."""
    missing = re.search(
        r"no class '(?:[\w.]*\.)?(\w+)'|has no attribute '(\w+)'"
        r"|unrecognized arguments: --([\w.-]+)|does not accept option '([\w.]+)'",
        line,
    )
    if missing is None:
        return ""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("lit_certattr.")]
    classes = {name for module in ours for name in getattr(module, "__all__", ())}
    name = next(filter(None, missing.groups())).replace("-", "_")
    known = classes if missing[1] or missing[2] else set(options)  # no class is what a misspelt option meant
    close = get_close_matches(name, known - {name.rpartition(".")[0]}, n=1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""
