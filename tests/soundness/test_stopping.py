"""Error rates of certificates that stop early, on the network with closed-form votes, by the most eager of rules.

The rule peeks at the truth and stops at the first look that says anything false: no rule can do worse.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import Accumulator, PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification import StoppingRule
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import clopper_pearson_lower, look_share, two_label_test

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("closed_form", Path(__file__).with_name("test_closed_form.py"))
closed_form = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(closed_form)

ALPHA, PAIRS, NUM_SAMPLES, REPEATS = 0.1, closed_form.PAIRS, 512, 200
ALLOWED = int(binom.ppf(0.999, REPEATS, ALPHA))


def is_false(results, votes):
    return {
        name: closed_form.false_labels(result, votes)[1]
        if result.kind == "pixel"
        else closed_form.false_overlap(result, votes)
        for name, result in results.items()
    }


class FirstMistake(StoppingRule):
    """Stops at the first look at which a certificate says something false."""

    def __init__(self, name, votes):
        self.name, self.votes = name, votes

    def stop(self, looks):
        return is_false(looks[-1].results, self.votes)[self.name]


def certificates(correction, alpha):
    tau = 0.75 if correction == "holm" else 0.5
    pixel = PixelCertificate([0.5], alpha, tau, correction=correction)
    return {"pixel": pixel, "overlap": TopKOverlapCertificate(0.5, alpha)}


def mistakes(name, p, correction="bonferroni", alpha=ALPHA, early=True):
    """Runs out of REPEATS whose released certificate is false."""
    network = closed_form.with_votes(p)
    votes, wrong = network.votes(closed_form.IMAGE), 0
    chosen = {name: certificates(correction, alpha)[name]}
    rule = FirstMistake(name, votes)
    for seed in range(REPEATS):
        run = Certifier(
            Gradient("sum"),
            GaussianNoise(closed_form.SIGMA),
            chosen,
            NUM_SAMPLES,
            NUM_SAMPLES,
            seed,
            stopping=[rule] if early else [],
        )
        wrong += is_false(run(network, closed_form.IMAGE.unsqueeze(0), [0], ids=["image"])[0], votes)[name]
    return wrong


def hard_votes(tau, shares):
    """Votes just below what the first label of a look claims, one look a pair."""
    p = []
    for index, (n, share) in enumerate(zip((32, 64, 128, 256, 512), shares, strict=True)):
        threshold, level = two_label_test(n, tau, ALPHA * share / (2 * PAIRS))
        bound = float(clopper_pearson_lower(threshold, n, level)) if threshold <= n else 0.75
        p.append(max(bound, tau) - 1e-6 if index % 2 == 0 else 1 - max(bound, tau) + 1e-6)
    return np.array(p)


@pytest.mark.parametrize(("correction", "tau"), [("bonferroni", 0.5), ("holm", 0.75)])
def test_labels_hold_wherever_sampling_stops(correction, tau):
    assert mistakes("pixel", hard_votes(tau, [look_share(look, 5) for look in range(1, 6)]), correction) <= ALLOWED


def test_overlap_holds_wherever_sampling_stops():
    assert mistakes("overlap", np.linspace(0.55, 0.9, PAIRS)) <= ALLOWED


def test_the_check_catches_looks_at_full_alpha(monkeypatch):
    """The control: alpha is not split, so every look may err with all of it.

    The two pixels of a pair err together, so that a certificate uses half of its alpha at most. Without that slack a
    fixed number of samples still holds what it promises, and one looked at until it errs does not.
    """
    honest = PixelCertificate.smallest_num_samples
    monkeypatch.setattr(PixelCertificate, "smallest_num_samples", lambda self, pixels, share: honest(self, pixels, 1.0))
    monkeypatch.setattr(Accumulator, "result", lambda self, share: self.conclude(1.0))
    votes = hard_votes(0.5, [2.0] * 5)
    assert mistakes("pixel", votes, alpha=2 * ALPHA, early=False) <= ALLOWED
    assert mistakes("pixel", votes, alpha=2 * ALPHA) > 1.3 * ALLOWED
