"""A result at another alpha or threshold, from the statistics that it holds.

Rule. The statistics of a result (votes, sums) do not depend on alpha or on the threshold tau of a vote. So the result
that the same samples give at another alpha or tau is a certificate like any other: what it says is false with a
probability of at most its alpha, provided that alpha and tau were fixed without looking at these samples.

Proof. The certifying function takes samples, alpha and tau; for each fixed alpha and tau its result is false with a
probability of at most alpha. Whether the samples were used for another result before changes nothing of this. ∎

Several results of the same samples hold together at the sum of their alphas. What does not hold is the best of several,
chosen after looking: the smallest alpha at which something is certified would be claimed far too often. Looks are fixed
before sampling, so a run that may have stopped early keeps its looks, and its result keeps its share of alpha; which
look was released may depend on anything (:mod:`lit_certattr.certification.stopping`).
"""

from collections.abc import Sequence

import attrs

from lit_certattr.certificates.base import Certificate
from lit_certattr.certificates.capabilities import Rederivable
from lit_certattr.certificates.result import Result
from lit_certattr.errors import InputError
from lit_certattr.smoothing import Noise


def recertified(
    result: Result, certificate: Certificate, noise: Noise, map_shape: Sequence[int], dimension: int
) -> Result:
    """The result that the samples of a result give with other settings of its certificate.

    Args:
        result: The result, with its statistics.
        certificate: The certificate with the new settings; only ``alpha``, and ``tau`` where there is one, may differ
            from those of the result.
        noise: Noise law of the result.
        map_shape: Height and width of the maps.
        dimension: Number of values of the image, channels included.

    Raises:
        InputError: If the result holds no statistics from which it can be derived, or they are impossible.
    """
    share = result.alpha_share
    certificate.check_share(share)
    certificate.check_slack(noise, result.num_samples, dimension, share)
    blank = attrs.evolve(result, **certificate.fixed(noise, map_shape, dimension, result.num_samples, share))
    if not isinstance(blank, Rederivable):
        raise InputError(f"a {type(result).__name__} holds no statistics from which it could be derived again")
    derived = blank.rederive()
    assert isinstance(derived, Result)  # a Rederivable gives its own kind
    return derived
