"""Whether the settings, the certificates and ``config.yaml`` of a run say the same."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lit_certattr.certificates import Result
from lit_certattr.errors import InputError
from lit_certattr.reports.run_directory import fingerprint
from lit_certattr.smoothing import DiscreteGaussianNoise, alpha_slack
from lit_certattr.statistics import doubling_looks, look_share
from lit_certattr.stopping import LOOK_SHARES

_SAMPLING = (
    "attribution",
    "noise",
    "num_samples",
    "batch_size",
    "seed",
    "memory_format",
    "fold_batch_norm",
    "look_shares",
    "device",
)
_CERTIFICATE = (  # what a result holds as it was asked for
    "alpha",
    "top_k",
    "tau",
    "correction",
    "sparsity",
    "map_kind",
    "bound",
    "num_selection",
    "nonnegative",
    "ties",
    "radius_norm",
    "pairs",
)


class Finding(NamedTuple):
    """One thing that is not as it must be.

    Attributes:
        place: Image and certificate, or the file.
        what: Which value, with level and pixel where it has them.
        stored: What the directory holds.
        derived: What follows from the counts, or from the other files; empty if there is no such value.
    """

    place: str
    what: str
    stored: str = ""
    derived: str = ""

    def __str__(self) -> str:
        line = f"{self.place}: {self.what}"
        return f"{line}: stored {self.stored}, derived {self.derived}" if self.stored or self.derived else line


def check_settings(
    image_id: str, name: str, result: Result, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> Iterator[Finding]:
    """What a certificate says of itself against the settings of the run.

    Args:
        image_id: Id of the image.
        name: Name of the certificate.
        result: The certificate.
        settings: Those of ``provenance.json``.
        facts: What the directory holds of the image beside.
    """
    place, sampling = f"{image_id}, {name}", result.sampling
    for key in _SAMPLING:
        if sampling.get(key) != settings.get(key):
            yield Finding(place, key, show(sampling.get(key)), f"{show(settings.get(key))} (provenance.json)")
    if sampling.get("image_id") != image_id:
        yield Finding(place, "image_id", show(sampling.get("image_id")), show(image_id))
    if "target" in facts and sampling.get("target") != facts["target"]:
        yield Finding(place, "target", show(sampling.get("target")), show(facts["target"]))
    rule = {"predicted": "predicted", "label": "given"}.get(str(settings.get("targets")))
    if rule is not None and sampling.get("target_rule") != rule:
        yield Finding(place, "target_rule", show(sampling.get("target_rule")), show(rule))
    law, arguments = _call(settings.get("noise"))
    if result.noise != law:
        yield Finding(place, "noise", result.noise, f"{law} (provenance.json)")
    if "sigma" in arguments and not _same(arguments["sigma"], result.sigma):
        yield Finding(place, "sigma", show(result.sigma), f"{arguments['sigma']} (provenance.json)")
    yield from (finding._replace(place=place) for finding in _check_looks(result, settings))
    certificates = settings.get("certificates")
    own = certificates.get(name) if isinstance(certificates, Mapping) else None
    for key, value in (own or {}).items() if isinstance(own, Mapping | None) else ():
        if key not in _CERTIFICATE:
            continue
        held = getattr(result, key, sampling.get(key))
        held = list(held) if isinstance(held, tuple) else held
        if held != value:
            yield Finding(place, key, show(held), f"{show(value)} (provenance.json)")


def check_slack(
    image_id: str, name: str, result: Result, settings: Mapping[str, Any], dimension: int
) -> Iterator[Finding]:
    """Whether a certificate has taken off its alpha what noise on a grid adds to it.

    Args:
        image_id: Id of the image.
        name: Name of the certificate.
        result: The certificate.
        settings: Those of ``provenance.json``.
        dimension: Number of values of the image.
    """
    law, arguments = _call(settings.get("noise"))
    slack = 0.0
    if law == DiscreteGaussianNoise.__name__:
        try:
            noise = DiscreteGaussianNoise(float(arguments["sigma"]), int(arguments["levels"]))
        except (KeyError, ValueError, InputError):
            yield Finding(f"{image_id}, {name}", "noise", show(settings.get("noise")), "noise that can be drawn")
            return
        slack = alpha_slack(noise, result.num_samples, dimension)
    if result.alpha_slack != slack:
        yield Finding(f"{image_id}, {name}", "alpha_slack", show(result.alpha_slack), show(slack))


def _check_looks(result: Result, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Number of samples and share of alpha: one look at the end, or those that the run may stop at."""
    asked, looks = settings.get("num_samples"), result.sampling.get("looks")
    if not isinstance(asked, int):
        return
    expected: tuple[int, ...] = (asked,)
    if settings.get("stopping"):
        first = looks[0] if isinstance(looks, list) and looks and isinstance(looks[0], int) else asked
        expected = doubling_looks(max(first, 1), asked)
        if looks != list(expected):
            yield Finding("", "looks", show(looks), show(list(expected)))
    elif looks is not None:
        yield Finding("", "looks", show(looks), "none: the settings have no stopping rule")
    if result.num_samples not in expected:
        yield Finding("", "num_samples", show(result.num_samples), f"{show(list(expected))} (provenance.json)")
        return
    share = 1 / len(expected)  # of runs that were written before the last look got more
    if (rule := settings.get("look_shares")) is not None:
        if rule != LOOK_SHARES:
            yield Finding("", "look_shares", show(rule), f"{LOOK_SHARES}, or none")
        share = look_share(expected.index(result.num_samples) + 1, len(expected))
    if result.alpha_share != share:
        yield Finding("", "alpha_share", show(result.alpha_share), show(share))


def check_provenance(provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """The fingerprint, and what ``provenance.json`` says twice.

    Args:
        provenance: The file.
        settings: Its settings.
    """
    if provenance.get("fingerprint") != fingerprint(settings):
        yield Finding("provenance.json", "fingerprint", show(provenance.get("fingerprint")), fingerprint(settings))
    network = provenance.get("network")
    pairs = {"seed": provenance.get("seed"), "network": network.get("hash") if isinstance(network, Mapping) else None}
    for key, value in pairs.items():
        if value is not None and value != settings.get(key):
            yield Finding("provenance.json", key, show(value), f"{show(settings.get(key))} (settings)")


def read_config(path: Path, settings: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Finding]]:
    """The configuration of a run as plain values, and where it says something else than the settings.

    Nothing that it names is imported.

    Args:
        path: ``config.yaml``.
        settings: Those of ``provenance.json``.
    """
    try:
        config = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        return {}, [Finding("config.yaml", f"cannot be read ({' '.join(str(error).split())[:80]})")]
    if not isinstance(config, Mapping):
        return {}, [Finding("config.yaml", "is no mapping of settings")]
    if not isinstance(config.get("certifier"), Mapping):  # a run from Python: its settings stand there
        same = config == settings
        return {}, [] if same else [Finding("config.yaml", "is not the settings in provenance.json")]
    faults = [finding._replace(place="config.yaml") for finding in _config_differences(config, settings)]
    radii = config.get("radii")
    if radii is not None and not (isinstance(radii, list) and all(isinstance(r, int | float) for r in radii)):
        return {}, [*faults, Finding("config.yaml", "radii", show(radii))]
    return config, faults


def _config_differences(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Where a resolved configuration says something else than the settings; without importing what it names."""
    certifier = config["certifier"]

    def compare(key: str, said: Any, known: Any) -> Iterator[Finding]:
        said = list(said) if isinstance(said, tuple) else said
        if said is not None and not _same(known, said):
            yield Finding("", key, show(said), f"{show(known)} (provenance.json)")

    for key in ("num_samples", "batch_size", "seed", "memory_format"):
        yield from compare(f"certifier.{key}", certifier.get(key), settings.get(key))
    folded = [bool(place.get("fold_batch_norm")) for place in (certifier, settings)]
    yield from compare("certifier.fold_batch_norm", *folded)
    for key in ("noise", "attribution"):
        kind, arguments = _class(certifier.get(key))
        law, known = _call(settings.get(key))
        yield from compare(f"certifier.{key}", kind, law)
        for argument, value in arguments.items():
            if argument in known:
                yield from compare(f"certifier.{key}.{argument}", value, known[argument])
    yield from compare("targets", config.get("targets"), settings.get("targets"))
    if isinstance(trainer := config.get("trainer"), Mapping):
        for key in ("precision", "threads"):
            yield from compare(f"trainer.{key}", trainer.get(key), settings.get(key))
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


def _class(value: Any) -> tuple[Any, Mapping[str, Any]]:
    """Class and arguments of a ``class_path`` entry; ``None`` and nothing if it is none."""
    if not isinstance(value, Mapping):
        return (value.rpartition(".")[2] if isinstance(value, str) else None), {}
    arguments = value.get("init_args")
    return str(value.get("class_path")).rpartition(".")[2], arguments if isinstance(arguments, Mapping) else {}


def _call(text: Any) -> tuple[str, dict[str, str]]:
    """Name and arguments of ``"Name(a=1, b=2)"``.

    Example:
        >>> _call("GaussianNoise(sigma=0.25)")
        ('GaussianNoise', {'sigma': '0.25'})
    """
    name, _, inside = str(text).partition("(")
    return name, dict(re.findall(r"(\w+)=([^,()\[\]]+)", inside))


def _same(known: Any, value: Any) -> bool:
    """Whether two settings are equal, where one may be text."""
    if known == value:
        return True
    text = str(known).strip("'\"")
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return text == str(value)


def at(index: tuple[int, ...]) -> str:
    """Place in a tensor, in the words of a reader."""
    if not index:
        return ""
    if len(index) == 3:
        return f" at level {index[0]}, pixel ({index[1]}, {index[2]})"
    return f" at pixel ({index[0]}, {index[1]})" if len(index) == 2 else f" at {', '.join(map(str, index))}"


def show(value: Any) -> str:
    """A value in at most 60 letters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_list(names: Any) -> str:
    """Names in one line."""
    return ", ".join(map(str, names)) or "none"
