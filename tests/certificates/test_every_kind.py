"""What every kind of certificate of this package owes; they are found among its classes, so a new one is checked."""

from functools import cache

import attrs
import pyarrow as pa
import pytest
import torch

from lit_certattr import certificates
from lit_certattr.certificates import (
    Certificate,
    Presentation,
    Result,
    UnknownResult,
    load_results,
    present,
    save_results,
)
from lit_certattr.certificates.capabilities import Claims, CountsPixels, KeepsCosine, Rederivable
from lit_certattr.certificates.columns import common_columns
from lit_certattr.metrics import metrics_for
from lit_certattr.records.table import rows, schema
from lit_certattr.reports import image_panel
from lit_certattr.reports.figures import dataset_figure
from lit_certattr.settings.discovery import is_own, subclasses
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock, uniform_levels

KINDS = [kind for kind in subclasses(Certificate) if is_own(kind)]
pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@cache
def result(kind):
    """A certificate of maps that vary with the noise, and of a probability that does."""
    certificate, generator = kind(), torch.Generator().manual_seed(0)
    noise = 0.25 * torch.randn(3000, 1, 8, 8, generator=generator)
    images = torch.linspace(0, 2, 64).view(1, 8, 8) + noise
    probability = (images[:, 0, 7, 7] - 2).mul(4).sigmoid()
    draw = Draw(
        torch.nn.Flatten(), images, 0, images[0], 0.25, lambda _, images, __: images[:, 0].abs(), lambda *_: probability
    )
    accumulator = certificate.start(GaussianNoise(0.25), (8, 8), 64)
    accumulator.update(MapBlock(draw, 0, uniform_levels(0, "image", 0, 3000)))
    return attrs.evolve(accumulator.compute(), sampling={"target": 1, **certificate.conditions()})


def test_it_says_what_its_results_are_and_is_public(kind):
    assert type(result(kind)) is kind.result
    for one in (kind, kind.result):
        assert one.__name__ in certificates.__all__
    assert [other.name for other in KINDS].count(kind.name) == 1
    assert [other.kind for other in subclasses(Result) if is_own(other)].count(kind.result.kind) == 1


def test_it_can_stop_the_sampling_if_it_may_be_asked_at_looks(kind):
    found = result(kind)
    assert isinstance(found, CountsPixels | KeepsCosine)
    if isinstance(found, CountsPixels):
        counts = [found.certified_count(radius) for radius in (0.0, 0.1, 100.0)]
        assert all(0 <= count <= total for count, total in counts)
        assert counts[0][0] >= counts[1][0] >= counts[2][0] == 0


def test_it_can_be_derived_again_and_contradicted(kind):
    found = result(kind)
    assert isinstance(found, Rederivable)
    again = found.rederive()
    for field in attrs.fields(type(found)):
        one, two = getattr(found, field.name), getattr(again, field.name)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two, field.name
    assert isinstance(found, Claims)
    claimed, allowed = found.claims(), found.upper_bounds(found, 1e-6)
    assert claimed.keys() == allowed.keys()
    for name, lower in claimed.items():
        assert lower.dtype == torch.float64
        assert lower.shape == allowed[name].shape
        assert bool((lower <= allowed[name]).all()), "the samples contradict themselves"
    assert any(bool((lower > 0).any()) for lower in claimed.values())


def test_its_statistics_are_tensors_that_it_holds(kind):
    tensors = {field.name for field in attrs.fields(kind.result) if field.type is torch.Tensor}
    assert kind.result.statistics
    assert set(kind.result.statistics) <= tensors


def test_it_comes_back_from_a_file(kind, tmp_path):
    save_results(tmp_path / "file", {"name": result(kind)})
    again = load_results(tmp_path / "file")["name"]
    assert type(again) is kind.result
    assert again.statement() == result(kind).statement()
    assert not isinstance(again, UnknownResult)


def test_it_fills_columns_of_the_table(kind):
    found = result(kind)
    assert found.map_shape == (8, 8)
    entries = list(rows("image", {"name": found}, {"label": 1, "prediction": 1}, (0.1,)))
    table = pa.Table.from_pylist(entries, schema=schema((0.1,)))
    filled = {name for entry in entries for name in entry}
    assert filled <= set(table.column_names), "columns that the table does not have"
    assert present(found).columns((0.1,)) == {}, "kinds of this package fill the columns of every table"
    assert all(name in common_columns((0.1,)) for name in filled)
    assert [entry["level"] for entry in entries] == list(range(len(entries)))


def test_it_is_shown(kind):
    found, image = result(kind), torch.rand(1, 8, 8)
    shown = present(found)
    assert type(shown) is not Presentation
    assert shown.general() != found.statement()
    assert shown.summary()
    entries = list(rows("image", {"name": found}, {}, (0.1,)))
    table = pa.Table.from_pylist(entries, schema=schema((0.1,)))
    assert shown.tiles(table.to_pylist(), "")
    keys = {column.key for column in shown.sheet(table.column_names).columns}
    assert keys <= {name for entry in entries for name in entry}
    assert len(shown.plots("")) == len(shown.trends(shown.radii())) >= 1
    assert len(image_panel(image, {"name": found}).axes) > 2
    alone = [axes.get_title() for axes in dataset_figure([{"name": found}]).axes]
    twice = [axes.get_title() for axes in dataset_figure([{"a": found, "b": found}]).axes]
    assert all(any(one.startswith(title) and one != title for one in twice) for title in alone)
    assert found.plot().axes


def test_it_is_measured(kind):
    metrics = metrics_for(kind(), [0.01, 0.1])
    metrics.update([result(kind), result(kind)])
    values = metrics.compute()
    assert values
    assert all(float(value) >= 0 for value in values.values())
