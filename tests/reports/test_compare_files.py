"""The files of a comparison: nothing breaks out, numbers lie on the safe side, figures show every run."""

import csv
import io
import re
from html.parser import HTMLParser

import attrs
import pytest
from fabricated_runs import make_run

from lit_certattr import jobs
from lit_certattr.reports.compare_figure import curves_figure, gaps_figure, scatter_figure
from lit_certattr.reports.compare_files import comparison_files
from lit_certattr.reports.compare_tables import machine_rows, overview, tables
from lit_certattr.reports.tabular import Entry, Grid, comma_separated, escape_latex, latex, markdown

EVIL = "x & <script>alert(1)</script> | _y $z$ #1 100% ~^\\"


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "a", kinds=("pixel", "claim"), noise=EVIL)
    make_run(place / "b", network=3)
    return jobs.compare([place / "a", place / "b"], names=["plain", EVIL])


@pytest.fixture(scope="module")
def files(found):
    return comparison_files(found)


def test_nothing_breaks_out_of_the_page(files):
    html = files["compare.html"].decode()
    page = _Page(html)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert page.text.count(EVIL) > 5, "names are shown as they are"
    assert all(one["href"].startswith("data:image/png;base64,") for tag, one in page.tags if tag == "image")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "default-src 'none'" in html


def test_names_in_markdown_and_latex(files):
    table = files["compare.md"].decode()
    assert r"x \& \<script\>alert(1)\</script\> \| \_y \$z\$ \#1 100% \~^\\" in table
    heads = [line for line in table.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in heads)
    text = files["compare.tex"].decode()
    name = r"x \& \textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} \textbar{} \_y \$z\$ \#1 "
    assert name + r"100\% \textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}")
    assert text.count("\\begin{tabular}{") == text.count("\\toprule")
    bare = re.sub(r"\\[a-zA-Z]+|\\[&%$#_{}\\]|\$[-\\a-z]*\$", "", text.replace("\\\\\n", "\n"))
    assert not re.search(r"[$#_^~<>|\\]", bare)


def test_a_row_of_latex_does_not_begin_with_an_argument():
    text = latex([Grid("t", ["run", "n"], [[Entry("[2cm]"), Entry("-1")], [Entry("*"), Entry("a-1")]])])
    assert "\n{[}2cm{]} & $-$1 \\\\\n{*} & a-1 \\\\\n" in text
    assert escape_latex("a-b") == "a-b"


def test_columns_of_latex_are_narrow():
    """Intervals stand below their number, and long heads and texts are broken: nine columns fit on a page."""
    number = Entry("76.0 %", "[70.8, 81.8]", "noise 0.1 %")
    heads = ["run", "Certified important, K = 25 % (pixel), radius 0.1", *["accuracy"] * 6, "checkpoint"]
    path = Entry("runs/noise/checkpoints/best.ckpt", text=True)
    text = latex([Grid("t", heads, [[Entry("a_long_name_of_a_run"), *[number] * 7, path]] * 2)])
    assert "\\footnotesize" in text
    assert "a\\_long\\_name\\_of\\_a\\_run & " in text
    below = r"\\ {\scriptsize {[}70.8, 81.8{]}} \\ {\scriptsize noise 0.1 \%}"
    assert text.count(rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}76.0 \% {below}\end{{tabular}}") == 14
    lines = [part for cell in re.findall(r"tabular}\[t\]{@{}[lr]@{}}(.*?)\\end", text) for part in cell.split(r" \\ ")]
    assert max(len(re.sub(r"\\scriptsize |[{}\\]", "", part)) for part in lines) <= 14
    assert text.count("\\addlinespace") == 1
    assert "\\footnotesize" not in latex([Grid("t", ["run", "n"], [[Entry("a"), number]])])


def test_rows_of_markdown_have_the_cells_of_the_head():
    text = markdown([Grid("a|b", ["run", "x|y"], [[Entry("r|s"), Entry("1", "[0, 2]", "noise 0")]])])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


def test_formulas_are_no_formulas_in_csv(files):
    assert comma_separated([{"run": '=HYPERLINK("x")', "n": -1.5}]) == 'run,n\n"\'=HYPERLINK(""x"")",-1.5\n'
    rows = list(csv.DictReader(io.StringIO(files["compare.csv"].decode())))
    assert {row["run"] for row in rows} == {"plain", EVIL}
    assert all(float(row["certified/one_share_k25_r0_10"]) > 0 for row in rows)
    apart = list(csv.DictReader(io.StringIO(files["differences.csv"].decode())))
    assert {row["baseline"] for row in apart} == {"plain"}


def test_numbers_in_full_for_machines(found):
    row = machine_rows(found)[0]
    measure = next(one for one in found.measures if one.key == "certified/one_share_k25_r0_10")
    mean = found.means[found.runs[0].name][measure]
    assert row[measure.key] == mean.value
    assert row[f"{measure.key}_low"] == mean.low
    assert row[f"{measure.key}_null"] == mean.null


def _changed(found, name, measure, values):
    """The comparison with other numbers in one run."""
    runs = [
        attrs.evolve(
            run,
            values={**run.values, measure: dict(zip(run.images, values, strict=True))},
            means={**run.means, measure: sum(values) / len(values)},
        )
        if run.name == name
        else run
        for run in found.runs
    ]
    return attrs.evolve(found, runs=runs)


def test_numbers_are_rounded_to_the_safe_side(found):
    share = found.by
    other = _changed(found, EVIL, share, [0.99999, 0.99999, 0.99999, 0.9])
    base = _changed(other, "plain", share, [0.9, 0.9, 0.9, 0.9])
    rows = {row[0].shown: row for row in overview(base).rows}
    assert rows[EVIL][1].shown == "97.4 %", "0.97499 is not 97.5 %"
    assert rows[EVIL][2].shown == "+7.4 points"
    assert rows["plain"][1].interval == "", "equal numbers have no bootstrap interval"
    low, high = map(float, rows[EVIL][1].interval.strip("[]").split(", "))
    mean = base.means[EVIL][share]
    assert low <= 100 * mean.low
    assert high >= 100 * mean.high


def test_all_tables_have_as_many_cells_as_heads(found):
    for grid in tables(found):
        assert {len(row) for row in grid.rows} == {len(grid.heads)}


def test_every_run_has_a_curve_and_a_point(found):
    curves = curves_figure(found)
    panel = next(axes for axes in curves.axes if axes.get_title() == "Certified important, K = 25 % (pixel)")
    solid = [line for line in panel.lines if line.get_label() in ("plain", EVIL)]
    assert len(solid) == 2
    assert len({line.get_color() for line in solid}) == 2
    radii, values = solid[0].get_data()
    run = next(run for run in found.runs if run.name == solid[0].get_label())
    measure = next(one for one in run.values if one.key == "certified/one_share_k25_r0_10")
    assert values[list(radii).index(0.1)] == pytest.approx(found.means[run.name][measure].value)
    assert scatter_figure(found) is not None
    assert gaps_figure(found) is None


def test_twenty_runs_have_twenty_looks(tmp_path):
    for number in range(20):
        make_run(tmp_path / f"run{number}", network=number % 2, count=2)
    found = jobs.compare([tmp_path / f"run{number}" for number in range(20)])
    lines = [line for line in curves_figure(found).axes[0].lines if line.get_label().startswith("run")]
    assert len({(line.get_color(), str(line.get_linestyle()), line._unscaled_dash_pattern) for line in lines}) == 20
