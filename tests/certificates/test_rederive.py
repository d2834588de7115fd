"""A result re-derives itself from its counts; one that was altered does not."""

import attrs
import pytest
import torch

from lit_certattr.certificates import PixelCertificate, Result, TopKOverlapCertificate
from lit_certattr.certificates.capabilities import Claims, CountsPixels, Rederivable
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import clopper_pearson_lower

CERTIFICATES = {
    "pixel": PixelCertificate([0.5, 3]),
    "pixel, high tau": PixelCertificate([0.25], tau=0.8, ties="positive"),
    "overlap": TopKOverlapCertificate(0.5),
    "published": TopKOverlapCertificate(0.25, sparsity=0.5, bound="published_hoeffding", ties="positive"),
}


def _result(name: str, num_samples: int = 300, constant: int = 0) -> Result:
    certificate = CERTIFICATES[name]
    accumulator = certificate.start(GaussianNoise(0.3), (4, 4))
    maps = torch.arange(16.0).view(4, 4) + 4 * torch.randn(
        num_samples, 4, 4, generator=torch.Generator().manual_seed(3)
    )
    maps[:constant] = 1.0
    accumulator.update(maps)
    return attrs.evolve(accumulator.compute(), sampling=certificate.conditions())


def _differences(a: Result, b: Result) -> list[str]:
    names = []
    for field in attrs.fields(type(a)):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if not (torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two):
            names.append(field.name)
    return names


@pytest.mark.parametrize("constant", [0, 7])
@pytest.mark.parametrize("num_samples", [20, 300])
@pytest.mark.parametrize("name", CERTIFICATES)
def test_an_honest_result_re_derives_itself(name, num_samples, constant):
    result = _result(name, num_samples, constant)
    assert _differences(result, result.rederive()) == []


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("pixel", "labels", lambda x: torch.where(x == -1, 1, x).to(torch.int8)),
        ("pixel", "radius", lambda x: x * 1.0000002),
        ("pixel", "threshold", lambda x: x - 1),
        ("pixel", "level", lambda x: x * 2),
        ("pixel", "sizes", lambda _: (8, 4)),
        ("pixel", "flags", lambda _: ("nothing to see",)),
        ("overlap", "displacement", lambda x: x + 1e-6),
        ("overlap", "inside", lambda x: x.flip(0)),
        ("overlap", "size", lambda x: x),
        ("overlap", "kept", lambda x: x + 1),
    ],
)
def test_an_altered_outcome_is_named(name, field, value):
    result = _result(name)
    altered = attrs.evolve(result, **{field: value(getattr(result, field))})
    expected = [] if field == "size" else [field]  # the size is tied to the shape; unchanged here as the control
    assert _differences(altered, altered.rederive()) == expected


@pytest.mark.parametrize(("field", "value"), [("alpha", 0.05), ("sigma", 0.6)])
@pytest.mark.parametrize("name", CERTIFICATES)
def test_an_altered_setting_gives_other_numbers(name, field, value):
    altered = attrs.evolve(_result(name), **{field: value})
    assert _differences(altered, altered.rederive())


@pytest.mark.parametrize("name", ["pixel", "overlap"])
def test_votes_that_no_masks_can_have_given_are_refused(name):
    result = _result(name)
    one = torch.zeros_like(result.votes)
    one.view(-1)[0] = 1
    with pytest.raises(InputError, match="add up to"):
        attrs.evolve(result, votes=result.votes + one).rederive()
    with pytest.raises(InputError, match="votes of"):
        attrs.evolve(result, votes=result.votes * 10).rederive()
    with pytest.raises(InputError, match="votes of"):
        attrs.evolve(result, votes=-result.votes).rederive()


@pytest.mark.parametrize("name", ["overlap", "published"])
def test_a_hidden_constant_map_is_found(name):
    result = _result(name, constant=7)
    assert result.num_constant == 7
    hidden = attrs.evolve(result, flags=())
    assert _differences(hidden, hidden.rederive()) == ["flags"]
    if name == "overlap":  # there every other map has given exactly as many votes
        with pytest.raises(InputError, match="add up to"):
            attrs.evolve(result, flags=(), num_constant=0).rederive()


def test_hidden_and_invented_ties_are_found():
    certificate = CERTIFICATES["overlap"]
    accumulator = certificate.start(GaussianNoise(0.3), (4, 4))
    accumulator.update(torch.arange(16.0).view(4, 4).div(4).round().expand(50, 4, 4))
    result = accumulator.compute()
    assert result.tied == 5 / 16  # 6 to 10 round to the threshold, where three places are left
    assert result.flags == ("31.2% of the pixels tie across the threshold of an average map (tie rule: index)",)
    hidden = attrs.evolve(result, flags=())
    assert hidden.rederive().flags == result.flags
    invented = attrs.evolve(_result("overlap"), flags=result.flags)
    assert invented.rederive().flags == ()


def test_the_claims_are_those_of_the_theorem():
    result = _result("pixel")
    claims = result.claims()
    for label, name in ((1, "important"), (0, "unimportant")):
        assert torch.equal(claims[f"vote for {name}"] > 0, result.labels == label)
    k, i, j = (result.labels == 1).nonzero()[0].tolist()
    expected = clopper_pearson_lower(int(result.votes[k, i, j]), 300, result.level)
    assert float(claims["vote for important"][k, i, j]) == pytest.approx(float(expected), rel=1e-14)
    result = _result("overlap")
    share, claims = result.votes.double() / 300, result.claims()
    assert (claims["mean of a pixel"] <= share).all()
    assert (1 - claims["one minus the mean of a pixel"] >= share).all()


def test_a_kind_without_the_methods_offers_nothing():
    class Other(Result):
        kind = "other"

        def statement(self, radius=None):
            return "nothing"

    other = Other(num_samples=1, alpha=0.1, sigma=0.1, noise="GaussianNoise")
    for capability in (Rederivable, Claims, CountsPixels):
        assert not isinstance(other, capability)
        assert all(isinstance(_result(name), capability) for name in CERTIFICATES)
