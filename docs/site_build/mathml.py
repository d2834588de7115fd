"""Formulas as MathML, which browsers draw themselves: no script, no font and no network is needed.

docutils, which Sphinx is built on, translates LaTeX. What it does not know is an error of the build.
"""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

# Names that docutils does not know, and what they are in plain LaTeX.
KNOWN_AS = [(r"\\dots(?![a-zA-Z])", r"\\ldots"), (r"\\([bB]ig{1,2})\(", r"\\\1l("), (r"\\([bB]ig{1,2})\)", r"\\\1r)")]


def to_mathml(latex: str, block: bool) -> str:
    """LaTeX as a ``<math>`` element.

    Raises:
        ExtensionError: If a command is unknown.
    """
    for pattern, known in KNOWN_AS:
        latex = re.sub(pattern, known, latex)
    try:
        return latex2mathml.tex2mathml(latex, as_block=block)
    except MathError as error:
        raise ExtensionError(f"cannot draw the formula {latex!r}: {error}") from error


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(to_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{to_mathml(node.astext(), block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer and choose it."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.config["html_math_renderer"] = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
