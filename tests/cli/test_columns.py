"""Tables in narrow terminals: columns move to a further table before a word or a number is broken."""

import re

import pytest
from fabricated_runs import make_run

from lit_certattr.cli.certify import main
from lit_certattr.cli.columns import least_width, side_by_side, widened


def test_numbers_keep_their_lines_and_texts_their_words():
    assert least_width("mean radius", ["0.311\n[0.307, 0.316]"], is_text=False) == len("[0.307, 0.316]")
    assert least_width("setting", ["a longer text of words"], is_text=True) == len("setting")
    assert least_width("K = 25\u00a0%", [], is_text=True) == len("25\u00a0%")


def test_no_group_is_wider_than_the_room_unless_one_column_is():
    least = [18, 13, 16, 14, 11, 12, 15, 8, 7]
    groups = side_by_side(least, 80)
    assert [place for group in groups for place in group[1:]] == list(range(1, len(least)))
    assert all(1 + sum(least[place] + 3 for place in group) <= 80 for group in groups)
    assert side_by_side([5], 80) == [[0]]


def test_what_is_left_of_the_room_is_used_and_never_more():
    assert sum(width + 3 for width in widened([5, 6], [50, 60], 60)) + 1 == 60
    assert widened([5, 6], [7, 6], 60) == [7, 6]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_whole_words_in_every_line(width, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    for name, network in (("plain", 0), ("trained_with_noise", 3)):
        make_run(tmp_path / name, network=network, count=3)
    main(["compare", str(tmp_path / "plain"), str(tmp_path / "trained_with_noise")])
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert {"trained_with_noise", "different-class", "difference", "important,", "seconds"} <= words
    assert any("[0.307, 0.316]" in line for line in lines)
