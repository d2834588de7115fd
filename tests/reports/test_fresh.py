"""When a claim falls against fresh noise: exactly when the binomial test says so, and no more often than stated."""

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import binom

from lit_certattr.certificates import PixelCertificate, Result
from lit_certattr.reports import RunDirectory
from lit_certattr.reports.fresh import contradictions, count_claims
from lit_certattr.smoothing import GaussianNoise


def _pixel(votes: list[int], num_samples: int) -> Result:
    """A certificate of one row of pixels of which one is chosen in every map, each as often as ``votes`` says."""
    assert sum(votes) == num_samples
    certificate = PixelCertificate([1])
    certificate.bind(GaussianNoise(0.25), (1, len(votes)))
    chosen = np.repeat(np.arange(len(votes)), votes)
    certificate.update(torch.eye(len(votes))[chosen].reshape(num_samples, 1, -1))
    return attrs.evolve(certificate.compute(), sampling={"target": 3, "ties": "index"})


@pytest.mark.parametrize("level", [1e-3, 1e-7])
def test_a_claim_falls_exactly_when_the_binomial_test_rejects_it(level):
    stored = _pixel([950, 50], 1000)
    claim = float(stored.claims()["important"].lower[0, 0, 0])
    assert 0.85 < claim < 0.95
    for count in range(100, 301):
        found = contradictions("cat", "pixel", stored, _pixel([count, 300 - count], 300), level)
        assert bool(found) == (binom.cdf(count, 300, claim) < level), count
    assert "cat, pixel: 1 of 1 claims fall; the first at level 0, pixel (0, 0): important" in str(
        contradictions("cat", "pixel", stored, _pixel([100, 200], 300), level)[0]
    )


def test_true_claims_fall_no_more_often_than_stated():
    # The worst case: the probability is exactly what is claimed.
    stored = _pixel([950, 50], 1000)
    claim, level, runs = float(stored.claims()["important"].lower[0, 0, 0]), 0.02, 2000
    counts = np.random.default_rng(0).binomial(300, claim, runs)
    falls = {int(k): bool(contradictions("cat", "p", stored, _pixel([k, 300 - k], 300), level)) for k in set(counts)}
    assert np.mean([falls[int(k)] for k in counts]) <= level + 3 * np.sqrt(level / runs)


def test_another_class_is_no_test():
    stored, fresh = _pixel([950, 50], 1000), _pixel([300, 0], 300)
    (found,) = contradictions("cat", "pixel", stored, attrs.evolve(fresh, sampling={"target": 4}), 0.01)
    assert str(found) == "cat, pixel: explained class: stored 3, derived 4"


def test_claims_are_counted_and_what_cannot_be_tested_is_named(tmp_path, certified, monkeypatch):
    directory = RunDirectory(tmp_path / "run")
    directory.open({})
    entries = certified(2)
    for image_id, image, results, clean in entries:
        directory.write(image_id, results, image, clean)
    ids = [entry[0] for entry in entries]
    total, untested = count_claims(directory, ids)
    results = [entry[2] for entry in entries]
    labels = sum(int((result["pixel"].labels >= 0).sum()) for result in results)
    bounds = sum(
        int((claims.lower > 0).sum()) for result in results for claims in result["topk_overlap"].claims().values()
    )
    assert total == labels + bounds > 0
    assert untested == []
    monkeypatch.setattr(type(results[0]["topk_overlap"]), "claims", Result.claims)
    assert count_claims(directory, ids) == (labels, ["topk_overlap"])
