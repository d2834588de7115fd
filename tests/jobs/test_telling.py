"""The table of a run may be anybody's: what is told at the end is read within bounds."""

import pytest
from fabricated_runs import make_run

from lit_certattr.errors import InputError
from lit_certattr.jobs.telling import tell_noisy_accuracy


def test_the_noisy_accuracy_is_told(tmp_path, capsys):
    tell_noisy_accuracy(make_run(tmp_path / "a", count=2), 2, progress=True)
    assert capsys.readouterr().err.startswith("noisy accuracy: ")


def test_a_table_larger_than_any_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="more than any run"):
        tell_noisy_accuracy(make_run(tmp_path / "a", count=2), 0, progress=True)


def test_a_damaged_table_is_refused(tmp_path):
    run = make_run(tmp_path / "a", count=2)
    run.table.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="no table, or damaged"):
        tell_noisy_accuracy(run, 2, progress=True)
