"""Files that name the logits of a network: every form, and what is refused."""

import json

import pytest

from lit_certattr.data import ClassMap
from lit_certattr.errors import InputError

FORMS = {
    "a.json": json.dumps({"tabby": 281, "cock": 7}),
    "b.json": json.dumps({"281": ["n02123045", "tabby"], "7": ["n01514668", "cock"]}),
    "c.json": json.dumps({"281": "tabby", "7": "cock"}),
    "d.csv": "folder,logit\ntabby,281\ncock,7\n",
    "e.csv": "281,n02123045,tabby\n7,n01514668,cock\n",
    "f.tsv": "tabby\t281\ncock\t7\n",
    "g.txt": "tabby 281\ncock 7\n",
    "h.txt": "281 tabby\n7 cock\n",
}


@pytest.mark.parametrize("name", list(FORMS))
def test_every_form_gives_the_same_logits(tmp_path, name):
    (tmp_path / name).write_text(FORMS[name])
    found = ClassMap(tmp_path / name)
    assert found.indices(["cock", "tabby"]) == [7, 281]
    assert found.names == {281: "tabby", 7: "cock"}


def test_lines_and_lists_are_in_the_order_of_the_logits(tmp_path):
    (tmp_path / "synsets.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
    found = ClassMap(tmp_path / "synsets.txt")
    assert found.indices(["n01443537", "tench"]) == found.indices(["Carassius auratus", "n01440764"]) == [1, 0]
    (tmp_path / "names.json").write_text(json.dumps(["tench", "great white shark"]))
    assert ClassMap(tmp_path / "names.json").indices(["great white shark"]) == [1]
    (tmp_path / "accents.txt").write_text("cafe\u0301\nthe\u0301\n", encoding="utf-8")
    assert ClassMap(tmp_path / "accents.txt").indices(["th\u00e9"]) == [1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.json", '{"cat": "dog"}', "no number of a logit"),
        ("a.json", "5", "neither a mapping nor a list"),
        ("a.json", "[1, 2]", "no name of a class"),
        ("a.csv", "cat,dog\n", "a column of numbers"),
        ("a.txt", "", "names no class"),
        ("a.txt", "tabbi\ncock", r"does not name the class 'tabby'; did you mean tabbi\?"),
        ("a.txt", "tabby\ncock\ntabby", "gives the class 'tabby' the logits 0, 2"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        ClassMap(tmp_path / name).indices(["tabby"])
    with pytest.raises(InputError, match="there is no file"):
        ClassMap(tmp_path / "missing.json")


@pytest.mark.parametrize("ending", [".yaml", ".YML", ".toml"])
def test_another_format_is_not_read_as_lines(ending, tmp_path):
    path = tmp_path / f"classes{ending}"
    path.write_text("names:\n  0: cat\n  1: dog\n")
    with pytest.raises(InputError, match=rf"\{ending.lower()} is not read, but \.json, \.csv, \.tsv and lines of text"):
        ClassMap(path)


def test_an_address_is_not_downloaded():
    with pytest.raises(InputError, match=r"there is no file https://a\.org/a\.json: addresses are not downloaded"):
        ClassMap("https://a.org/a.json")
