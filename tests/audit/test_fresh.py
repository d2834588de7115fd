"""When fresh noise contradicts a claim: exactly when the binomial test says so, and no more often than stated."""

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import binom

from lit_certattr.audit.fresh import contradictions, count_claims
from lit_certattr.certificates import CosineCertificate, PixelCertificate, Result, TopKOverlapCertificate
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise


def _pixel(votes: list[int], num_samples: int) -> Result:
    """A certificate of one row of pixels of which one is chosen in every map, each as often as ``votes`` says."""
    assert sum(votes) == num_samples
    certificate = PixelCertificate([1])
    accumulator = certificate.start(GaussianNoise(0.25), (1, len(votes)))
    chosen = np.repeat(np.arange(len(votes)), votes)
    accumulator.update(torch.eye(len(votes))[chosen].reshape(num_samples, 1, -1))
    return attrs.evolve(accumulator.compute(), sampling={"target": 3, "ties": "index"})


@pytest.mark.parametrize("level", [1e-3, 1e-7])
def test_a_claim_falls_exactly_when_the_binomial_test_rejects_it(level):
    stored = _pixel([950, 50], 1000)
    claim = float(stored.claims()["vote for important"][0, 0, 0])
    assert 0.85 < claim < 0.95
    for count in range(100, 301):
        found = contradictions("cat", "pixel", stored, _pixel([count, 300 - count], 300), level)
        assert bool(found) == (binom.cdf(count, 300, claim) < level), count
    assert "cat, pixel: 1 of 1 claims contradicted; the first at level 0, pixel (0, 0): vote for important" in str(
        contradictions("cat", "pixel", stored, _pixel([100, 200], 300), level)[0]
    )


def test_true_claims_fall_no_more_often_than_stated():
    # The worst case: the probability is exactly what is claimed.
    stored = _pixel([950, 50], 1000)
    claim, level, runs = float(stored.claims()["vote for important"][0, 0, 0]), 0.02, 2000
    counts = np.random.default_rng(0).binomial(300, claim, runs)
    falls = {int(k): bool(contradictions("cat", "p", stored, _pixel([k, 300 - k], 300), level)) for k in set(counts)}
    assert np.mean([falls[int(k)] for k in counts]) <= level + 3 * np.sqrt(level / runs)


def _one_number(kept: np.ndarray) -> Result:
    """A one-number certificate of two rows of three pixels; each map has ``kept`` of the first row in its top 3."""
    certificate = TopKOverlapCertificate(3, bound="one_number", num_selection=20)
    accumulator = certificate.start(GaussianNoise(0.25), (2, 3))
    column = torch.arange(6)
    patterns = torch.stack([0.01 * column + ((column < k) | ((column >= 3) & (column < 6 - k))) for k in range(4)])
    accumulator.update(patterns[torch.from_numpy(kept)].view(-1, 2, 3))
    return accumulator.compute()


def _rate_of_falls(stored: Result, fresh, level: float, runs: int) -> float:
    return float(np.mean([bool(contradictions("cat", "c", stored, fresh(seed), level)) for seed in range(runs)]))


def test_the_share_of_the_released_set_is_tested():
    rng = np.random.default_rng(0)
    stored = _one_number(np.r_[np.full(20, 3), rng.choice(4, 400, p=[0.02, 0.04, 0.14, 0.8])])
    assert stored.inside.tolist() == [[True] * 3, [False] * 3]
    (claim,) = stored.claims().values()
    assert 0.7 < float(claim) < 0.906  # below the true mean share
    assert stored.overlap(0.0) >= 2

    def fresh(mean):  # all three pixels or none: the share that varies most
        return lambda seed: _one_number(3 * np.random.default_rng(seed).binomial(1, mean, 300))

    assert _rate_of_falls(stored, fresh(float(claim)), 0.02, 300) <= 0.02 + 3 * np.sqrt(0.02 / 300)
    assert _rate_of_falls(stored, fresh(float(claim) - 0.15), 0.001, 20) == 1
    # Another set of three pixels in the fresh maps is no set of the certificate: S is that of the stored one.
    (found,) = contradictions("cat", "topk_overlap", stored, _one_number(np.zeros(300, int)), 0.001)
    line = "1 of 1 claims contradicted; the first: mean share of S in the top K of a noisy map of at least 0.8"
    assert line in str(found)


def _cosine(length: float, num_samples: int, seed: int, nonnegative: bool) -> Result:
    """A certificate of maps of length 1 whose mean has this length: one direction, or one orthogonal to all others."""
    certificate = CosineCertificate(nonnegative=nonnegative, num_selection=32)
    accumulator = certificate.start(GaussianNoise(0.25), (1, num_samples + 1))
    rng, axes = np.random.default_rng(seed), torch.eye(num_samples + 1)
    if nonnegative:
        common = torch.from_numpy(rng.random(num_samples) < length)[:, None]
        maps = torch.where(common, axes[:1], axes[1:])
    else:
        maps = axes[:1] * torch.from_numpy(
            rng.choice([1.0, -1.0], (num_samples, 1), p=[(1 + length) / 2, (1 - length) / 2])
        )
    accumulator.update(maps[:, None].float())
    return accumulator.compute()


@pytest.mark.parametrize("nonnegative", [True, False])
def test_the_norm_of_a_cosine_certificate_is_tested(nonnegative):
    length = 0.8
    honest = _cosine(length, 600, 1000, nonnegative)
    assert 0.5 < honest.norm < length
    boundary = attrs.evolve(honest, norm=length)  # as much as can be claimed

    def fresh(seed):
        return _cosine(length, 600, seed, nonnegative)

    assert _rate_of_falls(boundary, fresh, 0.05, 150) <= 0.05 + 3 * np.sqrt(0.05 / 150)
    assert _rate_of_falls(honest, fresh, 1e-6, 20) == 0
    invented = attrs.evolve(honest, projections=torch.ones_like(honest.projections)).rederive()
    assert invented.norm > 0.95
    assert _rate_of_falls(invented, fresh, 1e-6, 20) == 1


def test_another_shape_or_kind_is_a_finding():
    stored = _one_number(np.full(60, 3))
    small = TopKOverlapCertificate(2, bound="one_number", num_selection=20).start(GaussianNoise(0.25), (2, 2))
    small.update(torch.rand(60, 2, 2))
    (found,) = contradictions("cat", "c", stored, small.compute(), 0.01)
    assert str(found) == "cat, c: shape of the maps: stored (2, 3), derived (2, 2)"
    (found,) = contradictions("cat", "c", stored, attrs.evolve(_pixel([300, 0], 300), sampling={}), 0.01)
    assert str(found) == "cat, c: kind of result: stored topk_overlap, derived pixel"


def test_another_class_is_no_test():
    stored, fresh = _pixel([950, 50], 1000), _pixel([300, 0], 300)
    (found,) = contradictions("cat", "pixel", stored, attrs.evolve(fresh, sampling={"target": 4}), 0.01)
    assert str(found) == "cat, pixel: explained class: stored 3, derived 4"


class Silent(Result):
    """A result that claims nothing which fresh noise could contradict."""

    kind = "silent"

    def statement(self, radius=None):
        return "nothing"


def test_claims_are_counted_and_what_cannot_be_tested_is_named(tmp_path, certified):
    directory = RunDirectory(tmp_path / "run")
    directory.open({})
    entries = certified(2)
    for image_id, image, results, clean in entries:
        directory.write(image_id, results, image, clean)
    ids = [entry[0] for entry in entries]
    total, untested = count_claims(directory, ids)
    results = [entry[2] for entry in entries]
    labels = sum(int((result["pixel"].labels >= 0).sum()) for result in results)
    bounds = sum(int((lower > 0).sum()) for result in results for lower in result["topk_overlap"].claims().values())
    assert total == labels + bounds > 0
    assert untested == []
    silent = Silent(num_samples=1, alpha=0.1, sigma=0.1, noise="GaussianNoise")
    for image_id, image, result, clean in entries:
        directory.write(image_id, result | {"silent": silent}, image, clean)
    assert count_claims(directory, ids) == (labels + bounds, ["silent"])
    assert contradictions("cat", "silent", silent, silent, 0.01) == []
