"""The table of what a denoiser changes: intervals of differences, and overlaps of images of one kind and of others."""

import json

import numpy as np
import pytest

from benchmarks.denoised import _bootstrap, _numbers, _overlaps, main


def line(image: str, accuracy: float, top: list[int], variant: str = "plain") -> dict:
    key = ["EfficientNet-Lite0", "LRP", variant, image]
    shares = {"certified": [0.5, 0.3, 0.1], "agreement": 0.7, "seconds": 2.0, "values": 16}
    return {"key": key, "noisy accuracy": accuracy, "top": top, **shares}


def images(change: float = 0.0, variant: str = "plain") -> list[dict]:
    tops = {"a__1.png": [0, 1], "a__2.png": [0, 1], "b__1.png": [1, 2], "b__2.png": [3, 4]}
    return [line(name, 0.1 * place + change, top, variant) for place, (name, top) in enumerate(tops.items())]


def test_overlaps_of_one_kind_and_of_others_are_apart():
    same, other = _overlaps(images())
    assert sorted(same[~np.isnan(same)]) == [0, 1]
    assert sorted(other[~np.isnan(other)]) == [0, 0, 0.5, 0.5]
    assert _numbers(images())[-2:] == [0.5, 0.25]


def test_images_outside_of_sub_folders_are_of_no_kind():
    same, other = _overlaps([line("1.png", 0.1, [0, 1]), line("2.png", 0.1, [0, 1])])
    assert np.isnan(same).all()
    assert other[0, 1] == 1


def test_intervals_are_of_paired_differences():
    low, high = _bootstrap((images(), images(0.25)))  # the same change of every image, though these differ much
    assert low[0] == pytest.approx(0.25)
    assert high[0] == pytest.approx(0.25)


def test_intervals_draw_whole_kinds():
    after = images()
    for one in after[:2]:
        one["noisy accuracy"] += 1  # two kinds, one of which changes: any image may be drawn only with its kind
    low, high = _bootstrap((images(), after))
    assert (low[0], high[0]) == (pytest.approx(0), pytest.approx(1))


def test_the_table_takes_images_of_which_both_variants_are_there(tmp_path, capsys):
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    files[0].write_text("".join(json.dumps(one) + "\n" for one in images()))
    half = '{"key": ["EfficientNet-Lite0"'  # of a run that was stopped while it wrote
    files[1].write_text("".join(json.dumps(one) + "\n" for one in images(0.4, "denoised")[:3]) + half)
    assert main(["table", "--output", *map(str, files)]) == 1  # LRP certifies as much as before
    out = capsys.readouterr().out
    assert "| EfficientNet-Lite0, LRP (3) | denoised | 0.50 |" in out
    assert "| EfficientNet-Lite0, LRP (3) | denoised | +0.40 [+0.40, +0.40] |" in out
    assert "EfficientNet-Lite0, LRP, denoised: noisy accuracy x 5.00 [" in out
