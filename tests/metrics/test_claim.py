"""Shares of the images whose claim holds: counted wrongly, without their interval, or under a name that another has."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from lit_certattr.certificates import Claim, ClaimCertificate, PercentileCertificate, PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedClaim, CertifiedClaimCurve, VerdictCount, metrics_for
from lit_certattr.numbers import Box, EnergyInside, Gini, PointingGame
from lit_certattr.smoothing import GaussianNoise

LEFT = Box(0, 0, 1, 0.5)
CLAIMS = [Claim("left", PointingGame(LEFT), at_least=0.5), Claim("concentration", Gini())]


def result_of(ones, claims=CLAIMS, kind=ClaimCertificate):
    """The largest pixel lies on the left in this share of 200 maps."""
    left = (torch.arange(200) < 200 * ones).float()
    accumulator = kind(claims).start(GaussianNoise(0.5), (1, 2))
    accumulator.update(torch.stack([left + 0.5, torch.ones(200)], 1)[:, None])
    return accumulator.compute()


def pixel_result():
    accumulator = PixelCertificate([0.5], alpha=0.01).start(GaussianNoise(0.5), (1, 2))
    accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
    return accumulator.compute()


HOLDS, HIDDEN, REFUTED = result_of(0.9), result_of(0.5), result_of(0.1)
IMAGES = [HOLDS] * 7 + [HIDDEN] * 2 + [REFUTED]


def test_the_share_its_interval_and_the_verdicts_are_counted():
    names = {}
    for one in metrics_for(ClaimCertificate(CLAIMS), [0.1, 1.5]).values():
        one.update(IMAGES)
    metrics = metrics_for(ClaimCertificate(CLAIMS), [0.1, 1.5])
    metrics.update(IMAGES[:4])
    metrics.update(IMAGES[4:])
    names = {name: float(value) for name, value in metrics.compute().items()}
    assert names.pop("claim_concentration_r0_10") > names.pop("claim_concentration_r1_50") > 0
    assert names == pytest.approx(
        {
            "claim_left_r0_10": 0.7,
            "claim_left_r0_10_low": beta.ppf(0.025, 7, 4),
            "claim_left_r0_10_high": beta.isf(0.025, 8, 3),
            "claim_left_r1_50": 0.0,
            "claim_left_r1_50_low": 0.0,
            "claim_left_r1_50_high": beta.isf(0.025, 1, 10),
            "claim_left_holds": 7,
            "claim_left_not_shown": 2,
            "claim_left_refuted": 1,
        },
        abs=1e-6,
    )


@pytest.mark.parametrize("share", [0.02, 0.5, 0.93])
def test_the_interval_misses_the_share_of_the_population_as_rarely_as_it_says(share):
    """Summed over all counts of 30 images, not simulated."""
    curve, missed = CertifiedClaimCurve("left", [0.1, 0.2], confidence=0.9), 0.0
    for count in range(31):
        curve.reset()
        curve.update([HOLDS] * count + [REFUTED] * (30 - count))
        low, high = curve.interval()[0].tolist()
        assert low <= float(curve.compute()[0]) <= high
        missed += binom.pmf(count, 30, share) * (not low <= share <= high)
    assert 0.001 < missed <= 0.1


def test_the_curve_is_that_of_the_single_radii_and_processes_add_up():
    radii, whole = [0.0, 0.2, 0.6], CertifiedClaimCurve("left", [0.0, 0.2, 0.6])
    parts = [CertifiedClaimCurve("left", radii) for _ in range(2)]
    whole.update(IMAGES)
    parts[0].update(IMAGES[:3])
    parts[1].update(IMAGES[3:])
    for state in ("total", "num_images"):
        assert torch.equal(getattr(whole, state), getattr(parts[0], state) + getattr(parts[1], state))
    for index, radius in enumerate(radii):
        for part, expected in zip(("low", "high"), whole.interval()[index], strict=True):
            single = CertifiedClaim(0, radius, part)
            single.update(IMAGES)
            assert single.compute() == expected
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert np.isnan(float(CertifiedClaim("left", 0.1, "low").compute()))
    figure, _ = whole.plot()
    assert figure is not None


def test_percentiles_and_claims_of_alike_names_have_metrics_of_their_own():
    alike = [Claim("At least 60 %", EnergyInside(LEFT), at_least=0.6), Claim("at least 60", Gini(), at_most=0.5)]
    for kind in (ClaimCertificate, PercentileCertificate):
        metrics = metrics_for(kind(alike), [0.1])
        assert len(metrics) == 12
        assert {"claim_at_least_60_1_r0_10", "claim_at_least_60_2_r0_10"} <= set(metrics)
        metrics.update([result_of(0.9, alike, kind)])
        assert len(metrics.compute()) == 12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CertifiedClaim("left", -1.0), "radius"),
        (lambda: CertifiedClaim("left", 0.1, "middle"), "part must be one of"),
        (lambda: CertifiedClaim("left", 0.1, confidence=95), "confidence must lie strictly"),
        (lambda: CertifiedClaimCurve("left", []), "at least one radius"),
        (lambda: VerdictCount("left", "refuted"), "verdict must be one of"),
        (lambda: CertifiedClaim("right", 0.1).update(HOLDS), "there is no claim 'right'; there are 'left'"),
        (lambda: CertifiedClaim(0, 0.1).update(pixel_result()), "needs .* got PixelResult"),
        (lambda: CertifiedClaim(5, 0.1).update(HOLDS), "there is no claim 5"),
        (lambda: CertifiedClaim("concentration", 0.1).update(HOLDS), "has no bounds"),
    ],
)
def test_what_cannot_be_counted_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
