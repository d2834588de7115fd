"""Radii over sigma that are rounded down, so that a perturbation is taken to be shorter than it is."""

from fractions import Fraction

import attrs
import numpy as np
import pytest
import torch

from lit_certattr.budgets import votes
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PredictionCertificate,
    PredictionResult,
    cosine_result,
    percentile_result,
)
from lit_certattr.numbers import Gini
from lit_certattr.smoothing import GaussianNoise

NOISE = GaussianNoise(0.5)


def from_maps(certificate):
    accumulator = certificate.start(NOISE, (2, 2))
    accumulator.update(torch.rand(64, 2, 2, generator=torch.Generator().manual_seed(0)))
    return accumulator.compute()


def prediction():
    fixed = PredictionCertificate(0.001).fixed(NOISE, (2, 2), 4, 100, 1.0)
    return PredictionResult(votes=torch.tensor([90, 10]), lower=0.8, upper=0.9, num_samples=100, **fixed)


RESULTS = {
    "claims": (votes, "shift", lambda: from_maps(ClaimCertificate([Claim("gini", Gini())]))),
    "prediction": (votes, "shift", prediction),
    "percentiles": (percentile_result, "shift", lambda: from_maps(PercentileCertificate([Claim("gini", Gini())]))),
    "percentiles at a budget": (
        percentile_result,
        "shift",
        lambda: from_maps(PercentileCertificate([Claim("gini", Gini())], budget=1.0)),
    ),
    "cosine": (cosine_result, "gaussian_cosine_bound", lambda: from_maps(CosineCertificate(num_selection=16))),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_no_length_is_below_the_quotient(kind, monkeypatch):
    module, name, make = RESULTS[kind]
    original, lengths, result = getattr(module, name), [], make()

    def noted(value, length, *others):
        lengths.append(float(np.max(np.abs(length))))
        return original(value, length, *others)

    monkeypatch.setattr(module, name, noted)
    rng = np.random.default_rng(0)
    for sigma, radius in zip(rng.uniform(0.1, 2, 50), rng.uniform(0.01, 1, 50), strict=True):
        changes = {"sigma": float(sigma)} | ({"budget": float(radius)} if "budget" in kind else {})
        one = attrs.evolve(result, **changes)
        lengths.clear()
        if kind == "cosine":
            one.at(float(radius))
        elif kind == "prediction":
            one.intervals([float(radius)])
        else:
            one.intervals(0, [float(radius)])
        exact = Fraction(float(radius)) / Fraction(float(sigma))
        assert lengths
        assert all(exact <= length <= exact * (1 + Fraction(2, 10**15)) for length in map(Fraction, lengths))
