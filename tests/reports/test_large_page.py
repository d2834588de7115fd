"""The page of a run of many images: numbers of all of them, rows and panels of some."""

import base64
import hashlib
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_certattr.audit.pages import check_page
from lit_certattr.records import RunDirectory
from lit_certattr.records.table_rows import RowGroups, TableRows
from lit_certattr.reports import chosen, html
from lit_certattr.reports.chosen import Excerpt, at_random, averaged, ranking
from lit_certattr.reports.html import fill_page, panel_ids, write_report

IDS = [f"image-{number}" for number in range(9)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory, certified):
    directory = RunDirectory(tmp_path_factory.mktemp("large") / "run")
    directory.open({"sigma": 0.25}, provenance={"network": {"class": "Net", "parameters": 1}})
    for number, (image_id, image, results, clean) in enumerate(certified(9)):
        facts = {"label": number % 3, "prediction": 1, "label_name": f"class <{number % 3}>"}
        directory.write(image_id, results, image, clean, facts)
    directory.write_table(IDS)
    return directory


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(chosen, "LARGE", 5)
    monkeypatch.setattr(chosen, "_ROWS", 6)


def _undrawn(directory, ids, max_panels=16):
    """What would be drawn, as blank pictures."""
    names = [f"{image_id}.png" for image_id in panel_ids(directory, ids, max_panels)]
    return dict.fromkeys([*names, "summary.png", "summary.pdf"], b"png" * 100)


@pytest.fixture(scope="module")
def page(directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "draw_figures", _undrawn)
        patch.setattr(chosen, "LARGE", 5)
        patch.setattr(chosen, "_ROWS", 6)
        write_report(directory, IDS, max_panels=3)
    return directory.report.read_text()


def _share(directory):
    rows = pq.read_table(directory.table).to_pylist()
    found = {}
    for row in rows:
        if row["certificate"] == "pixel":
            found.setdefault(row["id"], []).append(row["one_share"])
    return {image_id: sum(shares) / len(shares) for image_id, shares in found.items()}


def test_images_are_ordered_by_their_leading_number(directory):
    words, order = ranking(pq.read_table(directory.table), IDS)
    share = _share(directory)
    assert order == sorted(IDS, key=share.get)
    assert words == "the column one_share of the certificate pixel in results.parquet, as a mean over its levels"


def test_the_worst_the_best_and_some_at_random_have_panels(directory, few):
    share = _share(directory)
    by = sorted(IDS, key=share.get)
    panels = Excerpt.of(pq.read_table(directory.table), IDS, 6).panels
    assert list(panels.values()) == ["worst"] * 2 + ["best"] * 2 + ["random"] * 2
    assert list(panels)[:4] == [by[0], by[1], by[-1], by[-2]]
    assert set(list(panels)[4:]) < set(by[2:-2])
    assert panel_ids(directory, IDS, 6) == list(panels)
    assert panel_ids(directory, IDS[:5], 2) == IDS[:2]


def test_the_page_has_rows_of_some_images_and_numbers_of_all(directory, page, monkeypatch):
    monkeypatch.setattr(html, "draw_figures", _undrawn)
    tables = re.findall(r"<tbody>\n(<tr><th scope=\"row\" data.*?)</tbody>", page, re.DOTALL)
    assert [table.count("<tr>") for table in tables] == [6, 6]
    assert page.count('<table class="sortable paged">') == 2
    assert "6 of the 9 images: the worst and the best by the column one_share" in page
    assert "3 of 9</b> <span>images with a label" in page
    kinds = ("one of the worst", "one of the best", "chosen at random")
    assert [page.count(f">{words}</p>") for words in kinds] == [1, 1, 1]
    assert "about all 9 images, and so are the lines" in page
    write_report(directory, IDS, max_panels=3)  # of few images: every one has a row
    whole = directory.report.read_text()
    tiles = r"<div class=\"tile\">.*?</div>"
    assert re.findall(tiles, page) == re.findall(tiles, whole)
    assert "paged" not in whole
    assert "<input" not in whole


def test_the_policy_of_the_page_allows_its_script_and_nothing_else(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "Filter the rows of" in script
    assert "<input" not in page  # it would do nothing without the script


@pytest.mark.slow
def test_the_audit_writes_the_same_page(directory, few):
    write_report(directory, IDS, max_panels=3)
    findings, _ = check_page(directory, IDS, pq.read_table(directory.table), 3)
    assert findings == []
    drawn = {path.name for path in directory.figures.glob("image-*")}
    assert drawn == {f"{image_id}.png" for image_id in panel_ids(directory, IDS, 3)}


def test_the_page_says_of_how_many_images_its_lines_are(directory, few, monkeypatch):
    monkeypatch.setattr(chosen, "_CURVES", 7)
    page = fill_page(
        directory, IDS, pq.read_table(directory.table), directory.provenance(), _undrawn(directory, IDS, 3)
    )
    assert "the lines about 7 of them, chosen at random" in page


def test_pictures_that_do_not_fit_are_left_out_of_each_kind_alike(directory, few, monkeypatch):
    figures = _undrawn(directory, IDS, 6)
    table, provenance = pq.read_table(directory.table), directory.provenance()
    for most, kinds in ((1600, ["worst", "best", "random", "worst"]), (400, ["worst"]), (399, [])):
        monkeypatch.setattr(chosen, "_PICTURES", most)  # of 400 characters each
        page = fill_page(directory, IDS, table, provenance, figures)
        panels = Excerpt.of(table, IDS, 6).panels
        shown = [panels[image_id] for image_id in re.findall(r'<section class="card" id="(.*?)"', page)]
        assert sorted(shown) == sorted(kinds)


def test_a_choice_at_random_depends_on_the_ids_alone(few, monkeypatch):
    monkeypatch.setattr(chosen, "_CURVES", 7)
    some = at_random(IDS, 4)
    assert len(some) == 4
    assert some == sorted(some)
    assert sorted(at_random(IDS[::-1], 4)) == some
    assert len(averaged(IDS)) == 7
    assert averaged(IDS[:5]) == IDS[:5]


def test_columns_without_values_are_not_read(directory):
    whole, filled = pq.read_table(directory.table), RowGroups(directory.table)
    kept = [name for name in whole.column_names if whole.column(name).null_count < whole.num_rows]
    assert filled.column_names == kept
    assert len(kept) < whole.num_columns
    assert pa.Table.from_batches(filled.to_batches()).equals(whole.select(kept))
    few = kept[3:0:-1]  # in the order that is asked for
    assert pa.Table.from_batches(filled.select(few).to_batches(2)).equals(whole.select(few))
    assert [batch.num_rows for batch in filled.to_batches(max_chunksize=10)] == [10, 10, 7]


def test_rows_of_a_large_table_are_mappings(directory):
    table = pq.read_table(directory.table)
    expected = [row for row in table.to_pylist() if row["certificate"] == "pixel"]
    found = TableRows(RowGroups(directory.table)).of("pixel")
    assert [{name: row[name] for name in table.column_names} for row in found] == expected
    assert dict(found[0]).items() <= expected[0].items()


@pytest.fixture
def many(directory, tmp_path, monkeypatch):
    """Ids of a table of 9000 images: a thousand times the same nine."""
    table = pq.read_table(directory.table)
    ids = [f"{image_id}.{number}" for number in range(1000) for image_id in table.column("id").to_pylist()]
    whole = pa.concat_tables([table] * 1000).set_column(0, table.schema.field("id"), pa.array(ids))
    path, record = tmp_path / "many.parquet", directory.read(IDS[0])
    pq.write_table(whole, path, row_group_size=256 * 3)
    monkeypatch.setattr(directory, "table", path)
    monkeypatch.setattr(directory, "read", lambda image_id: record._replace(id=image_id))
    return list(dict.fromkeys(ids))


def test_no_more_than_pieces_of_the_table_are_in_memory(directory, many, monkeypatch):
    batches, facts, start = RowGroups.to_batches, directory.facts(IDS[0]), pa.total_allocated_bytes()
    held = []

    def watched(self, max_chunksize=None):
        for batch in batches(self, max_chunksize):
            held.append(pa.total_allocated_bytes() - start)
            yield batch

    def watched_facts(_):
        held.append(pa.total_allocated_bytes() - start)
        return facts

    monkeypatch.setattr(RowGroups, "to_batches", watched)
    monkeypatch.setattr(directory, "facts", watched_facts)
    figures = _undrawn(directory, many, 6)
    page = fill_page(directory, many, RowGroups(directory.table), directory.provenance(), figures)
    assert "of the 9000 images: the worst and the best" in page
    size = sum(batch.nbytes for batch in batches(RowGroups(directory.table)))
    assert 0 < max(held) < size / 4
