"""A kind from outside the package whose presentation fails loses its part of the page, and nothing else is lost."""

import warnings
from inspect import getmembers, isfunction

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.certificates import PixelResult, Presentation, Result, present
from lit_certattr.certificates.guarded import Guarded, in_order, own_columns, presentation_of
from lit_certattr.certificates.presentation import Overlay, Picture, Sheet, SheetColumn
from lit_certattr.records import RunDirectory
from lit_certattr.records.table import rows, schema
from lit_certattr.reports.figures import dataset_figure, image_panel
from lit_certattr.reports.html import write_report
from lit_certattr.reports.page import render

IDS = ["image-0", "image-1"]


@attrs.frozen(eq=False)
class VoteResult(Result):
    kind = "vote"
    statistics = ("votes",)
    votes: torch.Tensor

    def statement(self, radius=None):
        return "The votes are counted."


def result(kind=VoteResult, votes=3):
    return kind(votes=torch.full((2, 2), votes), num_samples=10, alpha=0.001, sigma=0.25, noise="GaussianNoise")


def failing(*names, base=Presentation):
    """A presentation in which the named methods fail, each class with warnings of its own."""

    def fail(self, *_):
        raise ValueError("a mistake")

    return type("Mistaken", (base,), dict.fromkeys(names, fail))


class Whole(Presentation):
    """One that shows everything."""

    place = 3

    def columns(self, radii):
        return {"votes": int, "share": float, "name": str}

    def rows(self, radii):
        return [{"votes": 12, "share": np.float32(0.5), "name": "four"}]

    def general(self):
        return "Votes."

    def notes(self):
        return ["A note."]

    def summary(self):
        return "12 votes"

    def nothing(self):
        return ""

    def tiles(self, table, suffix):
        return []

    def sheet(self, names):
        return Sheet("Votes", [SheetColumn("votes", "votes")], "All of them.")

    def pictures(self, suffix):
        return [Picture(lambda axes, slot: axes.imshow(self.result.votes))]

    def overlays(self, suffix):
        return []

    def plots(self, suffix):
        return [lambda axes: axes.plot([0, 1])]

    def radii(self):
        return np.linspace(0, 1, 5)

    def trends(self, radii):
        return [np.ones((len(radii), 1))]

    def paint_trend(self, axes, index, curves, suffix):
        axes.plot(curves[0])


ASKED = {
    "columns": lambda one: one.columns([0.1]),
    "rows": lambda one: one.rows([0.1]),
    "statement": lambda one: one.statement(),
    "general": lambda one: one.general(),
    "plain": lambda one: one.plain(),
    "notes": lambda one: one.notes(),
    "summary": lambda one: one.summary(),
    "nothing": lambda one: one.nothing(),
    "tiles": lambda one: one.tiles(None, ""),
    "sheet": lambda one: one.sheet(["votes"]).columns,
    "pictures": lambda one: one.pictures(""),
    "overlays": lambda one: one.overlays(""),
    "plots": lambda one: one.plots(""),
    "radii": lambda one: one.radii().tolist(),
    "trends": lambda one: one.trends(np.zeros(3)),
}


def test_every_method_is_asked():
    painting = {"paint_trend", "figure", "__init__"}
    assert set(ASKED) | painting == {name for name, _ in getmembers(Presentation, isfunction)}


@pytest.mark.parametrize("method", sorted(set(ASKED) - {"statement"}))
def test_a_method_that_fails_is_replaced_by_the_default_with_one_warning(method):
    kind = failing(method, base=Whole)
    with pytest.warns(UserWarning, match=rf"Mistaken, {method}\(\): failed and is left out \(ValueError: a mistake\)"):
        shown = ASKED[method](Guarded(result(), kind))
    default = ASKED[method](Presentation(result()))
    assert method in ("columns", "rows", "sheet") or shown == default
    with warnings.catch_warnings(record=True) as more:
        warnings.simplefilter("always")
        ASKED[method](Guarded(result(), kind))
    assert not more


def test_one_that_works_is_shown_unchanged_and_without_a_warning():
    one = Guarded(result(), Whole)
    assert one.place == 3
    assert one.columns([]) == {"votes": int, "share": float, "name": str}
    assert one.rows([]) == [{"level": 0, "votes": 12, "share": 0.5, "name": "four"}]
    assert (one.general(), one.statement(), one.notes()) == ("Votes.", "The votes are counted.", ["A note."])
    assert one.sheet(["votes"]) == Whole(result()).sheet(["votes"])
    assert render(one.figure())


def test_kinds_of_the_package_are_not_guarded(certified):
    ((_, _, results, _),) = certified()
    assert not any(isinstance(presentation_of(one), Guarded) for one in results.values())
    assert type(presentation_of(results["pixel"])) is type(present(results["pixel"]))

    class Mine(PixelResult):
        pass

    mine = Mine(**{field.name: getattr(results["pixel"], field.name) for field in attrs.fields(PixelResult)})
    assert isinstance(presentation_of(mine), Guarded)
    assert presentation_of(mine).rows([0.1]) == presentation_of(results["pixel"]).rows([0.1])


@pytest.mark.parametrize(
    ("row", "warning", "left"),
    [
        ({"odd": 1, "votes": 1, "share": 1, "name": ""}, "odd: not in the table; a column of your own must be in", 1),
        ({"votes": 1, "name": "a"}, "share: declared by columns\\(\\), but in no row; the columns are empty", 1),
        ({"votes": "many", "share": 1, "name": ""}, "votes must be int, got 'many'; the cell is empty", None),
        ({"votes": 2**70, "share": 1, "name": ""}, "votes must be int", None),
        ({"votes": 1.5, "share": 1, "name": ""}, "votes must be int, got 1.5", None),
        ({"votes": 1, "share": [1, 2], "name": ""}, "share must be float", 1),
        ({"votes": 1, "share": 1, "name": 3}, "name must be str", 1),
        ({"votes": 1, "share": 1, "name": "", "level": "low"}, "level must be int", 1),
        ({"votes": 1, "share": 1, "name": "", "id": "another"}, "id: not in the table", 1),
    ],
)
def test_a_row_that_does_not_fit_its_columns_costs_one_cell_and_one_line(row, warning, left):
    kind = type("Mistaken", (Whole,), {"rows": lambda self, radii: [row]})
    present.register(mine := attrs.frozen(eq=False)(type("MyResult", (VoteResult,), {})), kind)
    with pytest.warns(UserWarning, match=rf"Mistaken, rows\(\): .*{warning}"):
        (found,) = rows("one", {"vote": result(mine)}, {})
    assert found["votes"] == left
    assert found["id"] == "one"
    assert pa.Table.from_pylist([found], schema=schema([], own_columns([result(mine)], []))).num_rows == 1


@pytest.mark.parametrize("given", [[], None, [3]])
def test_no_rows_are_no_way_to_lose_an_image(given):
    kind = type("Mistaken", (Whole,), {"rows": lambda self, radii: given, "columns": lambda self, radii: {}})
    with pytest.warns(UserWarning, match=r"Mistaken, rows\(\): failed"):
        assert Guarded(result(), kind).rows([]) == [{"level": 0}]


def test_numbers_of_arrays_and_tensors_are_numbers():
    row = {"votes": torch.tensor(7), "share": np.array([0.25]), "name": np.str_("a")}
    kind = type("Mistaken", (Whole,), {"rows": lambda self, radii: [row]})
    assert Guarded(result(), kind).rows([]) == [{"level": 0, "votes": 7, "share": 0.25, "name": "a"}]


def test_two_kinds_that_give_a_column_different_types_share_it():
    made = {}
    for kind, value in ((int, 1), (float, 0.5), (str, "a")):
        mine = attrs.frozen(eq=False)(type(f"Of{kind.__name__}", (VoteResult,), {}))
        shows = {"columns": lambda self, radii, kind=kind: {"mine": kind}}
        shows["rows"] = lambda self, radii, value=value: [{"level": 0, "mine": value}]
        present.register(mine, type("Shows", (Presentation,), shows))
        made[kind] = result(mine)
    numbers, texts = {"a": made[int], "b": made[float]}, {"a": made[float], "b": made[str]}
    assert own_columns(numbers.values(), []) == {"mine": float}
    assert [row["mine"] for row in rows("one", numbers, {})] == [1.0, 0.5]
    assert own_columns(texts.values(), []) == {"mine": str}
    assert [row["mine"] for row in rows("one", texts, {})] == ["0.5", "a"]


@pytest.mark.parametrize(
    "paint",
    [
        lambda axes, *_: 1 / 0,
        lambda axes, *_: axes.text(0, 0, r"$\nosuch$"),
        lambda axes: axes.plot([1], [2, 3]),
    ],
)
def test_a_picture_or_curve_that_cannot_be_painted_stays_empty(paint):
    shows = {"pictures": lambda self, suffix: [Picture(paint)], "plots": lambda self, suffix: [paint]}
    shows["overlays"] = lambda self, suffix: [Overlay("Over", paint)]
    shows |= {"paint_trend": lambda self, axes, index, curves, suffix: paint(axes)}
    present.register(mine := attrs.frozen(eq=False)(type("MyResult", (VoteResult,), {})), type("S", (Whole,), shows))

    def draw():
        own = {"vote": result(mine)}
        return image_panel(torch.rand(1, 2, 2), own), dataset_figure([own] * 2)

    with pytest.warns(UserWarning, match="failed and is left out") as warned:
        panel, summary = draw()
    assert sorted(str(one.message).split(", ")[1].partition("()")[0] for one in warned) == [
        "overlays",
        "paint_trend",
        "pictures",
        "plots",
    ]
    assert render(panel, dpi=20)
    assert render(summary, dpi=20)


def test_curves_of_different_shapes_are_left_out_of_the_summary():
    shapes = iter([1, 1, 2])
    shows = {"trends": lambda self, radii: [np.ones((len(radii), next(shapes)))]}
    present.register(mine := attrs.frozen(eq=False)(type("MyResult", (VoteResult,), {})), type("S", (Whole,), shows))
    assert not dataset_figure([{"vote": result(mine)}] * 3).axes[0].lines


def test_a_presentation_that_cannot_be_made_is_the_default():
    def make(self, result):
        raise TypeError("no arguments")

    kind = type("Mistaken", (Presentation,), {"__init__": make})
    with pytest.warns(UserWarning, match=r"Mistaken, presentation\(\): failed"):
        assert Guarded(result(), kind).general() == "The votes are counted."


def test_a_run_in_which_everything_of_a_kind_fails_is_finished(certified, tmp_path):
    def statement(self, radius=None):
        raise ValueError("no words")

    mine = attrs.frozen(eq=False)(type("SilentResult", (VoteResult,), {"statement": statement}))
    present.register(mine, failing(*set(ASKED) - {"statement"}, "paint_trend"))
    directory = RunDirectory(tmp_path / "run")
    directory.open({"sigma": 0.25})
    for image_id, image, results, clean in certified(2, names=("pixel",)):
        mixed = results | {"mine": attrs.evolve(result(mine), sampling=results["pixel"].sampling)}
        directory.write(image_id, mixed, image, clean, {"label": 0, "prediction": 0})

    def finish():
        directory.write_table(IDS)
        write_report(directory, IDS, max_panels=1)

    with pytest.warns(UserWarning, match="failed and is left out") as warned:
        finish()
    said = [str(one.message) for one in warned]
    assert len(said) == len({one.partition("():")[0] for one in said}), "one line for each method"
    assert any("SilentResult, statement(): failed and is left out (ValueError: no words)" in one for one in said)
    assert "Its statement cannot be shown, because SilentResult.statement() failed." in directory.report.read_text()
    assert [row["certificate"] for row in pq.read_table(directory.table).to_pylist()] == ["mine", "pixel", "pixel"] * 2
    assert list(in_order(directory.read(IDS[0]).results)) == ["pixel", "mine"]
