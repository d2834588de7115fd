"""``certify.py status``: how far a run is."""

import json
import sys

from jsonargparse import Namespace
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lit_certattr.callbacks.progress import duration
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import Status, status
from lit_certattr.statistics.rounding import counted

STATUS_HELP = """Tell how far a run is, while it goes on, after it was stopped or killed, and when it is finished.

Examples:
  certify.py status runs/certify/photographs
  certify.py status runs/certify/photographs --json

Printed are: the state, the number of certified images, images per second since the latest start, a forecast of the time
left, and what is certified so far, as means over the images. Nothing is written, and the run is not disturbed."""


def add_status_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py status``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_argument("--json", type=bool, default=False, help="Print JSON.")
    add_import_word(parser)


def status_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Print how far the run is.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    found = status(config.directory, imports=config["import"])
    if config.json:
        sys.stdout.write(json.dumps(_plain(found), indent=2) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, words in _lines(found):
        table.add_row(name, words)
    console = on_stdout(soft_wrap=False)
    console.print(str(found.directory.path), markup=False, soft_wrap=True)
    console.print(table, markup=False)


def _lines(found: Status) -> list[tuple[str, str]]:
    words = {
        "running": "running",
        "stopped": "stopped; the same command resumes it",
        "finished": "finished",
    }[found.state]
    total = "an unknown number of" if found.total is None else f"{found.total:,}"
    share = "" if not found.total else f" ({found.done / found.total:.1%})"
    lines = [("state", words), ("certified", f"{found.done:,} of {total} images{share}")]
    if found.holder is not None:
        others = f", the first of {found.processes}" if (found.processes or 1) > 1 else ""
        lines.append(("by", f"process {found.holder.pid} on {found.holder.host}{others}"))
    for one in found.working:
        words = f"{counted(one.images, 'image')}{'' if one.rate is None else f', {_pace(one.rate)}'}"
        lines.append((f"process {one.rank}", f"{one.holder.pid} on {one.holder.host}: {words}"))
    if found.rate is not None:
        lines.append(("rate", _pace(found.rate)))
    if found.state == "running" and found.idle is not None:
        lines.append(("latest image", f"{duration(found.idle)} ago"))
    if found.seconds_left is not None:
        lines.append(("left", f"about {duration(found.seconds_left)}"))
    lines += [(tile.value, tile.label) for tile in found.numbers]
    if found.numbers:
        lines.append(("", f"(of {counted(found.num_counted, 'image')})"))
    return lines


def _pace(rate: float) -> str:
    return f"{rate:,.2f} images/s" if rate >= 0.1 else f"{duration(1 / rate)} per image"


def _plain(found: Status) -> dict[str, object]:
    names = ("state", "done", "total", "processes", "rate", "idle", "seconds_left", "num_counted")
    holder = None if found.holder is None else {"pid": found.holder.pid, "host": found.holder.host}
    working = [
        {"rank": one.rank, "pid": one.holder.pid, "host": one.holder.host, "images": one.images, "rate": one.rate}
        for one in found.working
    ]
    numbers = [tile._asdict() for tile in found.numbers]
    path = str(found.directory.path)
    plain = {"directory": path, **{name: getattr(found, name) for name in names}}
    return plain | {"holder": holder, "working": working, "numbers": numbers}
