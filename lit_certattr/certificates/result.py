"""Results of certificates: frozen, self-contained records that can be saved and read again bit for bit."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import attrs
import torch
from torch import Tensor

from lit_certattr.budgets import Budget, LpBudget, VoteBounds
from lit_certattr.certificates.majority import majority_in_words
from lit_certattr.certificates.stored_fields import fields_as_bytes, fields_of, from_fields
from lit_certattr.errors import InputError
from lit_certattr.files.packed import read_loose_or_packed
from lit_certattr.files.untrusted import DAMAGE, MAX_TENSORS
from lit_certattr.files.whole_file import write_whole
from lit_certattr.partitions import identity
from lit_certattr.settings.discovery import SameName, class_named
from lit_certattr.smoothing import DiscreteGaussianNoise, GeneralisedNormalNoise, UniformBallNoise, noise_law
from lit_certattr.statistics.rounding import confidence, exact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MASKED = "masked regions"
"""What a record calls the regions that the noise keeps or hides as a whole."""
_NOT_GAUSSIAN = frozenset({UniformBallNoise.__name__, GeneralisedNormalNoise.__name__})


def _less_than_alpha(result: "Result", field: "attrs.Attribute[float]", slack: float) -> None:
    if not 0 <= slack < result.alpha * result.alpha_share:
        raise ValueError(f"{field.name} must lie in [0, alpha * alpha_share), got {slack}")


def _of_regions(result: "Result", field: "attrs.Attribute[Tensor | None]", partition: Tensor | None) -> None:
    if partition is not None and (partition.dtype, partition.ndim) not in {(torch.int64, 2), (torch.bool, 3)}:
        raise ValueError(f"{field.name} must be int64 labels [H, W] or boolean masks [m, H, W]")


def _masked(result: "Result", field: "attrs.Attribute[Tensor | None]", partition: Tensor | None) -> None:
    if partition is not None and (partition.dtype, partition.ndim) != (torch.int64, 2):
        raise ValueError(f"{field.name} must be int64 labels [H, W]")


def _at_most_samples(result: "Result", field: "attrs.Attribute[int]", number: int) -> None:
    most = result.num_predictions if field.name == "num_predicted" else result.num_samples
    if not 0 <= number <= most:
        raise ValueError(f"{field.name} must lie in 0..{most}, got {number}")


class Coverage(NamedTuple):
    """What is certified for one changed image.

    Attributes:
        length: Length of the change in the budget of the result; infinity where no radius covers it.
        certified: How many certified things (pixels over all levels, claims, pixels of an overlap) hold there.
        total: How many there could be.
    """

    length: float
    certified: int
    total: int


@attrs.frozen(eq=False, repr=False)
class Result(ABC):
    """Base of all results. Tensors live on the CPU.

    A kind of your own says what is certified (:meth:`statement`). Its optional capabilities are in
    :mod:`lit_certattr.certificates.capabilities`.

    Attributes:
        num_samples: Number of samples that were drawn.
        num_invalid: Number of samples whose logits or maps are NaN or infinite; they vote for nothing.
        num_predictions: Number of noisy copies whose predicted class is known: all samples, or the first few if each
            took a forward pass of its own; 0 if unknown, as in results of older versions.
        num_predicted: Number of these that are predicted as the explained class.
        num_extra_passes: Number of noisy copies that passed the network for their prediction alone.
        alpha: Probability of any false statement about this image, over all pixels and levels together, and over
            all moments at which sampling could have stopped.
        alpha_share: Share of alpha that this result uses: 1, or the share of one look if sampling may stop early
            (:mod:`lit_certattr.certification`).
        alpha_slack: Part of it that the noise itself spends, since the law that is drawn is not exactly the law of the
            theorem (:func:`~lit_certattr.smoothing.alpha_slack`); the bounds use the rest. 0 for most laws.
        sigma: Standard deviation of the noise, in pixel units; under a nuisance law that of its independent part.
        noise: Name of the noise law.
        noise_settings: The noise law with all its settings, where radii are no lengths of an lp norm; else empty.
        flags: What a reader must know before believing the numbers, e.g. ``"constant maps"``; often empty.
        sampling: How the samples were drawn: seed, image id, target, batch size, threads, precision, memory
            format, generator, attribution, versions. Part of the certificate, since another explainer or other
            noise makes another statement. Empty if the user counted the maps directly, without a certifier.
        partition: The regions of the image that the values of the maps belong to, as
            :meth:`lit_certattr.regions.Regions.__call__` gives them; ``None`` if they belong to pixels. A statement
            about pixels is then about regions: each is one pixel of the map.
        noise_partition: The regions of the image that the noise keeps or hides as a whole, int64 labels ``[H, W]``;
            ``None`` for laws without regions. Another partition than :attr:`partition`, which may be there, too.
    """

    kind: ClassVar[str] = ""
    """Key of the result, and name of the kind in tables and files."""
    statistics: ClassVar[tuple[str, ...]] = ()
    """Tensor fields that count or add samples: almost equal if another machine draws the same samples."""

    majorities: ClassVar[bool] = False
    """Whether everything certified is that something keeps a majority of the noisy copies."""
    paired: ClassVar[bool] = False
    """Whether attacks compare the noisy maps of clean and perturbed image sample by sample, as for a cosine."""

    num_samples: int = attrs.field(kw_only=True)
    num_invalid: int = attrs.field(kw_only=True, default=0)
    num_predictions: int = attrs.field(kw_only=True, default=0, validator=_at_most_samples)
    num_predicted: int = attrs.field(kw_only=True, default=0, validator=_at_most_samples)
    num_extra_passes: int = attrs.field(kw_only=True, default=0, validator=_at_most_samples)
    alpha: float = attrs.field(kw_only=True)
    alpha_share: float = attrs.field(
        kw_only=True, default=1.0, validator=[attrs.validators.gt(0), attrs.validators.le(1)]
    )
    alpha_slack: float = attrs.field(kw_only=True, default=0.0, validator=_less_than_alpha)
    sigma: float = attrs.field(kw_only=True)
    noise: str = attrs.field(kw_only=True)
    noise_settings: str = attrs.field(kw_only=True, default="")
    flags: tuple[str, ...] = attrs.field(kw_only=True, default=(), converter=tuple)
    sampling: dict[str, Any] = attrs.field(kw_only=True, factory=dict, converter=dict)
    partition: Tensor | None = attrs.field(kw_only=True, default=None, validator=_of_regions)
    noise_partition: Tensor | None = attrs.field(kw_only=True, default=None, validator=_masked)

    @abstractmethod
    def statement(self, radius: float | None = None) -> str:
        """What is certified, in plain words: what is preserved, for which budget, at which confidence.

        Certified numbers are rounded down where they are not printed in full, so the text is as true as the result.

        Args:
            radius: Budget in pixel units, in the unit of :attr:`change_budget`; ``None`` for the default radius of the
                kind of result. 0 is treated as ``None``, since no claim is about a ball of radius 0.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """

    def __repr__(self) -> str:
        from lit_certattr.certificates.showing import line_of

        return line_of(self)

    def _repr_html_(self) -> str:
        from lit_certattr.certificates.showing import html_of

        return html_of(self)

    def plot(self) -> "Figure":
        """A matplotlib figure of the result; if nothing is certified, it says so.

        Returns:
            A figure that belongs to no window; save it with ``savefig``.
        """
        from lit_certattr.certificates.drawing import paint_note, spread_over
        from lit_certattr.certificates.presentation import present

        shown = present(self)
        figure = shown.figure()
        if nothing := shown.nothing():
            paint_note(figure, nothing)
        if self.partition is not None:
            for axes in figure.axes:
                spread_over(axes, self.partition)
        return figure

    @property
    def change_budget(self) -> Budget:
        """The changes of the image that this result is about; all its radii are lengths of this budget.

        Raises:
            InputError: If the noise law of a file is not known, or needs a file that is missing or has changed.
        """
        if self.noise_settings:
            budget = _budget_of(self.noise_settings)
            return budget if self.noise_partition is None else budget.placed(self.noise_partition)
        # Laws of others by their certificate: one that is proved for Gaussian noise refuses all but its subclasses.
        scale = None if self.noise in _NOT_GAUSSIAN else self.sigma
        return LpBudget(scale, self.radius_norm, self._levels())

    @property
    def scale(self) -> float:
        """A usual length of a change; under a Gaussian law the standard deviation along the first axis of the budget.

        Bounds for Gaussian laws divide lengths by it.
        """
        return self.change_budget.typical if self.noise_settings else self.sigma

    @property
    def radius_norm(self) -> str:
        """Norm in which radii are measured, along the first axis of :attr:`change_budget`; ``"l2"`` for most kinds."""
        return "l2"

    def _levels(self) -> int | None:
        """Grey levels of the images that are covered; ``None`` for all images."""
        if self.noise != DiscreteGaussianNoise.__name__:
            return None
        law = noise_law(self.sampling["noise"]) if "noise" in self.sampling else None
        return law.levels if isinstance(law, DiscreteGaussianNoise) else DiscreteGaussianNoise(self.sigma).levels

    def holds_for(self, image: Tensor, changed: Tensor) -> Coverage:
        """Whether one particular changed image is covered, and what is certified for it.

        Args:
            image: The image that was certified, ``[C, H, W]`` in [0, 1].
            changed: The changed image, of the same shape and scale.

        Raises:
            InputError: If the images differ in shape, or are not finite.
        """
        budget = self.change_budget
        length = (budget.majority_length if self.majorities else budget.length)(image, changed)
        count = getattr(self, "certified_count", None)
        if count is None:
            return Coverage(length, 0, 0)
        kept, total = count(length) if math.isfinite(length) else (0, count(0.0)[1])
        return Coverage(length, kept, total)

    @property
    def noisy_accuracy(self) -> float | None:
        """Share of the noisy copies that are predicted as the explained class; ``None`` if unknown.

        Below one half (:data:`~lit_certattr.certificates.noisy_accuracy.LOW`) the map explains a class that the network
        hardly sees under this noise.
        """
        return self.num_predicted / self.num_predictions if self.num_predictions else None

    @property
    def map_shape(self) -> tuple[int, ...] | None:
        """Height and width of the maps of this result; ``None`` if it does not hold them."""
        return None

    @property
    def spent_alpha(self) -> float:
        """Error probability of the bounds of this result: ``alpha`` times its share, minus the slack of the noise."""
        return self.alpha * self.alpha_share - self.alpha_slack

    def places(self) -> dict[str, str]:
        """What a record holds of the parts of the image that this result is about, such as its regions."""
        return regions_of(self.partition, self.noise_partition)

    def _surely(self) -> str:
        """At which confidence; the start of a statement."""
        regions = "" if self.partition is None else "Each pixel of the map is a region of the image. "
        return f"{regions}With probability at least {confidence(self.alpha)}"

    def noise_in_words(self) -> str:
        """The noise in words, the perturbed images that it covers if it does not cover all, and what is explained.

        What is explained is said if it is not simply the network, and the class that it predicts for the clean image
        or that the user gave.
        """
        grid = " (perturbed images of whole grey levels)" if self.noise == "DiscreteGaussianNoise" else ""
        explained = [self.sampling["explained"]] if "explained" in self.sampling else []
        if (majority := majority_in_words(self.sampling)) is not None and "class_rule" not in self.sampling:
            explained.append(f"class {self.sampling.get('target')}: {majority}")
        part = f" (it explains {', and '.join(explained)})" if explained else ""
        return f"{self.law_in_words()}{grid}{part}"

    def law_in_words(self) -> str:
        """The noise law alone, without the settings that are left out."""
        return re.sub(r", \w+=None", "", self.noise_settings) or f"{self.noise} with sigma = {exact(self.sigma)}"

    def _lengths_in_words(self, radius: float | None, majorities: bool = False) -> str:
        """What the length of a change is, and what a radius allows; nothing for a norm, which needs no explanation.

        Args:
            radius: The radius of a statement; ``None`` for none.
            majorities: Whether the statement is about majorities alone.
        """
        if not (definition := self.change_budget.definition):
            return ""
        if not radius:
            return f" {definition}"
        allowed = self.change_budget.in_words(radius, majorities=majorities)
        return f" {definition} Within {exact(radius)} {'lie, each alone' if ';' in allowed else 'lies'}: {allowed}."

    def _stored(self) -> tuple[str, dict[str, Any]]:
        """Name of the class, and all fields, as a file holds them."""
        return type(self).__name__, {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}

    def _record(self) -> dict[str, Any]:
        """The fields that every kind of result has."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Result)}

    def save(self, path: str | Path) -> None:
        """Write this result to a safetensors file, losslessly and atomically.

        Args:
            path: File to write.

        Raises:
            InputError: If the file cannot be written.
        """
        save_results(path, {self.kind: self})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result written by :meth:`save`.

        Args:
            path: File to read.

        Raises:
            InputError: If the file is missing, damaged, or holds another kind of result.
        """
        result = load_results(path).get(cls.kind)
        if not isinstance(result, cls):
            raise InputError(f"{path}: holds no {cls.__name__}")
        return result


@attrs.frozen(eq=False, repr=False)
class UnknownResult(Result):
    """A result of a kind that is not imported: its common fields are known, and nothing is claimed.

    Attributes:
        type_name: Name of its class.
        plain: Plain fields of that class alone.
        tensors: Tensor fields of that class alone.
    """

    kind: ClassVar[str] = "unknown"

    type_name: str
    plain: dict[str, Any]
    tensors: dict[str, Tensor]

    def statement(self, radius: float | None = None) -> str:
        """Say that nothing is claimed, since the kind is unknown here."""
        return (
            f"This certificate is a {self.type_name}, which is not known here: nothing is claimed about it. Import the "
            f"package that defines it to read it."
        )

    def _stored(self) -> tuple[str, dict[str, Any]]:
        return self.type_name, self._record() | self.plain | self.tensors


def regions_of(partition: Tensor | None, noise_partition: Tensor | None) -> dict[str, str]:
    """What a record holds of regions: how many there are, and their hash.

    Args:
        partition: The regions that the values of the maps belong to; ``None`` for pixels.
        noise_partition: The regions that the noise keeps or hides as a whole; ``None`` for laws without.
    """
    parts = {"regions": partition, MASKED: noise_partition}
    return {what: identity(one) for what, one in parts.items() if one is not None}


@lru_cache(maxsize=64)
def _budget_of(law: str) -> Budget:
    return noise_law(law).budget


def votes_of(record: Mapping[str, Any]) -> VoteBounds:
    """How far a change of the image can move a vote.

    Args:
        record: The fields that every result has.
    """
    return (_budget_of(written) if (written := record.get("noise_settings")) else LpBudget(record["sigma"])).votes


def save_results(path: str | Path, results: Mapping[str, Result]) -> None:
    """Write named results to one safetensors file, atomically.

    Equal results give equal bytes.

    Args:
        path: File to write.
        results: Results by name; names must not contain ``/``.

    Raises:
        InputError: If the file cannot be written.
    """
    write_whole(Path(path), results_as_bytes(results))


def results_as_bytes(results: Mapping[str, Result]) -> bytes:
    """The content of the file that :func:`save_results` writes.

    Args:
        results: Results by name; names must not contain ``/``.
    """
    entries: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, result in results.items():
        kind, values = result._stored()
        for key in ("partition", "noise_partition"):
            if values[key] is None:  # so that files of results without regions are those of older versions
                del values[key]
        if not values.get("noise_settings"):  # likewise
            values.pop("noise_settings", None)
        entries[name] = kind, values
    return fields_as_bytes(entries)


def load_results(path: str | Path) -> dict[str, Result]:
    """Read the results of one file; a finished run holds most of them in ZIPs, which are found by the same path.

    The file is data: no code runs, and nothing is imported. A result of a kind that is not imported becomes an
    :class:`UnknownResult`.

    Args:
        path: File written by :func:`save_results`.

    Returns:
        Results by name.

    Raises:
        InputError: If the file is missing, damaged, or not written by :func:`save_results`.
    """
    try:
        content = read_loose_or_packed(Path(path), MAX_TENSORS)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise _damaged(path, error) from None
    return results_of(content, path)


def results_of(content: bytes, place: str | Path) -> dict[str, Result]:
    """The results that the bytes of one file hold.

    Args:
        content: The bytes of a file written by :func:`save_results`.
        place: Its path, for messages.

    Raises:
        InputError: If it is damaged, or not written by :func:`save_results`.
    """
    try:
        return {name: _read(kind, plain, tensors) for name, kind, plain, tensors in fields_of(content)}
    except SameName as error:
        raise InputError(f"{place}: {error}") from None
    except DAMAGE as error:
        raise _damaged(place, error) from None


def _damaged(place: str | Path, error: BaseException) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{place}: not a file of certified results, or damaged ({reason})")


def _read(name: str, plain: dict[str, Any], tensors: dict[str, Tensor]) -> Result:
    """A result of the kind with this name, if it is imported."""
    kind = class_named(Result, name)
    if kind is not None and kind is not UnknownResult:
        return from_fields(kind, plain, tensors)
    common = {field.name for field in attrs.fields(Result)}
    known = {key: value for key, value in plain.items() if key in common}
    own = {key: value for key, value in plain.items() if key not in common}
    return from_fields(UnknownResult, known | {"type_name": name, "plain": own, "tensors": tensors}, {})


def check_same_shape(stored: Tensor, fresh: Tensor) -> None:
    """Refuse to compare maps of different shapes.

    Args:
        stored: Tensor of the stored result.
        fresh: Tensor of the other result.

    Raises:
        InputError: If the shapes differ; the message names both.
    """
    if stored.shape != fresh.shape:
        raise InputError(f"shape of the maps: stored {tuple(stored.shape)}, derived {tuple(fresh.shape)}")


def invalid_flags(num_invalid: int, num_samples: int) -> list[str]:
    """Flags about samples that gave no map.

    Args:
        num_invalid: Samples whose logits or map are NaN or infinite.
        num_samples: Number of all samples.
    """
    if not num_invalid:
        return []
    return [f"{num_invalid} of {num_samples} noisy samples gave NaN or infinity; they vote for nothing"]
