"""Small figures, each drawn once: they take most of the time of a small run, of its audit and of its attacks.

``tests/reports`` draws at full size and every time; so do tests marked ``figures``.
"""

import hashlib
from collections.abc import Sequence

from benchmarks import small_figures
from lit_certattr.audit import pages
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports import html

_draw = html.draw_figures
_drawn: dict[bytes, dict[str, bytes]] = {}


def use(quick: bool) -> None:
    """Draws all figures of the tests that follow small and once, or as users get them."""
    small_figures.use(quick)
    html.draw_figures = pages.draw_figures = _drawn_once if quick else _draw  # type: ignore[attr-defined]


def _drawn_once(directory: RunDirectory, ids: Sequence[str], max_panels: int = 16) -> dict[str, bytes]:
    """The figures of a run; those of an equal run, of files that are equal in every byte, are not drawn again."""
    files = [directory.path / folder / f"{name}.safetensors" for name in ids for folder in ("maps", "images")]
    if not all(file.is_file() and file.stat().st_size < 2**24 for file in files):
        return _draw(directory, ids, max_panels)
    content = hashlib.sha256(repr((ids, max_panels, [file.read_bytes() for file in files])).encode()).digest()
    if content not in _drawn:
        _drawn[content] = _draw(directory, ids, max_panels)
    return dict(_drawn[content])
