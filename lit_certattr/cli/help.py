"""Readable ``--help``."""

import argparse
import re

from jsonargparse import DefaultHelpFormatter

from lit_certattr.cli.program import spoken

_NETWORKS = "lit_certattr.models."
_ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)`")


class ReadableHelp(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps line breaks of examples, removes the markup of docstrings, and lists only networks of this package."""

    def format_help(self) -> str:
        """The whole text, with the names of the commands as the user calls them."""
        return spoken(super().format_help())

    def _expand_help(self, action: argparse.Action) -> str:
        text = _ROLE.sub(r"\1", super()._expand_help(action) or "").replace("``", "")
        return re.sub(r"known subclasses: (.*)\)", lambda match: f"known subclasses: {_shorten(match[1])})", text)


def _shorten(names: str) -> str:
    """The networks of this package, instead of every module of torch.

    Example:
        >>> _shorten("torch.nn.Module, torch.nn.Linear, lit_certattr.models.SmallCNN")
        'lit_certattr.models.SmallCNN'
    """
    networks = [name for name in names.split(", ") if name.startswith(_NETWORKS)]
    return ", ".join(networks) or names
