"""The files of an evaluation are not trusted: what is no honest file is refused, or evaluated again; none blocks."""

import json
import os

import pytest

from lit_certattr.errors import InputError
from lit_certattr.records.evaluation_directory import EvaluationDirectory

SETTINGS = {"seed": 0}


@pytest.fixture
def directory(tmp_path):
    directory = EvaluationDirectory(tmp_path / "run")
    directory.open(SETTINGS)
    directory.write_batch([("a", {"x": 1.0})])
    return directory


def test_settings_that_never_end(directory):
    with directory.settings_file.open("wb") as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(
        InputError, match=r"settings.json is damaged .*more than the 4,194,304 that such a file may have"
    ):
        directory.open(SETTINGS)


def test_settings_nested_too_deeply(directory):
    directory.settings_file.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        directory.open(SETTINGS)


def test_settings_that_are_a_pipe(directory):
    directory.settings_file.unlink()
    os.mkfifo(directory.settings_file)
    with pytest.raises(InputError, match=r"settings.json is damaged .*is a named pipe, not a file"):
        directory.stored_settings()


def pipe(path):
    os.mkfifo(path)


def endless(path):
    with path.open("wb") as file:
        file.truncate(2**33)


def deep(path):
    path.write_text("[" * 200_000)


@pytest.mark.parametrize("make", [pipe, endless, deep])
def test_a_batch_that_is_no_honest_file_is_evaluated_again(directory, make):
    make(directory.batches / "b.json")
    assert list(directory.rows()) == ["a"]


def test_rows_come_back_as_they_were_written(directory):
    assert directory.rows() == {"a": {"id": "a", "x": 1.0}}
    assert json.loads(directory.settings_file.read_text()) == SETTINGS


@pytest.mark.parametrize("content", ["", "[1]", '{"wandb_run": 1, "wandb_run": 2}', "{}", "[" * 200_000])
def test_a_record_of_wandb_that_cannot_be_read_is_none(directory, content):
    assert directory.wandb_run() is None
    directory.wandb.write_text(content)
    assert directory.wandb_run() is None


def test_the_run_of_wandb_is_kept_until_the_evaluation_is_deleted(directory):
    directory.log_wandb("1a2b3c4d")
    directory.open(SETTINGS)
    assert directory.wandb_run() == "1a2b3c4d"
    directory.open(SETTINGS, overwrite=True)
    assert directory.wandb_run() is None
