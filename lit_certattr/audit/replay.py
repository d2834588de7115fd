"""Compares a run with the same samples drawn again: equal on the same machine, nearly equal on another."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import attrs
import torch
from torch import Tensor

from lit_certattr.audit.binding import differences, differing_places, tensor_difference
from lit_certattr.audit.finding import Finding, show
from lit_certattr.certificates import Result
from lit_certattr.records.provenance import machine

TOLERANCE = 0.02
"""Tolerance of counts as a share of the samples, of values as a share of the largest, and of their number."""


def same_machine(provenance: Mapping[str, Any], settings: Mapping[str, Any], device: str) -> bool:
    """Whether this machine reproduces the samples of a run and their maps bit by bit.

    Args:
        provenance: Content of ``provenance.json``.
        settings: The settings in it.
        device: Kind of device of this process.
    """
    own = machine()
    versions = provenance.get("versions")
    return (
        device == settings.get("device") == "cpu"
        and settings.get("batch_size") != "auto"
        and settings.get("torch") == version("torch")
        and isinstance(versions, Mapping)
        and versions.get("numpy") == version("numpy")
        and all(provenance.get(key) == value for key, value in own.items())
    )


def replay_faults(stored: Result, again: Result, exact: bool) -> Iterator[Finding]:
    """Differences between a certificate and the certificate from the same samples; ``place`` stays empty.

    Args:
        stored: The stored certificate.
        again: The certificate from the samples that were drawn again.
        exact: Whether every bit must be equal. If not, counts may differ by 2 % of the samples, since a pixel near the
            threshold of a map may change its side, and 2 % of all other numbers by more than 2 % of the largest.
    """
    yield from _majority_faults(stored.sampling, again.sampling, exact)
    if not stored.num_predictions:  # a run of an older version
        again = attrs.evolve(again, num_predictions=0, num_predicted=0, num_extra_passes=0)
    if exact:
        same = attrs.evolve(again, sampling=stored.sampling)  # bound to the settings elsewhere
        yield from differences(stored, same)
        return
    if stored.num_samples != again.num_samples:
        yield Finding("", "num_samples", str(stored.num_samples), str(again.num_samples))
        return
    if elsewhere := [Finding("", *difference) for difference in differing_places(stored, again)]:
        yield from elsewhere
        return
    slack = max(2, TOLERANCE * stored.num_samples)
    for field in attrs.fields(type(stored)):
        one, two = getattr(stored, field.name), getattr(again, field.name)
        if isinstance(one, Tensor):
            if field.name in stored.statistics and not _close(one, two, slack):
                yield from tensor_difference(field.name, one, two)
        elif field.name.startswith("num_") and abs(one - two) > slack:
            yield Finding("", field.name, show(one), show(two))
        elif field.name == "tied":
            both = [value if isinstance(value, tuple) else (value,) for value in (one, two)]
            if any(abs(a - b) > TOLERANCE for a, b in zip(*both, strict=True)):
                yield Finding("", field.name, show(one), show(two))


def _majority_faults(stored: Mapping[str, Any], again: Mapping[str, Any], exact: bool) -> Iterator[Finding]:
    """Compare the class that most noisy copies are predicted as, and its votes."""
    if (votes := again.get("class_votes")) is None:
        return
    if stored.get("target") != again["target"]:
        yield Finding("", "explained class", show(stored.get("target")), f"{again['target']} (the noisy majority)")
        return
    held, slack = stored.get("class_votes"), 0 if exact else max(2, TOLERANCE * again["class_samples"])
    if not isinstance(held, int) or abs(held - votes) > slack:
        yield Finding("", "class_votes", show(held), str(votes))


def _close(one: Tensor, two: Tensor, slack: float) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    distance = (one.double() - two.double()).abs()
    if not one.is_floating_point():
        return not bool((distance > slack).any())
    largest = float(two.abs().max()) if two.numel() else 0.0
    return float((distance > TOLERANCE * largest).double().mean()) <= TOLERANCE if two.numel() else True


def map_faults(stored: Tensor, again: Tensor, exact: bool) -> Iterator[Finding]:
    """Compare the maps of the image without noise; ``place`` stays empty.

    Args:
        stored: The map in the run.
        again: The map that was computed again.
        exact: Whether every bit must be equal. If not, 2 % of the values may differ by more than 2 % of the largest.
    """
    if not (torch.equal(stored, again) if exact else _close(stored, again, 0.0)):
        yield from tensor_difference("map of the image without noise", stored, again)
