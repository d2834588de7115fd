"""Rows that an audit derives: the same values in the same order, and few of them as mappings."""

import math

import pytest

from lit_certattr.audit import derived_rows
from lit_certattr.audit.derived_rows import DerivedRows


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(derived_rows, "PIECE", 4)


def _row(number):
    return {
        "id": f"image-{number}",
        "certificate": "pixel",
        "level": None,
        "num_samples": number,
        "top_k": 0.1 * number,
        "mean_radius": math.inf if number == 3 else 1 / 3,
        "flags": "",
    }


@pytest.mark.parametrize("count", [0, 3, 4, 11])
def test_rows_come_again_as_they_went_in_any_number_of_times(few, count):
    derived = DerivedRows((0.5,))
    for number in range(count):
        derived.add([_row(number)], {})
    for _ in range(2):
        again = list(derived)
        assert [row["id"] for row in again] == [f"image-{number}" for number in range(count)]
        for number, row in enumerate(again):
            assert {name: value for name, value in row.items() if value is not None} == {
                name: value for name, value in _row(number).items() if value is not None
            }


def test_columns_of_a_kind_that_comes_later_are_kept(few):
    derived = DerivedRows(())
    for number in range(10):
        own = {"sharpness": float} if number > 6 else {}
        derived.add([_row(number) | ({"sharpness": 0.5} if own else {})], own)
    assert "sharpness" in derived.schema.names
    assert [row.get("sharpness") for row in derived] == [None] * 7 + [0.5] * 3


def test_most_rows_wait_packed(few):
    derived = DerivedRows(())
    for number in range(10):
        derived.add([_row(number)], {})
        assert len(derived._latest) < 4
    assert [type(piece).__name__ for piece in derived._pieces] == ["Buffer"] * 2
