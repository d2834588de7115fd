"""What runs share, what differs between them, and why some must not be ranked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import exact

_HASHES = ("network", "structure", "images")
_LONGEST, _DEEPEST = 200, 20


@attrs.frozen
class Terms:
    """What a certificate of a run is about.

    Attributes:
        kind: Kind of its results.
        alpha: Probability of a false statement about an image.
        levels: Levels of K as the user gave them; empty without levels.
        length: What its radii are lengths of, see :func:`~lit_certattr.comparison.measures.length_of`.
    """

    kind: str
    alpha: float
    levels: tuple[float, ...]
    length: str


class Setting(NamedTuple):
    """A setting of several runs.

    Attributes:
        name: Dotted name.
        values: Its value in each run; empty where a run has none.
    """

    name: str
    values: list[str]


class UnlikeRuns(InputError):
    """Runs whose numbers must not be ranked.

    Args:
        reasons: One line for each reason.
        names: Names of the runs.
        differing: Settings that differ between the runs.
    """

    def __init__(self, reasons: Sequence[str], names: Sequence[str], differing: Sequence[Setting]) -> None:
        super().__init__(f"these runs must not be ranked: {'; '.join(reasons)}; {REMEDY}")
        self.reasons, self.names, self.differing = list(reasons), list(names), list(differing)


REMEDY = "compare runs that agree, or give --force to rank them in spite of this"


def split_settings(settings: Sequence[Mapping[str, Any]]) -> tuple[list[Setting], list[Setting]]:
    """The settings that differ between runs, and those that all of them share.

    Args:
        settings: Settings of each run: plain nested values.

    Example:
        >>> differing, shared = split_settings([{"noise": {"sigma": value}, "seed": 0} for value in (0.1, 0.2)])
        >>> differing
        [Setting(name='noise.sigma', values=['0.1', '0.2'])]
        >>> shared
        [Setting(name='seed', values=['0', '0'])]
    """
    flat = [dict(_flat(one)) for one in settings]
    names = list(dict.fromkeys(name for one in flat for name in one))
    every = [Setting(name, [one.get(name, "") for one in flat]) for name in names]
    differing = [one for one in every if len(set(one.values)) > 1]
    return differing, [one for one in every if len(set(one.values)) == 1]


def _flat(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Settings with dotted names, as text; hashes are cut short."""
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for key, below in value.items():
            yield from _flat(below, f"{name}.{key}" if name else str(key), depth + 1)
        return
    text = exact(value) if isinstance(value, float) else _as_text(value)
    digest = name in _HASHES or name.startswith("sources.")
    yield name, text[:12] if digest else text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:  # of a file that nests thousands of lists
        return "..."


def reasons_against(names: Sequence[str], terms: Sequence[Mapping[str, Terms]], images: Sequence[Any]) -> list[str]:
    """Why runs must not be ranked, one line for each reason; empty if they may be.

    Runs may differ in network, noise, method and number of samples. Two numbers are about the same question only if
    images, error probability, K and the changes of the image that are allowed agree.

    Args:
        names: Names of the runs.
        terms: The certificates of each run by name.
        images: Hash of the images of each run.
    """
    found = []
    for name, own, hashed in zip(names[1:], terms[1:], images[1:], strict=True):
        if hashed != images[0]:
            found.append(f"{names[0]} and {name} certified other images")
        for certificate in terms[0].keys() & own.keys():
            before, now = terms[0][certificate], own[certificate]
            pairs = {
                "is of kind": (before.kind, now.kind),
                "has alpha =": (exact(before.alpha), exact(now.alpha)),
                "has K =": (_levels(before), _levels(now)),
                "is about changes measured as": (before.length, now.length),
            }
            for what, (one, two) in pairs.items():
                if one != two:
                    found.append(f"certificate {certificate} {what} {one} in {names[0]}, {two} in {name}")
    return sorted(found)


def _levels(terms: Terms) -> str:
    return ", ".join(exact(level) for level in sorted(terms.levels, reverse=True)) or "none"
