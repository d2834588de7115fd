"""``--help`` that a person can read."""

import argparse
import re

from jsonargparse import DefaultHelpFormatter

_NETWORKS = "lit_certattr.models."


class ReadableHelp(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of examples, and lists the networks that are made for this, not every layer of torch."""

    def _expand_help(self, action: argparse.Action) -> str:
        text = super()._expand_help(action) or ""
        return re.sub(r"known subclasses: (.*)\)", lambda match: f"known subclasses: {_shorten(match[1])})", text)


def _shorten(names: str) -> str:
    """The networks of this package alone, where every module of torch would be listed.

    Example:
        >>> _shorten("torch.nn.Module, torch.nn.Linear, lit_certattr.models.SmallCNN")
        'lit_certattr.models.SmallCNN'
    """
    networks = [name for name in names.split(", ") if name.startswith(_NETWORKS)]
    return ", ".join(networks) or names
