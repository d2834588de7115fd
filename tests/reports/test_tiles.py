"""The page cuts tiles out of a picture at known places: all parts lie inside, and their text is legible on a phone."""

import io
import re

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from lit_certattr.reports.figures import dataset_figure, dataset_layout, image_panel, panel_layout
from lit_certattr.reports.page import render
from lit_certattr.reports.tiles import CURVE, MAP, Layout, Row, flow

PHONE = {MAP: 165, CURVE: 335}  # CSS pixels of a tile on a screen that is 390 pixels wide: see style.css
LEGIBLE = 10.8


@pytest.fixture(scope="module")
def drawn(certified):
    """Layout, figure and picture of a panel and of a summary."""
    ((_, image, results, clean),) = certified(top_k=(0.5, 0.4, 0.25, 0.1))
    made = [
        (panel_layout(image, results, clean), image_panel(image, results, None, clean)),
        (dataset_layout(results), dataset_figure([results, results])),
    ]
    return [(layout, figure, render(figure, dpi=100)) for layout, figure in made]


def boxes_of(layout):
    return [[float(number) for number in box.split()] for row in layout.boxes() for box in row]


def test_cells_are_where_the_layout_says(drawn):
    for layout, figure, picture in drawn:
        assert Image.open(io.BytesIO(picture)).size == pytest.approx([100 * length for length in layout.size], abs=1)
        height = 100 * layout.size[1]
        assert len(figure.subfigs) == len(boxes_of(layout))
        for cell, (left, top, width, tall) in zip(figure.subfigs, boxes_of(layout), strict=True):
            x, y, w, h = cell.bbox.bounds
            assert (x, height - y - h, w, h) == pytest.approx((left, top, width, tall), abs=0.5)


def test_nothing_crosses_the_edge_of_a_cell(drawn):
    for layout, _, picture in drawn:
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
        for left, top, width, tall in boxes_of(layout):
            cell = pixels[round(top) : round(top + tall), round(left) : round(left + width)]
            assert cell.min() < 100, "the cell is not empty"
            edges = [cell[1:-1, 1], cell[1:-1, -2], cell[1, 1:-1], cell[-2, 1:-1]]
            assert min(edge.min() for edge in edges) == 255


def test_all_text_is_legible_on_a_phone(drawn):
    for layout, figure, _ in drawn:
        widths = [row.width for row in layout.rows for _ in range(row.cells)]
        for cell, width in zip(figure.subfigs, widths, strict=True):
            points = 72 * cell.bbox.width / figure.dpi
            sizes = {text.get_text(): text.get_fontsize() for text in cell.findobj(Text) if text.get_text().strip()}
            assert sizes
            assert not {text: size for text, size in sizes.items() if size * PHONE[width] / points < LEGIBLE}


def test_rows_of_one_kind_flow_together():
    layout = Layout([*flow(2, MAP, 2, 5), *flow(4, CURVE, 3, 3), Row(1, CURVE, 0.5)])
    assert layout.units == 15
    shown = layout.on_page("name", "png", "alt")
    assert [(row["kind"], len(row["boxes"])) for row in shown["rows"]] == [("maps", 2), ("curves", 5)]
    bottoms = [box[1] + box[3] for box in boxes_of(layout)]
    assert max(bottoms) == pytest.approx(100 * layout.size[1])
    assert all(re.fullmatch(r"[\d.]+( [\d.]+){3}", box) for row in layout.boxes() for box in row)
