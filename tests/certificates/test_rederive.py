"""A result re-derives itself from its counts; one that was altered does not."""

import attrs
import pytest
import torch

from lit_certattr.certificates import PixelCertificate, Result, TopKOverlapCertificate
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
    certificate.bind(GaussianNoise(0.3), (4, 4))
    maps = torch.arange(16.0).view(4, 4) + 4 * torch.randn(
        num_samples, 4, 4, generator=torch.Generator().manual_seed(3)
    )
    maps[:constant] = 1.0
    certificate.update(maps)
    return attrs.evolve(certificate.compute(), sampling=certificate.conditions())


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


def test_a_hidden_constant_map_is_found():
    result = _result("overlap", constant=7)
    hidden = attrs.evolve(result, flags=())
    assert _differences(hidden, hidden.rederive()) == ["flags"]


def test_the_claims_are_those_of_the_theorem():
    result = _result("pixel")
    claims = result.claims()
    for label, name in ((1, "important"), (0, "unimportant")):
        assert torch.equal(claims[name].lower > 0, result.labels == label)
    k, i, j = (result.labels == 1).nonzero()[0].tolist()
    expected = clopper_pearson_lower(int(result.votes[k, i, j]), 300, result.level)
    assert float(claims["important"].lower[k, i, j]) == pytest.approx(float(expected), rel=1e-14)
    claims = _result("overlap").claims()
    share = claims["selected"].counts.double() / 300
    assert (claims["selected"].lower <= share).all()
    assert (1 - claims["left out"].lower >= share).all()


def test_a_kind_without_the_method_says_so():
    class Other(Result):
        kind = "other"

    with pytest.raises(NotImplementedError):
        Other(num_samples=1, alpha=0.1, sigma=0.1, noise="GaussianNoise").rederive()
