"""How results show themselves in a Python shell and in a notebook: a line, or a table with a figure."""

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from lit_certattr.certificates.guarded import presentation_of
from lit_certattr.statistics.rounding import confidence, percent_at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 90
"""Dots per inch of a figure in a notebook."""


def short_method(result: Any) -> str:
    """Name of the attribution method; ``"maps"`` if the user counted maps of an unknown method.

    Args:
        result: The result.
    """
    written = str(result.sampling.get("attribution", "maps"))
    wrapped = re.match(r"(?:FunctionAttribution|CaptumAttribution)\(.*?(?:name|explainer)='(\w+)'", written)
    return wrapped[1] if wrapped else written.partition("(")[0]


def line_of(result: Any) -> str:
    """A result in a line: its kind, what is certified, and how the maps were made.

    Args:
        result: The result.
    """
    shown = presentation_of(result)
    found = shown.nothing() or shown.summary()
    how = f"{short_method(result)}, {result.law_in_words()}, {result.num_samples} samples"
    return f"{type(result).__name__}({'; '.join(filter(None, [found, how]))})"


def facts(result: Any) -> dict[str, str]:
    """How the maps of a result were made, and what a reader must know, by name.

    Args:
        result: The result.
    """
    accuracy = result.noisy_accuracy
    rows = {
        "method": str(result.sampling.get("attribution", "unknown")),
        "noise": result.noise_in_words(),
        "samples": str(result.num_samples),
        "noisy accuracy": "unknown" if accuracy is None else f"{percent_at_least(accuracy)} %",
        "confidence": confidence(result.alpha),
    }
    return rows | ({"note": "; ".join(result.flags)} if result.flags else {})


def html_of(result: Any) -> str:
    """A result as HTML: a table, its figure, and its statement.

    Args:
        result: The result.
    """
    shown = presentation_of(result)
    rows = facts(result) | {"found": shown.nothing() or shown.summary()}
    name = type(result).__name__
    return f"{table_tag(rows.items())}{image_tag(result.plot(), name)}{text_tag(result.statement())}"


def table_tag(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table of texts, which are escaped.

    Args:
        rows: Texts of each row.
        head: Headings of the columns; without them the first column holds headings of the rows.

    Example:
        >>> table_tag([("noise", "sigma < 1")])
        '<table><tr><th>noise</th><td style="text-align:left">sigma &lt; 1</td></tr></table>'
    """
    top = f"<tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>" if head else ""
    lines = []
    for row in rows:
        cells = [f'<td style="text-align:left">{escape(text)}</td>' for text in row]
        cells[0] = cells[0] if head else f"<th>{escape(row[0])}</th>"
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{top}{''.join(lines)}</table>"


def text_tag(text: str) -> str:
    """A paragraph, escaped.

    Args:
        text: The text.
    """
    return f"<p>{escape(text)}</p>"


def image_tag(figure: "Figure", words: str) -> str:
    """A figure as an image inside the page.

    Args:
        figure: The figure.
        words: What it shows, for those who do not see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
