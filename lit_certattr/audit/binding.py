"""Compares a stored certificate with the settings, the image and the other certificates of its image."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from lit_certattr.audit.finding import Finding, position, show
from lit_certattr.audit.recorded import MAX_SAMPLES, Recorded, is_known_method, is_region_map, sampling_fields
from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import CountsMasks, CountsPredictions, Rederivable
from lit_certattr.certificates.result import MASKED
from lit_certattr.certification import NOISY_MAJORITY
from lit_certattr.data import NO_LABEL
from lit_certattr.errors import InputError
from lit_certattr.partitions import check_partition, count_regions, identity, in_words
from lit_certattr.records.run_directory import Record

_FACTS = frozenset({"label", "prediction", "target", "label_name", "prediction_name", "target_name"})
_OF_SETTINGS = " (provenance.json)"


def derive(
    record: Record, name: str, settings: Mapping[str, Any], recorded: Recorded
) -> tuple[list[Finding], Result | None]:
    """Derive a certificate again from its counts; everything else comes from the settings and the image.

    Args:
        record: The image.
        name: Name of the certificate.
        settings: The settings in ``provenance.json``.
        recorded: The objects that the settings describe.

    Returns:
        The differences, and the derived certificate; ``None`` if it cannot be derived.
    """
    place, result = f"{record.id}, {name}", record.results[name]
    faults = [Finding(place, *fault) for fault in _sampling_faults(record, name, settings, recorded)]
    if not isinstance(result, Rederivable):
        return [*faults, Finding(place, f"a {type(result).__name__} cannot be re-derived")], None
    try:
        derived, more = _derived(record, name, recorded)
    except Exception as error:  # whatever the code of a kind of the user's raises: its image is audited further
        return [*faults, Finding(place, f"cannot be re-derived: {' '.join(str(error).split())}")], None
    return [*faults, *(finding._replace(place=place) for finding in more)], derived


def _derived(record: Record, name: str, recorded: Recorded) -> tuple[Result | None, list[Finding]]:
    result, certificate = record.results[name], recorded.certificates.get(name)
    if result.num_samples > MAX_SAMPLES:
        raise InputError(f"num_samples={show(result.num_samples)} exceeds the {MAX_SAMPLES:,} that are allowed")
    shape = result.map_shape
    if shape is not None and shape != tuple(record.clean_map.shape):
        return None, [Finding("", "shape of the maps", str(shape), str(tuple(record.clean_map.shape)))]
    faults = _region_faults(record, result)
    height, width = record.clean_map.shape
    shares = recorded.shares((height, width))
    if shares is not None:
        faults += _look_faults(result, shares, recorded.may_stop)
    elif not recorded.may_stop and result.num_samples != recorded.num_samples:
        faults.append(Finding("", "num_samples", show(result.num_samples), f"{recorded.num_samples}{_OF_SETTINGS}"))
    fixed: dict[str, Any] = {}
    if certificate is not None and recorded.noise is not None:
        share = (shares or {}).get(result.num_samples, result.alpha_share)
        certificate.check_share(share)
        certificate.check_noise(recorded.noise)
        fixed = certificate.fixed(recorded.noise, (height, width), record.image.numel(), result.num_samples, share)
    plain = recorded.plain(name)
    if recorded.noise is None:  # what else a result holds of the settings may depend on the law
        plain = {key: value for key, value in plain.items() if key == "alpha"}
    for key, value in {**plain, **fixed}.items():
        held = getattr(result, key, None)
        if not hasattr(result, key) or callable(held):  # a method may have the name of a setting
            continue
        if (list(held) if isinstance(held, tuple) else held) != (list(value) if isinstance(value, tuple) else value):
            faults.append(Finding("", key, show(held), f"{show(value)}{_OF_SETTINGS}"))
    try:
        blank = attrs.evolve(result, **fixed)
        assert isinstance(blank, Rederivable)  # as the result is
        derived = blank.rederive()
        if type(derived) is not type(result):
            raise InputError(f"rederive() gave {type(derived).__name__}, not {type(result).__name__}")
        if certificate is not None:
            certificate.check_result(result)
    except InputError as error:
        return None, [*faults, Finding("", f"cannot be re-derived: {' '.join(str(error).split())}")]
    faults += [finding for finding in differences(result, derived) if finding.what not in fixed]
    return derived, faults


def _region_faults(record: Record, result: Result) -> list[Finding]:
    """Compare the regions with the image, and their number with the maps."""
    size = (record.image.shape[-2], record.image.shape[-1])
    if result.noise_partition is not None:
        check_partition(result.noise_partition, size, "the image")
    if result.partition is None:
        return []
    partition = check_partition(result.partition, size, "the image")
    maps, expected = tuple(record.clean_map.shape), (1, count_regions(partition))
    return [] if maps == expected else [Finding("", "values of the regions", str(maps), str(expected))]


def _look_faults(result: Result, shares: Mapping[int, float], may_stop: bool) -> Iterator[Finding]:
    """Compare the number of samples with the looks: one at the end, or those at which the run may stop."""
    looks = result.sampling.get("looks")
    expected = list(shares) if may_stop else None
    if looks != expected:
        reason = show(expected) if may_stop else "none: the settings have no stopping rule"
        yield Finding("", "looks", show(looks), reason)
    if result.num_samples not in shares:
        yield Finding("", "num_samples", show(result.num_samples), f"{show(list(shares))}{_OF_SETTINGS}")


def _sampling_faults(
    record: Record, name: str, settings: Mapping[str, Any], recorded: Recorded
) -> Iterator[tuple[str, str, str]]:
    """Each field of ``sampling`` that disagrees with the settings or the image."""
    held = dict(record.results[name].sampling)
    held.pop("looks", None)  # bound to the shares of alpha, elsewhere
    if settings.get("targets") == NOISY_MAJORITY:
        votes, most = held.pop("class_votes", None), settings.get("class_samples")
        if not isinstance(votes, int) or isinstance(votes, bool) or not (isinstance(most, int) and 1 <= votes <= most):
            yield "class_votes", show(votes), f"a number in 1..{show(most)}"
    expected = dict(sampling_fields(settings, recorded, name, record.id, record.facts))
    partition = record.results[name].partition
    expected |= record.results[name].places()
    if (partition is not None) != is_region_map(method := str(settings.get("attribution"))) and is_known_method(method):
        yield "regions", "none" if partition is None else show(in_words(partition)), f"those of {show(method)}"
    masked = record.results[name].noise_partition
    if recorded.noise is not None and (masked is not None) != recorded.noise.needs_regions:
        yield MASKED, "none" if masked is None else show(in_words(masked)), f"those of {show(settings.get('noise'))}"
    for key, value in expected.items():
        if held.get(key) != value:
            yield key, show(held.get(key)), f"{show(value)}{'' if key in _OF_IMAGE else _OF_SETTINGS}"
    own = recorded.certificates.get(name) is not None and is_known_method(str(settings.get("attribution")))
    for key in held.keys() - expected.keys() if own and recorded.noise is not None else ():
        yield key, show(held[key]), "no such field"


_OF_IMAGE = ("image_id", "target", "target_rule", "regions", MASKED, "masks")


def facts_faults(record: Record, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Check label, prediction and explained class of an image, as far as they follow from each other.

    Args:
        record: The image.
        settings: The settings in ``provenance.json``.
    """
    facts = record.facts
    for key in facts.keys() - _FACTS:
        yield Finding(record.id, key, show(facts[key]), "no such fact")
    for key in ("label", "prediction", "target"):
        value = facts.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < (NO_LABEL if key == "label" else 0):
            yield Finding(record.id, key, show(value), "a class")
    source = {"predicted": "prediction", "label": "label"}.get(str(settings.get("targets")))
    if source is not None and facts.get("target") != facts.get(source):
        yield Finding(record.id, "target", show(facts.get("target")), f"{show(facts.get(source))} (the {source})")


def check_class_names(record: Record, names: dict[int, str]) -> Iterator[Finding]:
    """Check that each class has the same name everywhere.

    Args:
        record: The image.
        names: Names by class, from all images so far; the names of this image are added.
    """
    for kind in ("label", "prediction", "target"):
        name, number = record.facts.get(f"{kind}_name"), record.facts.get(kind)
        if name is None or not isinstance(number, int):
            continue
        if not isinstance(name, str) or names.setdefault(number, name) != name:
            yield Finding(record.id, f"name of class {number}", show(name), show(names.get(number)))


def together_faults(record: Record, recorded: Recorded) -> Iterator[Finding]:
    """Check the values that all certificates of one image share, since they count the same samples.

    Args:
        record: The image.
        recorded: The objects that the settings describe.
    """
    counts: dict[tuple[str, int], tuple[str, Tensor, float]] = {}
    numbers: dict[str, tuple[str, Any]] = {}

    def agree(what: str, name: str, value: Any) -> Iterator[Finding]:
        first, before = numbers.setdefault(what, (name, value))
        if before != value:
            yield Finding(f"{record.id}, {name}", what, show(value), f"{show(before)} ({first})")

    for name, result in record.results.items():
        yield from agree("num_samples", name, result.num_samples)
        predicted = result.num_predicted, result.num_predictions, result.num_extra_passes
        yield from agree("predicted noisy copies", name, predicted)
        yield from agree("class_votes", name, result.sampling.get("class_votes"))
        if isinstance(result, CountsPredictions) and result.num_predictions:
            expected = result.num_predicted, result.num_predictions
            if (int(result.votes[0]), result.num_samples) != expected:
                stored = f"{int(result.votes[0])} of {result.num_samples}"
                yield Finding(f"{record.id}, {name}", "votes", stored, "{} of {} predicted copies".format(*expected))
        yield from agree("regions", name, None if result.partition is None else identity(result.partition))
        masked = result.noise_partition
        yield from agree(MASKED, name, None if masked is None else identity(masked))
        if not isinstance(result, CountsMasks):
            continue
        yield from agree("num_constant", name, result.num_constant)
        for entry in result.masks():
            key = entry.ties, entry.size
            _, votes, tied = counts.setdefault(key, (name, entry.votes, entry.tied))
            if votes.shape != entry.votes.shape or not torch.equal(votes, entry.votes):
                yield Finding(f"{record.id}, {name}", f"votes for K = {entry.size} are not those of {counts[key][0]}")
            if tied != entry.tied:
                yield Finding(f"{record.id}, {name}", f"tied at K = {entry.size}", show(entry.tied), show(tied))
    for (ties, size), (name, votes, _) in counts.items():
        larger = [key for key in counts if key[0] == ties and key[1] > size]
        for key in larger:
            if votes.shape == counts[key][1].shape and bool((votes > counts[key][1]).any()):
                what = f"more votes for K = {size} than for K = {key[1]}: the top K of a map are among its top {key[1]}"
                yield Finding(f"{record.id}, {name}", what)


def differences(stored: Result, derived: Result) -> Iterator[Finding]:
    """The fields in which two results of one kind differ, each with the first position; ``place`` stays empty.

    Args:
        stored: The result in a file.
        derived: The result that was derived from the counts in the file.
    """
    for field in attrs.fields(type(stored)):
        one, two = getattr(stored, field.name), getattr(derived, field.name)
        if isinstance(one, Tensor):
            yield from tensor_difference(field.name, one, two)
        elif one != two and not (one != one and two != two):  # NaN equals NaN here
            yield Finding("", field.name, show(one), show(two))


def differing_places(stored: Result, again: Result) -> Iterator[tuple[str, str, str]]:
    """The parts of the image, regions or masks, that two results of one image are not both about.

    Args:
        stored: The result in a file.
        again: The result of new samples.

    Yields:
        What differs, as it is stored, and as it is now.
    """
    before, now = stored.places(), again.places()
    for what in sorted(before.keys() | now.keys()):
        if before.get(what) != now.get(what):
            yield what, str(before.get(what)), str(now.get(what))


def tensor_difference(name: str, stored: Tensor, derived: Tensor) -> Iterator[Finding]:
    """The first position at which two tensors differ, and the number of such positions; ``place`` stays empty.

    Args:
        name: Name of the tensor.
        stored: The tensor in a file.
        derived: The derived tensor.
    """
    if stored.shape != derived.shape or stored.dtype != derived.dtype:
        yield Finding("", name, *(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (stored, derived)))
        return
    differ = stored != derived
    if stored.is_floating_point():
        differ &= ~(stored.isnan() & derived.isnan())
    if bool(differ.any()):
        where = differ.nonzero()
        index = tuple(where[0].tolist())
        count = f" ({len(where)} of {stored.numel()} differ)"
        yield Finding("", name + position(index) + count, show(stored[index].item()), show(derived[index].item()))
