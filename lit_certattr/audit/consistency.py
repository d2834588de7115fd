"""Checks whether the settings, the certificates and ``config.yaml`` of a run agree."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lit_certattr.audit.finding import Finding, name_list, show
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.records.digests import fingerprint
from lit_certattr.regions.segmenter import is_identity

_SETTINGS = (
    "attribution",
    "noise",
    "num_samples",
    "batch_size",
    "seed",
    "memory_format",
    "certificates",
    "targets",
    "device",
    "precision",
    "threads",
    "torch",
    "network",
    "structure",
    "images",
)
_OPTIONAL = (
    "stopping",
    "look_shares",
    "fold_batch_norm",
    "compile_mode",
    "class_samples",
    "explained",
    "sources",
    "states",
)
PAGE = ("radii", "max_panels")
"""Settings that only influence the table and the page."""
MAX_LIST = 1000
"""Largest number of values of one setting."""
_LONGEST = 10_000
"""Characters of the text of an object that are read."""
_DEVICES = {"cpu": "cpu", "cuda": "cuda", "gpu": "cuda", "mps": "mps"}


def check_provenance(provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the fingerprint, missing settings, and values that ``provenance.json`` contains twice.

    Args:
        provenance: Content of ``provenance.json``.
        settings: The settings in it.
    """
    if provenance.get("fingerprint") != fingerprint(settings):
        yield Finding("provenance.json", "fingerprint", show(provenance.get("fingerprint")), fingerprint(settings))
    for key in _SETTINGS:
        if key not in settings:
            older = " (an older version recorded the weights of the network, not its classes and arguments)"
            yield Finding("provenance.json", f"the settings lack {key}{older if key == 'structure' else ''}")
    for key in ("batch_size", "seed", "threads"):
        if isinstance(settings.get(key), bool):  # which Python takes for 0 or 1
            yield Finding("provenance.json", key, show(settings.get(key)), "a number")
    for key in settings.keys() - {*_SETTINGS, *_OPTIONAL}:
        yield Finding("provenance.json", f"the settings hold {show(key)}, which no run has")
    network, versions = provenance.get("network"), provenance.get("versions")
    said = {
        "seed": provenance.get("seed"),
        "threads": provenance.get("threads"),
        "network": network.get("hash") if isinstance(network, Mapping) else None,
        "torch": versions.get("torch") if isinstance(versions, Mapping) else None,
    }
    if settings.get("device") != "cuda":  # there it is the name of the accelerator
        said["device"] = provenance.get("device")
    for key, value in said.items():
        if value is not None and value != settings.get(key):
            yield Finding("provenance.json", key, show(value), f"{show(settings.get(key))} (settings)")
    sessions = provenance.get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(session, Mapping) for session in sessions):
        yield Finding("provenance.json", "sessions", show(sessions), "a list of sessions")


def read_config(path: Path, settings: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Finding]]:
    """The configuration of a run as plain values, and its differences from the settings.

    No class that it names is imported.

    Args:
        path: Path of ``config.yaml``.
        settings: The settings in ``provenance.json``.

    Returns:
        The configuration, empty if it cannot be used; and the differences.
    """
    try:
        config = read_yaml(path)
    except (OSError, ValueError) as error:
        return {}, [Finding("config.yaml", f"cannot be read ({' '.join(str(error).split())[:160]})")]
    if not isinstance(config, Mapping):
        return {}, [Finding("config.yaml", "is not a mapping of settings")]
    if not isinstance(config.get("certifier"), Mapping):  # a run from Python: the file contains its settings
        page = {key: config[key] for key in PAGE if key in config}
        if {key: value for key, value in config.items() if key not in page} != settings:
            return {}, [Finding("config.yaml", "differs from the settings in provenance.json")]
        faults = [Finding("config.yaml", *fault) for fault in _page_faults(page)]
        return ({} if faults else page), faults
    faults = [finding._replace(place="config.yaml") for finding in _config_differences(config, settings)]
    faults += [Finding("config.yaml", *fault) for fault in _page_faults(config)]
    return ({} if any(fault.what in ("radii", "max_panels") for fault in faults) else config), faults


def _page_faults(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Check the settings that only influence the table and the page."""
    radii, panels = config.get("radii"), config.get("max_panels")
    if radii is not None and not (
        isinstance(radii, list)
        and len(radii) <= MAX_LIST
        and all(isinstance(r, int | float) and not isinstance(r, bool) and 0 <= r < 1e9 for r in radii)
    ):
        yield "radii", show(radii), "numbers, at least 0"
    if panels is not None and (not isinstance(panels, int) or isinstance(panels, bool)):
        yield "max_panels", show(panels), "a number of images"


def _config_differences(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Differences between a resolved configuration and the settings; imports no class."""
    certifier = config["certifier"]

    def compare(key: str, said: Any, known: Any) -> Iterator[Finding]:
        said = list(said) if isinstance(said, tuple) else said
        if said is not None and not _same(known, said):
            yield Finding("", key, show(said), f"{show(known)} (provenance.json)")

    for key in ("num_samples", "batch_size", "seed", "memory_format"):
        yield from compare(f"certifier.{key}", certifier.get(key), settings.get(key))
    yield from _stopping_differences(certifier.get("stopping"), settings.get("stopping"))
    folded = [bool(place.get("fold_batch_norm")) for place in (certifier, settings)]
    yield from compare("certifier.fold_batch_norm", *folded)
    yield from compare(
        "certifier.compile_mode", *(place.get("compile_mode") or "none" for place in (certifier, settings))
    )
    for key in ("noise", "attribution"):
        for place, said, known in _arguments(f"certifier.{key}", certifier.get(key), settings.get(key)):
            yield from compare(place, said, known)
    yield from compare("targets", config.get("targets"), settings.get("targets"))
    if isinstance(trainer := config.get("trainer"), Mapping):
        device, precision = _DEVICES.get(str(trainer.get("accelerator"))), trainer.get("precision")
        if precision == "16-mixed" and settings.get("device") == "cpu":
            precision = "bf16-mixed"  # Lightning's choice there
        yield from compare("trainer.threads", trainer.get("threads"), settings.get("threads"))
        yield from compare("trainer.precision", precision, settings.get("precision"))
        yield from compare("trainer.accelerator", device, settings.get("device"))
    named, expected = certifier.get("certificates"), settings.get("certificates")
    if not isinstance(expected, Mapping):
        return
    entries = list(named.values() if isinstance(named, Mapping) else named if isinstance(named, list) else [])
    if len(entries) != len(expected) or (isinstance(named, Mapping) and list(named) != list(expected)):
        yield Finding("", "certifier.certificates", str(len(entries)), f"{name_list(expected)} (provenance.json)")
        return
    for entry, (name, values) in zip(entries, expected.items(), strict=True):
        kind, arguments = _class(entry)
        yield from compare(name, kind, values.get("kind"))
        for key, value in arguments.items():
            if key in values:
                yield from compare(f"{name}.{key}", value, values[key])


def _stopping_differences(said: Any, known: Any) -> Iterator[Finding]:
    """Compare the stopping rules: their classes, and the arguments that both places contain."""
    entries, texts = (list(value) if isinstance(value, list) else [] for value in (said, known))
    if len(entries) != len(texts):
        yield Finding("", "certifier.stopping", str(len(entries)), f"{name_list(texts)} (provenance.json)")
        return
    for entry, text in zip(entries, texts, strict=True):
        (kind, arguments), (rule, values) = _class(entry), _call(text)
        if kind != rule:
            yield Finding("", "certifier.stopping", show(kind), f"{show(rule)} (provenance.json)")
        for key in arguments.keys() & values.keys():
            if not _same(values[key], arguments[key]):
                yield Finding("", f"{rule}.{key}", show(arguments[key]), f"{show(values[key])} (provenance.json)")


def _class(value: Any) -> tuple[Any, Mapping[str, Any]]:
    """Class and arguments of a ``class_path`` entry; ``None`` and no arguments for anything else."""
    if not isinstance(value, Mapping):
        return (value.rpartition(".")[2] if isinstance(value, str) else None), {}
    arguments = value.get("init_args")
    return str(value.get("class_path")).rpartition(".")[2], arguments if isinstance(arguments, Mapping) else {}


def _arguments(place: str, said: Any, text: Any) -> Iterator[tuple[str, Any, Any]]:
    """The class of an object and its arguments, those of objects among them included, in both places.

    Args:
        place: Name of the object.
        said: The object in the configuration, a ``class_path`` entry.
        text: The ``repr`` of the object in the settings.
    """
    (kind, arguments), (name, known) = _class(said), _call(text)
    yield place, kind, name
    for argument, value in arguments.items():
        if argument not in known:
            continue
        if isinstance(value, Mapping) and "class_path" in value and not _is_network(known[argument]):
            yield from _arguments(f"{place}.{argument}", value, known[argument])
        else:
            yield f"{place}.{argument}", value, known[argument]


def _call(text: Any) -> tuple[str, dict[str, str]]:
    """Name and arguments of ``"Name(a=1, b=Other(c=2))"``; lists are left out.

    Example:
        >>> _call("RegionMap(base=Gradient(channels='sum'), pooling='mean')")
        ('RegionMap', {'base': "Gradient(channels='sum')", 'pooling': "'mean'"})
    """
    name, _, inside = str(text).partition("(")
    try:
        call = ast.parse(str(text)[:_LONGEST], mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call):
        return name, dict(re.findall(r"(\w+)=([^,()\[\]]+)", inside))
    plain = ast.Constant | ast.Call | ast.UnaryOp | ast.Name
    return name, {str(word.arg): ast.unparse(word.value) for word in call.keywords if isinstance(word.value, plain)}


def _is_network(known: Any) -> bool:
    return isinstance(known, str) and is_identity(known.strip("'\""))


def _same(known: Any, value: Any) -> bool:
    """Whether two settings are equal, where one may be text."""
    if known == value or _is_network(known):  # a record holds hashes of a network, which no configuration has
        return True
    if isinstance(known, list) and isinstance(value, list):
        return len(known) == len(value) and all(map(_same, known, value))
    if isinstance(known, Mapping) and "class_path" in known:  # a configuration may name the class by a shorter path
        (kind, arguments), (said, given) = _class(known), _class(value)
        return (
            said == kind
            and given.keys() <= arguments.keys()
            and all(_same(arguments[key], given[key]) for key in given)
        )
    text = str(known).strip("'\"")
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == float(value)
        except (ValueError, OverflowError):
            return False
    return text == str(value)
