"""Tests the claims of stored certificates with fresh noise."""

from collections.abc import Sequence

from lit_certattr.audit.binding import differing_places
from lit_certattr.audit.finding import Finding, position
from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import Claims
from lit_certattr.errors import InputError
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.statistics.rounding import at_least, at_most


def count_claims(directory: RunDirectory, ids: Sequence[str]) -> tuple[int, list[str]]:
    """Count the claims of the certificates of a run, and list the certificates that fresh noise cannot test.

    Args:
        directory: A run.
        ids: Ids of its images.

    Returns:
        The number of claimed lower bounds over all images, pixels and levels; and the names of the certificates that
        cannot be tested.
    """
    total, untested = 0, set()
    for record in directory.records(ids):
        for name, result in record.results.items():
            if isinstance(result, Claims):
                total += sum(int((lower > 0).sum()) for lower in result.claims().values())
            else:
                untested.add(name)
    return total, sorted(untested)


def contradictions(image_id: str, name: str, stored: Result, fresh: Result, level: float) -> list[Finding]:
    r"""The claims of a certificate that fresh noise contradicts.

    A claim :math:`\theta \ge L` is contradicted if the upper confidence bound of :math:`\theta` at ``level`` from the
    fresh noise is below ``L``. The bound is Clopper-Pearson's for votes, and a bound for bounded variables for all
    other quantities. A true claim is contradicted with probability at most ``level``.

    Args:
        image_id: Id of the image.
        name: Name of the certificate.
        stored: The certificate.
        fresh: The same certificate of the same image from independent noise.
        level: Error probability of the test of each claim.

    Returns:
        One finding for each kind of contradicted claim: the number of contradicted claims, and the first one.
    """
    place = f"{image_id}, {name}"
    before, now = stored.sampling.get("target"), fresh.sampling.get("target")
    if before != now:
        return [Finding(place, "explained class", str(before), str(now))]
    for what, held, found in differing_places(stored, fresh):
        return [Finding(place, what, held, found)]
    if type(stored) is not type(fresh):
        return [Finding(place, "kind of result", stored.kind, fresh.kind)]
    if not isinstance(stored, Claims):
        return []  # counted, and reported by name, by count_claims
    try:
        claimed, allowed = stored.claims(), stored.upper_bounds(fresh, level)
    except InputError as error:
        return [Finding(place, str(error))]
    findings = []
    for name_of_claim, lower in claimed.items():
        upper = allowed[name_of_claim]
        contradicted = upper < lower
        if not bool(contradicted.any()):
            continue
        index = tuple(contradicted.nonzero()[0].tolist())
        what = (
            f"{int(contradicted.sum())} of {int((lower > 0).sum())} claims contradicted; the first{position(index)}: "
            f"{name_of_claim} of at least {at_least(float(lower[index]))} is claimed, but {fresh.num_samples} fresh "
            f"samples allow at most {at_most(float(upper[index]))}"
        )
        findings.append(Finding(place, what))
    return findings
