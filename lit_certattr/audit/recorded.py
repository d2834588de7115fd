"""Builds the objects that the settings of a run describe: noise law, certificates, looks. It imports nothing."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from typing_extensions import override

from lit_certattr.attribution import Attribution, FunctionAttribution, ProbabilityGradient, RegionMap
from lit_certattr.audit.consistency import MAX_LIST
from lit_certattr.audit.finding import show
from lit_certattr.certificates import Certificate
from lit_certattr.certification import LOOK_SHARES, NOISY_MAJORITY, Certifier, Look, StoppingRule
from lit_certattr.certification.looks import possible_looks
from lit_certattr.errors import InputError
from lit_certattr.preflight import CHECKS
from lit_certattr.settings.discovery import class_named
from lit_certattr.settings.revived import UnknownClass, revived
from lit_certattr.smoothing import Noise, noise_law
from lit_certattr.smoothing.normals import stream_of
from lit_certattr.statistics import look_share

MAX_SAMPLES = 10_000_000
"""Largest number of samples per image that an audit accepts; more would need gigabytes of memory."""

_ARITHMETIC = {
    "32-true": "float32",
    "64-true": "float64",
    "16-true": "float16",
    "bf16-true": "bfloat16",
    "16-mixed": "float32, autocast float16",
    "bf16-mixed": "float32, autocast bfloat16",
}
_TARGET_RULE = {"predicted": "predicted", "label": "given", NOISY_MAJORITY: NOISY_MAJORITY}
_COPIED = (
    "attribution",
    "noise",
    "num_samples",
    "batch_size",
    "seed",
    "memory_format",
    "stopping",
    "look_shares",
    "fold_batch_norm",
    "compile_mode",
    "class_samples",
    "explained",
    "device",
    "threads",
)


def certificate_of(values: Any) -> Certificate | None:
    """The certificate with given settings.

    Args:
        values: ``{"kind": "<name of the class>", "alpha": 0.001, ...}``.

    Returns:
        The certificate; ``None`` for a class that neither belongs to this package nor was imported by the user.

    Raises:
        InputError: If the settings are malformed or incomplete, or the class refuses them.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("kind"), str):
        raise InputError("the settings of a certificate must be a mapping with a kind")
    kind = class_named(Certificate, values["kind"])
    if kind is None:
        return None
    try:
        arguments = {key: revived(value) for key, value in values.items() if key != "kind"}
    except UnknownClass:
        return None
    if any(isinstance(value, list) and len(value) > MAX_LIST for value in arguments.values()):
        raise InputError(f"a setting of {values['kind']} has more than {MAX_LIST} values")
    try:
        made = kind(**arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{values['kind']} refuses its settings: {' '.join(str(error).split())}") from None
    missing = inspect.signature(kind).parameters.keys() - arguments.keys()
    if missing:
        raise InputError(f"the settings of {values['kind']} lack {', '.join(sorted(missing))}")
    return made


class Recorded(NamedTuple):
    """The objects that the settings of a run describe.

    Attributes:
        noise: The noise law; ``None`` if its class was not imported.
        certificates: Certificates by name; ``None`` if the class was not imported.
        num_samples: Largest number of samples per image.
        may_stop: Whether sampling may stop early.
        last_gets_half: Whether the last look got half of alpha; in older runs all looks had the same share.
        settings: Plain settings of the certificates, by name.
    """

    noise: Noise | None
    certificates: dict[str, Certificate | None]
    num_samples: int
    may_stop: bool
    last_gets_half: bool
    settings: Mapping[str, Any]

    def plain(self, name: str) -> dict[str, Any]:
        """The settings of one certificate, without its class.

        Args:
            name: Name of the certificate.
        """
        return {key: value for key, value in dict(self.settings.get(name) or {}).items() if key != "kind"}

    @property
    def unknown(self) -> dict[str, str]:
        """Class names of the certificates whose class was not imported, by name of the certificate."""
        names = [name for name, certificate in self.certificates.items() if certificate is None]
        return {name: str(self.settings[name]["kind"]) for name in names}

    def shares(self, map_shape: tuple[int, int]) -> dict[int, float] | None:
        """Numbers of samples at which an image may stop, each with its share of alpha.

        Args:
            map_shape: Height and width of the maps.

        Returns:
            Share of alpha by number of samples; ``None`` if it depends on certificates of unknown kinds.

        Raises:
            InputError: If the settings contradict each other.
        """
        own = {name: certificate for name, certificate in self.certificates.items() if certificate is not None}
        if self.noise is None or len(own) < len(self.certificates):
            return None
        if self.may_stop and not self.last_gets_half:
            return _equal_shares(own, self.num_samples, map_shape[0] * map_shape[1])
        stopping = [_Whatever()] if self.may_stop else []
        certifier = Certifier(ProbabilityGradient(), self.noise, own, num_samples=self.num_samples, stopping=stopping)
        looks = certifier.looks(map_shape)
        return {look: look_share(number, len(looks)) for number, look in enumerate(looks, start=1)}


def _equal_shares(certificates: Mapping[str, Certificate], num_samples: int, num_pixels: int) -> dict[int, float]:
    """The looks of a run of an older version, each with the same share of alpha."""
    looks = possible_looks(certificates, num_samples, num_pixels, lambda number: 1 / number)
    return dict.fromkeys(looks, 1 / len(looks))


class _Whatever(StoppingRule):
    """Some stopping rule: the looks do not depend on it."""

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        return False


def read_settings(settings: Mapping[str, Any]) -> tuple[Recorded | None, list[str]]:
    """The objects that the settings of a run describe, and the faults of the settings.

    Args:
        settings: The settings in ``provenance.json``.

    Returns:
        The objects, ``None`` if the settings do not determine them; and the faults, one line each.
    """
    faults = []
    count, named = settings.get("num_samples"), settings.get("certificates")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SAMPLES:
        return None, [f"num_samples must be a number in 1..{MAX_SAMPLES:,}, got {show(count)}"]
    if not isinstance(named, Mapping) or not named:
        return None, ["certificates: the settings name none"]
    law: Noise | None = None
    known: dict[str, Certificate | None] = {}
    try:
        law = noise_law(settings.get("noise"))
    except InputError as error:
        if class_named(Noise, _name(settings.get("noise"))) is not None:
            faults.append(str(error))
    for name, values in named.items():
        try:
            known[name] = certificate_of(values)
            if law is not None and (certificate := known[name]) is not None:
                certificate.check_noise(law)
        except InputError as error:
            faults.append(f"{name}: {error}")
    if faults:
        return None, faults
    if settings.get("targets") not in _TARGET_RULE:
        faults.append(f"targets must be one of {', '.join(_TARGET_RULE)}, got {show(settings.get('targets'))}")
    faults += _class_samples_faults(settings)
    if settings.get("precision") not in _ARITHMETIC:
        faults.append(f"precision must be one of {', '.join(_ARITHMETIC)}, got {show(settings.get('precision'))}")
    rule, may_stop = settings.get("look_shares"), bool(settings.get("stopping"))
    if rule is not None and (rule != LOOK_SHARES or not may_stop):
        faults.append(f"look_shares: no rule of this run is called {show(rule)}")
    return Recorded(law, known, count, may_stop, rule is not None, named), faults


def _class_samples_faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """The number of copies that choose the class is there if and only if their majority is the class."""
    count = settings.get("class_samples")
    if settings.get("targets") != NOISY_MAJORITY:
        if count is not None:
            yield f"class_samples: the explained class is not chosen by noisy copies, got {show(count)}"
    elif not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SAMPLES:
        yield f"class_samples must be a number in 1..{MAX_SAMPLES:,}, got {show(count)}"


def sampling_fields(
    settings: Mapping[str, Any], recorded: Recorded, name: str, image_id: str, facts: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The fields of ``sampling`` that a certificate must contain, except the looks and the votes for its class.

    Args:
        settings: The settings in ``provenance.json``.
        recorded: The objects that the settings describe.
        name: Name of the certificate.
        image_id: Id of the image.
        facts: Label, prediction and explained class of the image.

    Yields:
        Name and value of a field.
    """
    for key in _COPIED:
        if key in settings:
            yield key, settings[key]
    yield "image_id", image_id
    yield "target", facts.get("target")
    yield "target_rule", _TARGET_RULE.get(str(settings.get("targets")))
    yield "preflight", list(CHECKS)
    yield "precision", _ARITHMETIC.get(str(settings.get("precision")))
    if recorded.noise is not None:
        yield "generator", recorded.noise.generator(stream_of(str(settings.get("device"))))
        if settings.get("targets") == NOISY_MAJORITY:
            yield "class_generator", recorded.noise.generator(stream_of("cpu"))
    method = str(settings.get("attribution"))
    if is_known_method(method) and (rule := _class_rule(method)) is not None:
        yield "class_rule", rule
    if (certificate := recorded.certificates.get(name)) is not None:
        yield from certificate.conditions().items()


def is_known_method(text: str) -> bool:
    """Whether an attribution method is of a class that belongs to this package or was imported.

    Args:
        text: ``repr`` of the method, e.g. ``"Gradient(channels='sum_abs')"``.
    """
    return not is_function(text) and class_named(Attribution, _name(text)) is not None


def is_region_map(text: str) -> bool:
    """Whether the ``repr`` of an attribution method is that of a method whose values belong to regions.

    Args:
        text: E.g. ``"RegionMap(base=Gradient(channels='sum_abs'), regions=Grid(cells=7))"``.
    """
    method = class_named(Attribution, _name(text))
    return method is not None and issubclass(method, RegionMap)


def is_function(text: str) -> bool:
    """Whether an attribution method is a function, of which only the name is recorded.

    Args:
        text: ``repr`` of the method, e.g. ``"FunctionAttribution(name='mine')"``.
    """
    return _name(text) == FunctionAttribution.__name__


def _name(text: Any) -> str:
    """Name of the class in the ``repr`` of an object."""
    return str(text).partition("(")[0]


def _class_rule(text: str) -> str | None:
    """How the method with this ``repr`` selects the explained class, if that is not the target."""
    methods = (class_named(Attribution, name) for name in re.findall(r"(\w+)\(", text))
    rules = (getattr(method, "class_rule", None) for method in methods)
    return next((rule for rule in rules if isinstance(rule, str)), None)
