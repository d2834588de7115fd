"""Settings of claims that would end in a Python error, never end, or claim what no sample can show."""

import math

import attrs
import pytest
import torch

from lit_certattr.attribution import Gradient
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    PercentileCertificate,
    PredictionCertificate,
    joint_statement,
)
from lit_certattr.certificates.base import Certificate
from lit_certattr.errors import InputError
from lit_certattr.numbers import Box, CentreOfMass, EnergyInside, Gini
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock


def result_of_two():
    claims = [Claim("left half", EnergyInside(Box(0, 0, 1, 0.5)), at_least=0.1), Claim("gini", Gini())]
    accumulator = ClaimCertificate(claims).start(GaussianNoise(0.5), (1, 2))
    accumulator.update(torch.tensor([[[0.9, 0.1]]]).expand(50, 1, 2))
    return accumulator.compute()


def test_weights_whose_sum_is_too_large_for_a_float_are_refused():
    with pytest.raises(InputError, match=r"weight must be a positive number of at most 1e\+300"):
        Claim("a", Gini(), weight=1.7e308)
    ClaimCertificate([Claim("a", Gini(), weight=1e300), Claim("b", Gini(), weight=1e300)])


@pytest.mark.parametrize("weight", [1e-320, 1e-7])
def test_a_claim_with_next_to_no_share_of_alpha_is_refused_before_its_samples_are_counted(weight):
    with pytest.raises(InputError, match=r"claim .b.: weight .* is a share of .* give it at least 1e-06 of the sum"):
        ClaimCertificate([Claim("a", Gini()), Claim("b", Gini(), weight=weight)])
    assert ClaimCertificate([Claim("b", Gini(), weight=weight)]).smallest_num_samples(4) == 12, "alone it has all"


@pytest.mark.parametrize("bound", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["at_least", "at_most"])
def test_a_bound_that_is_no_finite_number_is_named(bound, side):
    with pytest.raises(
        InputError, match=rf"claim 'a': {side} must be a finite number, got .*; leave it out for no bound"
    ):
        Claim("a", CentreOfMass("row"), **{side: bound})


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines", "\x1b[31mred", "\u2028", "\ud800", "  ", 5])
def test_a_name_that_is_no_line_of_text_is_refused(name):
    with pytest.raises(InputError, match="a claim needs a name of one line"):
        Claim(name, Gini())


@pytest.mark.parametrize("make", [ClaimCertificate, PercentileCertificate, PredictionCertificate])
@pytest.mark.parametrize("alpha", [5e-324, 1e-320, 1e-101])
def test_an_alpha_whose_parts_are_no_numbers_is_refused(make, alpha):
    with pytest.raises(InputError, match=r"alpha must be at least 1e-100"):
        make(alpha=alpha)
    assert make(alpha=1e-100).smallest_num_samples(4, share=1e-6) > 300


@pytest.mark.parametrize(
    ("certificate", "least"),
    [
        (ClaimCertificate([Claim("a", Gini(), at_least=1 - 2**-53)]), 1e16),
        (ClaimCertificate([Claim("a", Gini(), at_most=1e-300)]), 1e16),
        (ClaimCertificate([Claim("a", Gini(), at_least=0.9999)]), 75_000),
        (PercentileCertificate(probability=1e-320), 1e15),
        (PercentileCertificate(probability=1e-12, budget=0.1), 1e12),
        (PercentileCertificate(probability=1 - 1e-15, budget=0.1), 1e15),
    ],
    ids=repr,
)
def test_samples_that_nobody_can_draw_are_counted_without_drawing_them(certificate: Certificate, least):
    needed = certificate.smallest_num_samples(4)
    assert least < needed < 1e17


@pytest.mark.parametrize("count", [9, 10, 50])
def test_fewest_samples_of_a_percentile_with_a_budget_are_those_of_its_order_statistics(count):
    certificate = PercentileCertificate([Claim("a", Gini())], alpha=2.1 * 0.5**count, budget=1e-3)
    assert certificate.smallest_num_samples(4) == count
    for samples, has_ends in ((count, True), (count - 1, False)):
        accumulator = certificate.start(GaussianNoise(1.0), (1, 2))
        accumulator.update(torch.rand(samples, 1, 2))
        assert all(math.isfinite(end) for end in accumulator.compute().interval(0)) == has_ends


@pytest.mark.parametrize("claim", [2, -1, True, 1.0, "a", None])
@pytest.mark.parametrize("method", ["verdict", "radius", "interval", "has_bounds", "covered", "masks_of", "sentence"])
def test_a_claim_that_is_not_there_is_refused_in_one_line(method, claim):
    with pytest.raises(InputError, match="claim") as refused:
        getattr(result_of_two(), method)(claim)
    assert "\n" not in str(refused.value)


def test_a_claim_is_found_by_its_name():
    result = result_of_two()
    assert result.verdict("left half") == result.verdict(0) == "holds"
    assert result.interval("gini", 0.1) == result.interval(1, 0.1)
    assert result.radius("left half") == result.radius(0) > 0
    assert result.covered("left half") == 0.5
    with pytest.raises(
        InputError, match=r"there is no claim 'right half': the claims are 0 \('left half'\), 1 \('gini'\)"
    ):
        result.verdict("right half")


@pytest.mark.parametrize("radius", ["a", None.__class__, 1j])
def test_a_radius_that_is_no_number_is_refused_in_one_line(radius):
    with pytest.raises(InputError, match="radius must be a number"):
        result_of_two().interval(0, radius)
    with pytest.raises(InputError, match="radius must be a number"):
        result_of_two().statement(radius)


def test_a_radius_may_be_an_element_of_a_tensor():
    assert result_of_two().interval(0, torch.tensor(0.25)) == result_of_two().interval(0, 0.25)


def prediction():
    zeros = torch.zeros(1, 1, 2)
    draw = Draw(torch.nn.Flatten(), torch.tensor([0.9, 0.1]).expand(100, 1, 1, 2), 0, zeros, 0.5, Gradient())
    accumulator = PredictionCertificate(alpha=0.05).start(GaussianNoise(0.5), (1, 2))
    accumulator.update(MapBlock(draw))
    return accumulator.compute()


@pytest.mark.parametrize("radii", [[-0.1], [0.1, math.nan], [math.inf], ["a"]])
def test_radii_that_are_none_give_no_intervals(radii):
    """A negative one would give an interval that is shorter than that of the image itself."""
    percentiles = PercentileCertificate([Claim("a", Gini())]).start(GaussianNoise(0.5), (1, 2))
    percentiles.update(torch.rand(50, 1, 2))
    for ends in (
        lambda: result_of_two().intervals(0, radii),
        lambda: percentiles.compute().intervals(0, radii),
        lambda: prediction().intervals(radii),
    ):
        with pytest.raises(InputError, match="radii must be"):
            ends()


def test_results_of_two_images_are_not_stated_together():
    both = {
        name: attrs.evolve(result, sampling={"image_id": name})
        for name, result in (("cat", prediction()), ("dog", result_of_two()))
    }
    with pytest.raises(InputError, match="of several images, cat and dog"):
        joint_statement(both)
    assert "all of the following at once" in joint_statement({"one": both["cat"], "two": result_of_two()})
    with pytest.raises(InputError, match="radius must be a number"):
        joint_statement({}, "far")
