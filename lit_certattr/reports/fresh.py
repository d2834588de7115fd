"""The claims of stored certificates against the votes of fresh noise."""

from collections.abc import Sequence

import numpy as np
import torch

from lit_certattr.certificates import Result
from lit_certattr.reports.consistency import Finding, at
from lit_certattr.reports.run_directory import RunDirectory
from lit_certattr.statistics import clopper_pearson_upper


def count_claims(directory: RunDirectory, ids: Sequence[str]) -> tuple[int, list[str]]:
    """How many claims the certificates of a run make, and the kinds of certificate that fresh noise cannot test.

    Args:
        directory: A run.
        ids: Ids of its images.

    Returns:
        The number of pixels, levels and bounds for which a probability is claimed, over all images; and names.
    """
    total, untested = 0, set()
    for record in directory.records(ids):
        for name, result in record.results.items():
            try:
                total += sum(int((claims.lower > 0).sum()) for claims in result.claims().values())
            except NotImplementedError:
                untested.add(name)
    return total, sorted(untested)


def contradictions(image_id: str, name: str, stored: Result, fresh: Result, level: float) -> list[Finding]:
    r"""The claims of a certificate that fresh noise contradicts.

    A claim :math:`p \ge L` about the probability of an event falls if the Clopper-Pearson upper bound of ``p``
    from the fresh counts at ``level`` is below ``L``. A true claim falls with probability at most ``level``.

    Args:
        image_id: Id of the image.
        name: Name of the certificate.
        stored: The certificate.
        fresh: The same certificate of the same image from independent noise.
        level: Probability of error for each claim.

    Returns:
        One finding for each event with a claim that falls: the first pixel, and how many there are.
    """
    place = f"{image_id}, {name}"
    before, now = stored.sampling.get("target"), fresh.sampling.get("target")
    if before != now:
        return [Finding(place, "explained class", str(before), str(now))]
    try:
        claimed, seen = stored.claims(), fresh.claims()
    except NotImplementedError:
        return []  # counted, and reported by name, by count_claims
    highest = torch.from_numpy(
        np.asarray(clopper_pearson_upper(np.arange(fresh.num_samples + 1), fresh.num_samples, level))
    )
    findings = []
    for event, claims in claimed.items():
        counts, lower = seen[event].counts, claims.lower
        if counts.shape != lower.shape:
            findings.append(Finding(place, "shape of the maps", str(tuple(lower.shape)), str(tuple(counts.shape))))
            continue
        falls = highest[counts] < lower
        if not bool(falls.any()):
            continue
        index = tuple(falls.nonzero()[0].tolist())
        total, count = int((lower > 0).sum()), int(counts[index])
        what = (
            f"{int(falls.sum())} of {total} claims fall; the first{at(index)}: {event} with probability at least "
            f"{float(lower[index]):.4f} is claimed, but fresh noise has it in {count} of {fresh.num_samples} samples, "
            f"so at most {float(highest[count]):.4f}"
        )
        findings.append(Finding(place, what))
    return findings
