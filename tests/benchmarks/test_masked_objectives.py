"""The comparison on images with an object and a shortcut, at sizes that say nothing."""

import json

import torch

from benchmarks import masked_objectives
from benchmarks.masked_objectives import BOX, images_of, tagged
from lit_certattr.numbers import Box

TINY = ["--epochs=1", "--width=4", "--images=3", "--samples=64", "--seeds", "0"]


def test_the_digit_lies_in_the_box_and_the_tag_outside():
    images = tagged(torch.ones(10, 1, 8, 8), torch.arange(10))
    inside = Box(**BOX).mask((16, 16))
    assert (images[:, 0, inside] == 1).all()
    outside = images[:, 0] * ~inside
    assert (outside.sum((1, 2)) == 4).all()
    assert len({tuple(one.flatten().tolist()) for one in outside}) == 10


def test_tags_name_the_class_as_often_as_they_should():
    _, labels, tags, ids = images_of("train", 0.9, seed=0)
    assert len(set(ids)) == len(labels)
    assert abs(float((labels == tags).float().mean()) - 0.91) < 0.03
    _, labels, tags, _ = images_of("test", 0.0, seed=1)
    assert float((labels == tags).float().mean()) < 0.2


def test_run_and_table(tmp_path, capsys):
    arguments = [f"--output={tmp_path}", *TINY, "--only", "noise_gaussian", "claim_hinge"]
    masked_objectives.main(["run", *arguments])
    files = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert {one["label"] for one in files} == {"noise_gaussian", "claim_hinge"}
    assert all(0 <= value <= 1 for one in files for name, value in one["numbers"].items())
    capsys.readouterr()
    masked_objectives.main(["run", *arguments])
    assert not capsys.readouterr().out  # nothing was done again
    masked_objectives.main(["table", *arguments])
    out = capsys.readouterr().out
    found = {one["label"]: one["numbers"] for one in files}
    (line,) = [line for line in out.splitlines() if line.startswith("| `claim_hinge`")]
    assert line.split("|")[4].strip() == f"{100 * found['claim_hinge']['energy']:.1f}"
