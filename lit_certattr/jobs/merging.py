"""The job ``merge``: several finished runs of different images as one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
import yaml
from torch import Tensor

from lit_certattr.audit.audit import audit_run
from lit_certattr.audit.binding import differences
from lit_certattr.audit.recorded import read_settings
from lit_certattr.data import NO_LABEL, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.part import Part, ids_digest
from lit_certattr.jobs.trust import import_packages
from lit_certattr.jobs.written_again import write_again
from lit_certattr.records.job_directory import first_difference
from lit_certattr.records.provenance import data_hash
from lit_certattr.records.resuming import network_in_words, some
from lit_certattr.records.run_directory import Record, RunDirectory, check_answers
from lit_certattr.records.table import RADII
from lit_certattr.statistics.rounding import counted

_ROUNDED = ("16-true", "bf16-true")
_ANY = ("output", "overwrite", "ids", "part", "split", "trainer", "logger", "max_images")
"""Settings of a configuration that may differ: where and how the images were divided, and who did the work."""
_OWN = ("settings", "fingerprint", "sessions", "wandb_run", "part", "extended", "merged")
"""Parts of a record that belong to one run."""
_MACHINE = ("versions", "python", "platform", "cpu", "processor", "device")


@attrs.frozen
class _Shard:
    """A finished run that passes its audit.

    Attributes:
        run: The run.
        record: Its ``provenance.json``.
        config: Its ``config.yaml``.
        ids: Ids of its images, in the order of its table.
    """

    run: RunDirectory
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    ids: list[str]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that must be those of the others: all but the images."""
        return {key: value for key, value in self.record["settings"].items() if key != "images"}


@checked
def merge(
    directories: Sequence[str | Path],
    output: str | Path,
    overwrite: bool = False,
    imports: Sequence[str] = (),
) -> RunDirectory:
    """Merge finished runs of different images into one run, as if one run had certified all of them.

    Everything that binds a certificate must be the same: network, method, noise, seed, certificates with their alpha,
    number of samples, precision, kind of device, threads and version of torch. Each run is audited first, and none is
    changed. An image that occurs in several runs must have the same pixels and results in all of them.

    The images are those of all parts of ``run(part=...)``, in the order that the data set has; runs of other images
    (``ids``) follow one another in the order of ``directories``, which must be that of the data set, or the
    merged run cannot be attacked or sampled again from its ``config.yaml``.

    Args:
        directories: Output directories of ``certify.py run``.
        output: Directory of the merged run.
        overwrite: Delete an existing run in ``output``.
        imports: Packages whose certificates and noise laws are read like those of this package.

    Returns:
        The merged run. Its files are those of one run over all images, byte for byte, if the machines were of one kind;
        ``provenance.json`` names the runs that it was made of.

    Raises:
        InputError: If a run is not finished or fails its audit, if two runs differ (the message names what differs), if
            a part is missing, or if ``output`` cannot be used. Nothing is written then.

    Example:
        >>> from lit_certattr import jobs
        >>> jobs.merge(["runs/part1", "runs/part2"], "runs/all")  # doctest: +SKIP
    """
    new = RunDirectory(output)
    runs = [RunDirectory(directory) for directory in directories]
    if len(runs) < 2:
        raise InputError("merge needs at least two runs: give the directories of all of them")
    if any(run.path.resolve() == new.path.resolve() for run in runs):
        raise InputError(f"{new.path} is one of the runs; choose another --output")
    shards = [_opened(run, imports) for run in runs]
    for shard in shards[1:]:
        _check_same(shards[0], shard)
    owners = _owners(shards)
    ids = _in_order(shards, owners)
    settings = {**shards[0].record["settings"], "images": _images_hash(shards[0], owners, ids)}
    new.check(settings, overwrite)
    about = {key: value for key, value in shards[0].record.items() if key not in _OWN}
    about["merged"] = [_origin(shard) for shard in shards]
    config = _config(shards, settings, ids, str(output))
    new.lock.take()
    try:
        new.open(settings, overwrite=overwrite, config=config, provenance=about)
        sessions = [session for shard in shards for session in shard.record.get("sessions", [])]
        max_panels = shards[0].config.get("max_panels", 16)
        write_again(new, ids, partial(_records, owners), sessions, _radii(shards[0]), max_panels)
    finally:
        new.lock.release()
    return new


def _opened(run: RunDirectory, imports: Sequence[str]) -> _Shard:
    """A run, after its audit."""
    audited = audit_run(run, pages=False, packages=import_packages(imports, run.path))
    if audited.findings:
        raise InputError(
            f"{run.path} is no finished run that passes its audit ({audited.findings[0]}): finish it with the command "
            "that began it, or leave it out; lit-certattr certify audit lists everything that is wrong with it"
        )
    record, config = run.provenance(), read_yaml(run.config)
    if record["settings"].get("precision") in _ROUNDED:
        raise InputError(
            f"{run.path} holds images that are rounded to {record['settings']['precision']}, from which the hash of "
            "all images cannot be computed: certify all images in one run"
        )
    return _Shard(run, record, config, audited.ids)


def _check_same(first: _Shard, other: _Shard) -> None:
    """Refuse runs of different settings or networks; the message names the first difference."""
    between = f"{first.run.path} and {other.run.path} cannot be merged"
    again = f"certify the images of {other.run.path} again as those of {first.run.path}, into another --output"
    differs = next(
        (key for key in ("network", "structure") if first.settings.get(key) != other.settings.get(key)), None
    )
    if differs is not None:
        words = network_in_words(first.record, other.record, differs)
        raise InputError(f"{between}: other networks: {words}; {again}")
    difference = first_difference(first.settings, other.settings)
    if difference is None:
        again = f"repeat the command of {other.run.path} with the setting of {first.run.path}; its images are kept"
        page = tuple({key: value for key, value in one.config.items() if key not in _ANY} for one in (first, other))
        if isinstance(first.config.get("certifier"), Mapping) and isinstance(other.config.get("certifier"), Mapping):
            for own, config in zip(page, (first.config, other.config), strict=True):
                own["data"] = _without_limit(config.get("data"))
        else:  # runs from Python, whose configuration is their settings
            page = tuple({key: one.config.get(key) for key in ("radii", "max_panels")} for one in (first, other))
        difference = first_difference(page[0], page[1])
    if difference is not None:
        raise InputError(f"{between}: {difference}; {again}")
    check_answers(first.record, other.record, f"{between}: their networks differ", again)


def _without_limit(data: Any) -> Any:
    """The data of a configuration, without their largest number of images."""
    if not isinstance(data, Mapping) or not isinstance(data.get("init_args"), Mapping):
        return data
    return {**data, "init_args": {key: value for key, value in data["init_args"].items() if key != "max_images"}}


def _owners(shards: Sequence[_Shard]) -> dict[str, _Shard]:
    """The run of each image, by its id; the first one, if several equal ones hold it."""
    owners: dict[str, _Shard] = {}
    for shard in shards:
        held = [(image_id, owners.setdefault(image_id, shard)) for image_id in shard.ids]
        _check_equal(shard, [(image_id, owner) for image_id, owner in held if owner is not shard])
    return owners


def _check_equal(shard: _Shard, held: Sequence[tuple[str, _Shard]]) -> None:
    """Refuse images of which other runs do not hold the same; the message names them."""
    found = [(image_id, owner, _unequal(owner.run, shard.run, image_id)) for image_id, owner in held]
    unequal = [(image_id, owner, what) for image_id, owner, what in found if what is not None]
    if unequal:
        _, owner, what = unequal[0]
        ids = some([image_id for image_id, _, _ in unequal])
        raise InputError(
            f"{owner.run.path} and {shard.run.path} do not hold the same of {counted(len(unequal), 'image')} ({ids}): "
            f"{what} of the first one differ; leave one of the two runs out, and certify its other images with --ids"
        )


def _unequal(first: RunDirectory, other: RunDirectory, image_id: str) -> str | None:
    """What two runs do not hold in common of an image."""
    one, two = first.read(image_id), other.read(image_id)
    if not _same_bits(one.image, two.image):
        return "the pixels"
    if one.facts != two.facts:
        return "label, class or prediction"
    if not _same_bits(one.clean_map, two.clean_map):
        return "the map"
    fields = (
        f"{finding.what} of {name}"
        for name, result in one.results.items()
        for finding in differences(result, two.results[name])
    )
    return next(fields, None)


def _same_bits(one: Tensor, two: Tensor) -> bool:
    return one.dtype == two.dtype and torch.equal(one, two)


def _in_order(shards: Sequence[_Shard], owners: Mapping[str, _Shard]) -> list[str]:
    """Ids of all images, in the order of the data set if the runs are parts of it."""
    parts = [shard.record.get("part") for shard in shards]
    if not any(parts):
        return list(owners)
    cut = [_cut(part, shard) for part, shard in zip(parts, shards, strict=True)]
    whole = {(part.of, images, digest) for part, images, digest in cut}
    if len(whole) > 1:
        raise InputError(
            "the runs are not parts of the same images: "
            + ", ".join(
                f"{shard.run.path} is {part.number}/{part.of} of {images} images"
                for shard, (part, images, _) in zip(shards, cut, strict=True)
            )
            + "; certify all parts of the same data, with the same number of parts"
        )
    ((of, images, digest),) = whole
    there = {part.number: shard for shard, (part, _, _) in zip(shards, cut, strict=True)}
    missing = [f"{number}/{of}" for number in range(1, min(of, images) + 1) if number not in there]
    if missing:
        raise InputError(
            f"part {some(missing)} of the images is missing: give its directory, too, or certify it with "
            f"--part={missing[0]} and the settings of {shards[0].run.path}"
        )
    places = {
        place: image_id
        for number, shard in there.items()
        for place, image_id in zip(Part(number, of).places(images), shard.ids, strict=True)
    }
    ids = [places[place] for place in range(images)]
    if ids_digest(ids) != digest:
        raise InputError("the ids of the images are not those that were divided into parts: certify the parts again")
    return ids


def _cut(record: Any, shard: _Shard) -> tuple[Part, int, str]:
    """The part that a run holds, the number of all images, and the digest of their ids."""
    place = shard.run.provenance_file
    if record is None:
        raise InputError(f"{shard.run.path} is no part of the images, and others are: merge parts with parts")
    try:
        part, images, digest = Part.read(f"{record['number']}/{record['of']}"), record["images"], record["ids"]
        expected = len(part.places(images))
    except (InputError, KeyError, TypeError, OverflowError):
        raise InputError(f"{place}: the record of the part is damaged; certify this part again") from None
    if type(images) is not int or not isinstance(digest, str) or expected != len(shard.ids):
        raise InputError(
            f"{place}: the record of the part does not fit the {len(shard.ids)} images of the run; certify this part "
            "again"
        )
    return part, images, digest


class _Images:
    """The images of several runs, read one at a time."""

    def __init__(self, owners: Mapping[str, _Shard], ids: Sequence[str]) -> None:
        self._owners, self._ids = owners, ids

    def __getitem__(self, index: int, /) -> Tensor:
        return self._owners[self._ids[index]].run.read(self._ids[index]).image


def _images_hash(first: _Shard, owners: Mapping[str, _Shard], ids: Sequence[str]) -> str:
    """Hash of all images, as one run records it."""
    if len(set(map(id, owners.values()))) == 1:  # one run holds all of them
        return str(first.record["settings"]["images"])
    labels = [int(owners[image_id].run.facts(image_id).get("label", NO_LABEL)) for image_id in ids]
    return data_hash(SampleSet(_Images(owners, ids), labels, list(ids)))


def _records(owners: Mapping[str, _Shard], ids: Sequence[str]) -> Iterator[Record]:
    return (owners[image_id].run.read(image_id) for image_id in ids)


def _origin(shard: _Shard) -> dict[str, Any]:
    """What the record of the merged run says of one of its runs."""
    record = shard.record
    return {
        "path": str(shard.run.path),
        "fingerprint": record["fingerprint"],
        "num_images": len(shard.ids),
        **({"part": record["part"]} if "part" in record else {}),
        **{key: record[key] for key in _MACHINE if key in record},
    }


def _config(shards: Sequence[_Shard], settings: Mapping[str, Any], ids: Sequence[str], output: str) -> str:
    """The configuration of the merged run as YAML: that of the first one, about all images."""
    config = shards[0].config
    if not isinstance(config.get("certifier"), Mapping):  # a run from Python
        page = {key: config[key] for key in ("radii", "max_panels") if key in config}
        return yaml.safe_dump(json.loads(json.dumps({**settings, **page})))
    whole = dict(config) | {"output": output} | ({"part": None} if "part" in config else {})
    if not shards[0].record.get("part"):
        whole["ids"] = list(ids)
        whole |= {"data": _without_limit(whole.get("data"))} | ({"max_images": None} if "max_images" in whole else {})
    return yaml.safe_dump(json.loads(json.dumps(whole)), sort_keys=False)


def _radii(shard: _Shard) -> Sequence[float]:
    """Radii of the table's columns."""
    if (radii := shard.config.get("radii")) is not None:
        return list(radii)
    recorded, _ = read_settings(shard.record["settings"])
    assert recorded is not None  # the audit has read it
    assert recorded.noise is not None
    return recorded.noise.budget.usual_radii(RADII)
