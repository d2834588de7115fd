"""Principal components of a nuisance: those that were put in are found, with their strengths."""

import numpy as np
import pytest
import torch

from lit_certattr.budgets.components import principal_components
from lit_certattr.errors import InputError
from lit_certattr.smoothing import NuisanceNoise

SHAPE = (2, 6, 5)


def scenes(count, fields, spreads, number=40, seed=0):
    """Series of random scenes with normal amounts of orthogonal fields."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        amounts = torch.from_numpy(rng.normal(size=(number, len(fields)))) * torch.tensor(spreads).double()
        found.append(torch.rand(SHAPE, dtype=torch.float64)[None] + torch.einsum("nm,mchw->nchw", amounts, fields))
    return found


def test_fields_and_strengths_that_were_put_in_are_found():
    ramp = torch.linspace(-1, 1, 5, dtype=torch.float64).expand(SHAPE)
    fields = torch.stack([torch.ones(SHAPE, dtype=torch.float64), ramp])
    found = principal_components(scenes(30, fields, [0.2, 0.05]), 2)
    assert found.tau == pytest.approx(0.2, rel=0.1)
    torch.testing.assert_close(found.fields[0], fields[0], atol=0.05, rtol=0)
    # With the same strength tau for both, the second field is smaller by the ratio of the spreads.
    torch.testing.assert_close(found.fields[1].abs(), 0.25 * ramp.abs(), atol=0.05, rtol=0)
    assert float(found.shares.sum()) == pytest.approx(1.0, abs=1e-9)


def test_they_are_those_of_the_covariance_matrix():
    series = [torch.rand(n, *SHAPE, dtype=torch.float64) for n in (2, 3, 6)]
    found = principal_components(series, 3)
    rest = torch.cat([one - one.mean(0) for one in series]).flatten(1).numpy()
    values, vectors = np.linalg.eigh(rest.T @ rest / (1 + 2 + 5))
    for mode in range(3):
        field = found.fields[mode].flatten().numpy() * found.tau
        expected = vectors[:, -1 - mode] * np.sqrt(values[-1 - mode])
        np.testing.assert_allclose(np.abs(field), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(found.shares, values[::-1][:3] / values.sum(), rtol=1e-10)
    assert float(found.fields[0].abs().max()) == pytest.approx(1.0)


def test_scenes_do_not_count_and_signs_are_fixed():
    series = scenes(3, torch.ones(1, *SHAPE, dtype=torch.float64), [0.1], number=4)
    shifted = [one + 0.3 * index for index, one in enumerate(series)]
    one, other = principal_components(series, 1), principal_components(shifted, 1)
    torch.testing.assert_close(one.fields, other.fields)
    assert float(one.fields.max()) == pytest.approx(1.0)


def test_a_law_takes_the_file(tmp_path):
    series = scenes(3, torch.ones(1, *SHAPE, dtype=torch.float64), [0.1], number=4)
    found = principal_components(series, 1)
    np.save(tmp_path / "modes.npy", found.fields.numpy())
    law = NuisanceNoise(0.25, images=str(tmp_path / "modes.npy"), images_tau=found.tau)
    grey = torch.full(SHAPE, 0.5, dtype=torch.float64)
    changed = grey + found.tau * found.fields[0]
    # One standard deviation of the mode is as long as one of the rest, or shorter if split between both.
    assert 0.2 < law.budget.length(grey, changed) < 0.25
    assert law.budget.split(grey, changed)["the modes of the file"] == pytest.approx(found.tau, rel=0.3)


@pytest.mark.parametrize(
    ("series", "count", "says"),
    [
        ([torch.rand(1, *SHAPE)], 1, "series 1 has one picture"),
        ([torch.rand(2, *SHAPE), torch.rand(2, 1, 6, 5)], 1, "series 2 has another size"),
        ([torch.rand(3, *SHAPE)], 3, "set count to at most 2"),
        ([torch.rand(1, *SHAPE).expand(3, -1, -1, -1)], 1, "nothing varies"),
    ],
)
def test_series_without_such_components_are_refused(series, count, says):
    with pytest.raises(InputError, match=says):
        principal_components(series, count)
