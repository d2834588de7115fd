"""What a job deletes: what it wrote itself, and nothing else."""

import json

import pytest
import torch

import lit_certattr.records.evaluation_directory  # noqa: F401  (every kind of directory is known below)
from lit_certattr.records import RunDirectory
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.evaluation_directory import EvaluationDirectory
from lit_certattr.records.job_directory import JobDirectory
from lit_certattr.robustness import Candidate, ImageSandwich
from lit_certattr.settings.discovery import subclasses

KINDS = sorted(subclasses(JobDirectory), key=lambda kind: kind.__name__)
FOREIGN = ("notes.txt", "mine.json", "mine.safetensors", "mine.png", ".hidden", ".mine.txt.partial", "below/file.txt")


def _filled(kind, path, certified):
    """A directory of each kind with one image."""
    ((image_id, image, results, clean_map),) = certified()
    if kind is EvaluationDirectory:
        directory = EvaluationDirectory(path)
        directory.open({"a": 1}, config="a: 1\n")
        directory.write_batch([(image_id, {"label": 1, "correct": True})])
        directory.finish([image_id], [], {}, [])
        return directory
    run = RunDirectory(path)
    run.open({"a": 1})
    run.write(image_id, results, image, clean_map, {"label": 1})
    run.write_table([image_id])
    run.write_figure(f"{image_id}.png", b"png")
    run.write_figure("summary.png", b"png")
    run.attacks.open({"a": 1})
    candidate = Candidate(*[None] * len(Candidate._fields))
    run.attacks.write(image_id, ImageSandwich([candidate], torch.rand(1, 1, 8, 8), torch.rand(1, 8, 8), []))
    run.attacks.write_figure(f"{image_id}-perturbed.png", b"png")
    return run.attacks if kind is AttackDirectory else run


def _files(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_every_kind_is_tried():
    assert [AttackDirectory, EvaluationDirectory, RunDirectory] == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_overwriting_deletes_what_was_written_and_no_file_of_anybody_else(kind, tmp_path, certified):
    directory = _filled(kind, tmp_path / "run", certified)
    written = set(_files(directory.path))
    foreign = {}
    for folder in [directory.path, *directory.folders]:
        for name in FOREIGN:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("mine")
            foreign[(folder / name).relative_to(directory.path).as_posix()] = b"mine"
    directory.open({"a": 2}, overwrite=True)
    left = _files(directory.path)
    assert {name: left.get(name) for name in foreign} == foreign
    assert set(left) - set(foreign) <= {directory.record.name, "config.yaml"}
    assert written - set(left), "the other run is gone"
    assert directory.finished() == frozenset()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_overwritten_can_be_filled_again(kind, tmp_path, certified):
    directory = _filled(kind, tmp_path / "run", certified)
    directory.open({"a": 2}, overwrite=True)
    assert all(folder.is_dir() and not any(folder.iterdir()) for folder in directory.folders)
    assert directory.record.exists()
    assert not any(file.exists() for file in directory.files if file.name != "config.yaml")


def test_a_new_run_takes_its_attacks_away_but_no_file_beside_them(tmp_path, certified):
    run = _filled(RunDirectory, tmp_path / "run", certified)
    (run.attack / "notes.txt").write_text("mine")
    run.open({"a": 2}, overwrite=True)
    assert list(_files(run.attack)) == ["notes.txt"]
    (run.attack / "notes.txt").unlink()
    run.open({"a": 3}, overwrite=True)
    assert not any(path.is_file() for path in run.attack.rglob("*"))


def test_a_file_whose_end_is_damaged_is_still_ours(tmp_path, certified):
    run = _filled(RunDirectory, tmp_path / "run", certified)
    for path in (*run.maps.iterdir(), *run.images.iterdir()):
        path.write_bytes(path.read_bytes()[:-9])
    run.open({"a": 2}, overwrite=True)
    assert not any(run.maps.iterdir())
    assert not any(run.images.iterdir())


def test_a_folder_that_is_a_link_stays_and_so_does_what_it_leads_to(tmp_path, certified):
    directory = _filled(EvaluationDirectory, tmp_path / "run", certified)
    elsewhere = tmp_path / "elsewhere"
    directory.batches.rename(elsewhere)
    directory.batches.symlink_to(elsewhere)
    (elsewhere / "mine.json").write_text(json.dumps([{"id": "other"}]))
    directory.open({"a": 2}, overwrite=True)
    assert [path.name for path in elsewhere.iterdir()] == ["mine.json"]
    assert directory.batches.is_symlink()
