"""Configurations of earlier versions name classes where they lived then."""

import importlib

import pytest
from jsonargparse import get_loader

from lit_certattr.certification import Futility
from lit_certattr.cli import strict_yaml  # noqa: F401  (installs the loader)
from lit_certattr.jobs.trust import build
from lit_certattr.settings import moved

OLD = {
    "lit_certattr.stopping.Futility": {"gain": 0.1},
    "lit_certattr.stopping.Seconds": {"limit": 3.0},
}


@pytest.mark.parametrize("path", OLD)
def test_a_recorded_configuration_still_builds_what_it_names(path):
    made = build({"class_path": path, "init_args": OLD[path]}, "stopping")
    assert type(made).__name__ == path.rpartition(".")[2]


def test_a_yaml_file_of_an_earlier_version_is_read_as_today():
    read = get_loader("yaml")("stopping: [{class_path: lit_certattr.stopping.Futility, init_args: {gain: 0.1}}]")
    path = read["stopping"][0]["class_path"]
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is Futility


def test_every_room_that_classes_moved_to_is_there():
    for room in moved._MOVED.values():
        importlib.import_module(room.rstrip("."))


@pytest.mark.parametrize("path", ["torch.nn.ReLU", "lit_certattr.stopping", "mine.stopping.Rule", "Futility", ""])
def test_other_paths_stay_as_they_are(path):
    assert moved.current_path(path) == path
