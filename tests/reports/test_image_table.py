"""The table with pictures of single images."""

import numpy as np
import pytest
from fabricated_runs import make_run

from lit_certattr.comparison.reading import open_run, read_run
from lit_certattr.reports.image_table import image_table


def test_pictures_and_numbers_of_each_image(tmp_path):
    directory = make_run(tmp_path / "run", count=3)
    run = read_run(open_run(directory.path, "run"), [0.1])
    columns, rows = image_table(directory, ["image-1", "image-2"], run, 0.1)
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["id"] for row in table] == ["image-1", "image-2"]
    assert [row["label"] for row in table] == [1, 2]

    record = directory.read("image-1")
    labels = record.results["pixel"].labels_at(0.1)[1]
    assert set(labels.unique().tolist()) > {-1}, "something is certified, and something is not"
    gray = (255 * record.image[0].numpy()).round()
    for name in ("image", "map", "certified/labels_k25_r0_10"):
        assert table[0][name].shape == (128, 128, 3)
        assert table[0][name].dtype == np.uint8
    picture, painted = (table[0][name][8::16, 8::16].astype(int) for name in ("image", "certified/labels_k25_r0_10"))
    assert np.array_equal(picture[:, :, 0], gray)
    assert np.array_equal((painted == picture).all(axis=2), (labels == -1).numpy()), "only certified pixels are painted"
    red, blue = painted[:, :, 0] - picture[:, :, 0], painted[:, :, 2] - picture[:, :, 2]
    assert (red[labels == 1] > blue[labels == 1]).all()
    assert (red[labels == 0] < blue[labels == 0]).all()

    share = float(record.results["pixel"].one_share(0.1)[1])
    assert table[0]["certified/one_share_k25_r0_10"] == pytest.approx(share)
