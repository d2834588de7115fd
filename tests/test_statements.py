"""What a certificate says stands wherever a reader may look: docstring, result, report and documentation."""

import inspect
import re
from functools import cache
from pathlib import Path

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.certificates import (
    Certificate,
    CosineCertificate,
    OverlapResult,
    PixelCertificate,
    present,
)
from lit_certattr.errors import InputError
from lit_certattr.settings.discovery import is_own, subclasses
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock, uniform_levels

ROOT = Path(__file__).parents[1]
KINDS = [kind for kind in subclasses(Certificate) if is_own(kind)]
OVERLAPS = [kind for kind in KINDS if issubclass(kind.result, OverlapResult)]


@cache
def result(kind):
    certificate = kind()
    accumulator = certificate.start(GaussianNoise(0.25), (8, 8), 64)
    images = torch.linspace(-1, 1, 64).view(1, 8, 8) + torch.zeros(2000, 1, 1, 1)
    probability = torch.full((2000,), 0.5)
    draw = Draw(
        torch.nn.Flatten(), images, 0, images[0], 0.25, lambda _, images, __: images[:, 0], lambda *_: probability
    )
    accumulator.update(MapBlock(draw, 0, uniform_levels(0, "image", 0, 2000)))
    return accumulator.compute()


def check(text):
    """At which confidence, for which budget, over which set."""
    words = " ".join(re.sub(r":math:|`", "", text).split()).lower()
    assert re.search(r"with probability at least (1 - \\alpha|\$1-\\alpha\$|0\.999)", words)
    assert re.search(r"(no|every) perturbation( of the image)? with (an? )?(\S+ )?norm", words)
    assert re.search(r"at once|for all radii", words)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_statement_is_in_all_four_places(kind):
    documented = re.search(
        rf"^## [^\n]*`{kind.__name__}`\n(.*?)(?=^## )", (ROOT / "docs/certificates.md").read_text(), re.M | re.S
    )
    in_words = documented[1].split("**In plain words.**")[1].split("\n\n")[0]
    in_docstring = inspect.getdoc(kind).split("What it says:")[1].split("\n\n")[0]
    found = result(kind)
    for text in (in_words, in_docstring, found.statement(0.1), present(found).general()):
        check(text)
    assert "not covered" in found.statement(0.1) or "Nothing is claimed about" in found.statement(0.1)


def test_all_kinds_are_checked():
    assert len(KINDS) >= 5
    assert len(OVERLAPS) >= 3


# The numbers in the text. What is printed must be certified, whatever the numbers are.

SEEDS = st.integers(0, 2**32 - 1)


def radii(size, seed):
    """Radii of many sizes, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(size, generator=generator) ** torch.randint(1, 9, size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < torch.rand(1, generator=generator), values, 0.0)


def claimed_overlap(text):
    found = re.search(r"norm (below|at most) (\S+), at least (\d+) of the K", text)
    return found and (found[1], float(found[2]), int(found[3]))


@pytest.mark.parametrize("kind", OVERLAPS, ids=lambda kind: kind.__name__)
@given(SEEDS, st.floats(1e-6, 3))
def test_an_overlap_is_certified_at_the_radius_that_is_printed(kind, seed, budget):
    blank = result(kind)
    found = attrs.evolve(blank, displacement=radii([blank.size], seed).sort().values)
    claim = claimed_overlap(found.statement())
    if claim is None:
        assert found.overlap(0) == 0
        assert found.statement().startswith("Nothing is certified at any positive l2 radius")
    else:
        word, radius, count = claim
        assert (word, count) == ("below", min(-(-found.size // 2), found.overlap(0)))
        assert 0 < radius <= float(found.displacement[found.size - count])
    assert claimed_overlap(found.statement(budget)) == ("at most", budget, found.overlap(budget))


@given(SEEDS, st.floats(1e-6, 3))
def test_a_share_of_certified_pixels_is_no_smaller_than_what_is_printed(seed, budget):
    blank = result(PixelCertificate)
    radius = radii(blank.radius.shape, seed)
    labels = torch.randint(-1, 2, radius.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)
    found = attrs.evolve(blank, labels=torch.where(radius > 0, labels, -1), radius=radius)
    for at in (None, budget):
        text = found.statement(at)
        shares = found.shares(at or 0.0)
        printed = re.findall(r"([\d.]+)% certified important and ([\d.]+)% certified unimportant", text)
        if bool(shares["certified"].any()):
            for level, (one, zero) in enumerate(printed):
                assert float(one) <= 100 * float(shares["one"][level]) + 1e-9
                assert float(zero) <= 100 * float(shares["zero"][level]) + 1e-9
            assert len(printed) == 3
        else:
            assert not printed
            assert "nothing is certified at" in text
        assert at is None or float(re.search(r"l2 norm below (\S+) can", text)[1]) == at


@given(st.floats(0, 1), st.floats(1e-6, 3), st.sampled_from(["signed", "nonnegative"]))
def test_a_cosine_is_certified_at_the_radius_that_is_printed(norm, budget, bound):
    found = attrs.evolve(result(CosineCertificate), norm=norm, bound=bound)
    for at in (None, budget):
        text = found.statement(at)
        claim = re.search(r"norm at most (\S+), the cosine .* at least (\S+)\. ", text)
        if claim is None:
            assert found.max_radius(0.9) == 0
            assert text.startswith("Nothing is certified at any positive l2 radius")
        else:
            radius, cosine = float(claim[1]), float(claim[2])
            assert radius == at if at else 0 < radius <= found.max_radius(0.9)
            assert cosine <= found.at(radius)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_said_of_a_ball_of_radius_zero(kind):
    found = result(kind)
    assert found.statement(0.0) == found.statement()
    for radius in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="finite number of at least 0"):
            found.statement(radius)


@pytest.mark.parametrize(("alpha", "text"), [(1e-7, "0.9999999"), (0.0004, "0.9996"), (0.05, "0.95")])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_confidence_is_never_rounded_to_one(kind, alpha, text):
    found = attrs.evolve(result(kind), alpha=alpha)
    assert f"robability at least {text}" in found.statement(1e-9)
    assert f"robability at least {text}" in present(found).general()


def test_a_power_is_never_rounded_to_certainty():
    assert "with probability 99.9%" in result(PixelCertificate).power_note()
