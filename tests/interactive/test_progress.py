"""A bar where somebody looks, and none elsewhere."""

import io
import sys

from lit_certattr.interactive import progress
from lit_certattr.interactive.progress import sampling_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress, "_QUIET", 0)
    with sampling_bar(100) as on_block:
        on_block(40)
        on_block(60)
    assert "certifying" in terminal.getvalue()
    assert "sample/s" in terminal.getvalue()


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with sampling_bar(100) as on_block:
        on_block(100)
    assert "certifying" not in terminal.getvalue()


def test_no_bar_in_a_file_or_where_it_is_turned_off(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with sampling_bar(100) as on_block:
        assert on_block is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with sampling_bar(100, shown=False) as on_block:
        assert on_block is None


def test_a_program_without_a_console_has_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with sampling_bar(100) as on_block:
        assert on_block is None
