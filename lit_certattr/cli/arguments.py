"""Options as users type them: switches without a value, old names."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

from lit_certattr.errors import InputError

WORDS = ("true", "false", "yes", "no")
"""Values of switches, as users type them."""


def spell_out(parser: ArgumentParser, typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give every switch its value: ``--overwrite`` becomes ``--overwrite=true``.

    Args:
        parser: Parser with the options.
        typed: The typed arguments.

    Returns:
        The arguments, and the options of a class (``--certifier.attribution.init_args.absolute``) without a value:
        whether they are switches is known only after the class was read.
    """
    spelled, below = [], []
    for argument, value in zip_longest(typed, typed[1:]):
        bare = value is None or value.startswith("--")
        if argument.startswith("--") and "=" not in argument:
            action = parser._option_string_actions.get(argument)
            kinds = set(_kinds(getattr(action, "_typehint", None)))
            only = kinds <= {bool, NoneType} and (value or "").lower() not in WORDS
            if bool in kinds and (bare or only):
                argument = f"{argument}=true"
            elif bare and action is None and any(argument[2:].startswith(f"{one.dest}.") for one in parser._actions):
                below.append(argument)
        spelled.append(argument)
    return spelled, below


def _kinds(hint: Any) -> Iterator[Any]:
    """The alternatives of a type."""
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _kinds(one)
    else:
        yield hint


def value_of(config: Namespace, option: str) -> Any:
    """Value of an option of a class; ``None`` if it has none.

    Args:
        config: The parsed configuration.
        option: The option, e.g. ``--certifier.attribution.init_args.absolute``, or the same without ``init_args``.
    """
    value: Any = config
    for key in option.removeprefix("--").split("."):
        value = value[-1] if isinstance(value, list) and value else value  # such an option is about the last of several
        if isinstance(value, Namespace) and key not in value:
            value = value.get("init_args")
        value = value.get(key) if isinstance(value, Namespace) else None
    return value


def refuse_old_names(parser: ArgumentParser, typed: Sequence[str], renamed: Mapping[str, str]) -> None:
    """Refuse an option under its old name.

    Args:
        parser: Parser with the options.
        typed: The typed arguments.
        renamed: New names by old ones, without the dashes.

    Raises:
        InputError: If an old name is used; the message gives the new name.
    """
    for argument in typed:
        old = argument.partition("=")[0]
        if argument.startswith("--") and old not in parser._option_string_actions:
            check_old_name(old.removeprefix("--"), renamed, parser, dashes="--")


def refuse_absent(parser: ArgumentParser, typed: Sequence[str], absent: Mapping[str, str]) -> None:
    """Refuse an option that only other commands have.

    Args:
        parser: Parser with the options.
        typed: The typed arguments.
        absent: Reasons by the names of the options, without the dashes.

    Raises:
        InputError: If such an option is used; the message gives the reason.
    """
    for argument in typed:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in parser._option_string_actions and name[2:] in absent:
            raise InputError(f"{name}: {absent[name[2:]]}")


def check_old_name(old: str, renamed: Mapping[str, str], parser: ArgumentParser, dashes: str = "") -> None:
    """Refuse an old name.

    Args:
        old: A name, without dashes.
        renamed: New names by old ones.
        parser: Parser with the options; a new name that it lacks is ignored.
        dashes: Prefix of both names in the message.

    Raises:
        InputError: If it is an old name; the message gives the new name.
    """
    new = renamed.get(old)
    if new is not None and f"--{new}" in parser._option_string_actions:
        raise InputError(f"{dashes}{old} is now called {dashes}{new}")
