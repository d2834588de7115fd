"""Finished runs of different images become one, as if one run had certified all of them."""

import shutil

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate
from lit_certattr.data import Digits, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.jobs.part import Part
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise

pytestmark = pytest.mark.slow

CPU = jobs.TrainerOptions(accelerator="cpu", devices=1, threads=1)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def _run(output, part=None, seed=0, alpha=0.05, data=None, **settings):
    certificates = [PixelCertificate([0.5, 0.2], alpha=alpha), CosineCertificate(alpha=0.05, num_selection=60)]
    certifier = Certifier(Gradient(), GaussianNoise(0.3), certificates, num_samples=200, batch_size=50, seed=seed)
    settings = {"network": _network(), "max_images": 5, "max_panels": 1} | settings
    return jobs.run(certifier, data or Digits(), output=output, part=part, trainer=CPU, progress=False, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole run, and its images in two parts."""
    folder = tmp_path_factory.mktemp("runs")
    _run(folder / "whole")
    for number in (1, 2):
        _run(folder / f"part{number}", f"{number}/2")
    return folder


def _content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "provenance.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _differing(one, two):
    first, second = _content(one), _content(two)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Groups of two images, so that finished groups are packed."""
    monkeypatch.setattr(RunDirectory, "group_size", 2)


def test_merged_parts_are_the_run_of_all_images_byte_for_byte(folder, tmp_path):
    _run(tmp_path / "whole")
    merged = jobs.merge([folder / "part2", folder / "part1"], tmp_path / "merged")  # in any order
    assert _differing(tmp_path / "whole", tmp_path / "merged") == []
    assert list((tmp_path / "merged" / "maps").glob("*.zip")), "full groups were to be packed"
    assert jobs.audit(merged.path).findings == []
    record, whole = merged.provenance(), RunDirectory(tmp_path / "whole").provenance()
    assert record["settings"] == whole["settings"]
    assert record["fingerprint"] == whole["fingerprint"]
    assert "part" not in record
    origins = record["merged"]
    assert [(one["num_images"], one["part"]["number"]) for one in origins] == [(2, 2), (3, 1)]
    assert [one["fingerprint"] for one in origins] == [
        RunDirectory(folder / f"part{number}").provenance()["fingerprint"] for number in (2, 1)
    ]
    assert len(record["sessions"]) == 2
    assert not merged.lock.path.exists()


@pytest.mark.parametrize("written", [1, 3, 4])
def test_a_merge_that_was_stopped_goes_on_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch, written):
    _run(tmp_path / "whole")
    parts, write, calls = [folder / "part1", folder / "part2"], RunDirectory.write, []

    def stopped(self, *arguments):
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(arguments)
        write(self, *arguments)

    monkeypatch.setattr(RunDirectory, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        jobs.merge(parts, tmp_path / "merged")
    monkeypatch.setattr(RunDirectory, "write", write)
    merged = jobs.merge(parts, tmp_path / "merged")
    assert _differing(tmp_path / "whole", merged.path) == []
    assert len(merged.provenance()["sessions"]) == 2


def test_runs_of_images_by_their_ids_follow_one_another_and_equal_images_count_once(folder, tmp_path):
    ids = Digits(max_images=5)
    ids.setup("predict")
    names = ids.predict_set.ids
    first, second = _run(tmp_path / "first", ids=names[:3]), _run(tmp_path / "second", ids=names[2:])
    merged = jobs.merge([first.path, second.path], tmp_path / "merged")
    assert pq.read_table(merged.table).equals(pq.read_table(folder / "whole" / "results.parquet"))
    assert merged.provenance()["settings"] == RunDirectory(folder / "whole").provenance()["settings"]
    assert jobs.audit(merged.path).findings == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 3}, "seed was 0, is 3"),
        ({"alpha": 0.01}, r"certificates\.pixel\.alpha was 0\.05, is 0\.01"),
        (
            {"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))},
            "other networks: the first weights that differ are those of 1",
        ),
        ({"targets": "label"}, "targets was predicted, is label"),
        ({"max_panels": 2}, "max_panels was 1, is 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_differs_is_named_and_nothing_is_written(folder, tmp_path, changed, said):
    _run(tmp_path / "other", "2/2", **changed)
    with pytest.raises(InputError, match=rf"part1 and \S+other cannot be merged: {said}.*; (.*)") as refused:
        jobs.merge([folder / "part1", tmp_path / "other"], tmp_path / "merged")
    words = str(refused.value)
    if "max_panels" in changed:
        assert "repeat the command of " in words
        _run(tmp_path / "other", "2/2")  # as the line says
        merged = jobs.merge([folder / "part1", tmp_path / "other"], tmp_path / "merged")
        assert pq.read_table(merged.table).equals(pq.read_table(folder / "whole" / "results.parquet"))
        return
    assert f"certify the images of {tmp_path / 'other'} again as those of {folder / 'part1'}" in words
    assert not (tmp_path / "merged").exists()


def test_what_is_no_set_of_finished_runs_is_refused(folder, tmp_path):
    part, output = folder / "part1", tmp_path / "merged"
    unfinished = tmp_path / "unfinished"
    shutil.copytree(folder / "part2", unfinished)
    (unfinished / "results.parquet").unlink()
    forged = tmp_path / "forged"
    shutil.copytree(folder / "part2", forged)
    (record := forged / "provenance.json").write_text(record.read_text().replace('"number": 2', '"number": 1'))
    three = _run(tmp_path / "three", "1/3")
    for runs, said in (
        ([part], "merge needs at least two runs: give the directories of all of them"),
        ([part, output], r"merged is one of the runs; choose another --output"),
        ([part, part], "part 2/2 of the images is missing: give its directory, too, or certify it with --part=2/2"),
        ([part, folder / "whole"], "whole is no part of the images, and others are: merge parts with parts"),
        (
            [part, three.path],
            r"not parts of the same images: \S+part1 is 1/2 of 5 images, .* 1/3 of 5 images; certify all parts",
        ),
        (
            [part, unfinished],
            "unfinished is no finished run that passes its audit .*parquet: is missing: .*: finish it with",
        ),
        (
            [part, forged],
            "provenance.json: the record of the part does not fit the 2 images of the run; certify this part",
        ),
        ([part, tmp_path / "nothing"], "nothing: there is no such folder"),
    ):
        with pytest.raises(InputError, match=said):
            jobs.merge(runs, output)
    assert not output.exists()
    shutil.copytree(folder / "whole", output)
    with pytest.raises(InputError, match="merged holds a run with other settings"):
        jobs.merge([_run(tmp_path / name, f"{name}/2", max_images=4).path for name in "12"], output)


class Inverted(Digits):
    """Digits of the same names in white on black."""

    def setup(self, stage):
        super().setup(stage)
        images = self.test_set
        self.test_set = SampleSet([1 - images[place].image for place in range(360)], images.targets, images.ids)


def test_images_of_which_two_runs_hold_different_pixels_are_named_with_the_remedy(folder, tmp_path):
    other = _run(tmp_path / "other", data=Inverted())
    names = ", ".join(pq.read_table(other.table)["id"].unique().to_pylist()[:3])
    with pytest.raises(InputError) as refused:
        jobs.merge([folder / "whole", other.path], tmp_path / "merged")
    assert str(refused.value) == (
        f"{folder / 'whole'} and {other.path} do not hold the same of 5 images ({names} and 2 more): the pixels of the "
        "first one differ; leave one of the two runs out, and certify its other images with --ids"
    )
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"part must be like 2/8, the second of eight parts, got '"):
        Part.read(text)


def test_parts_hold_each_image_once_and_none_is_empty_before_the_run():
    for count in (1, 2, 7, 100):
        for number in (1, 2, 3, 100):
            places = [place for part in range(1, number + 1) for place in Part(part, number).places(count)]
            assert sorted(places) == list(range(count))
    with pytest.raises(InputError, match="part 6/6 is empty: there are 5 images"):
        _run("nowhere", "6/6")
    with pytest.raises(InputError, match="give --part or --ids, not both"):
        _run("nowhere", "1/2", ids=["a"])
