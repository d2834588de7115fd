"""Files that say which logit of a network belongs to which class name."""

import csv
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lit_certattr.errors import InputError
from lit_certattr.files.address import as_address
from lit_certattr.files.untrusted import MAX_TEXT, check_file
from lit_certattr.models.names import suggestion

_OTHERS = frozenset({".yaml", ".yml", ".toml", ".ini", ".xml", ".html", ".jsonl"})
"""Formats of text whose lines would be taken for names of classes."""


class ClassMap:
    """Names of a network's logits, as a file gives them.

    =============================  ==========================================================================
    file                           content
    =============================  ==========================================================================
    ``.json``                      ``{"cat": 281}``; ``{"281": "cat"}`` or ``{"281": ["n02123045", "cat"]}``, as in
                                   ``imagenet_class_index.json``; or a list of names in the order of the logits
    ``.csv``, ``.tsv``             a column of numbers, and one or more of names; a line of titles is passed over
    other text                     lines ``cat 281`` or ``281 cat``; or the names, one per line, in the order of the
                                   logits. A line ``n02123045 tabby, tabby cat`` names a logit by its first word,
                                   by the rest, and by the parts between commas
    =============================  ==========================================================================

    Args:
        path: The file.

    Raises:
        InputError: If it cannot be read, is of another format (YAML, ...), or has another content.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "classes.json"
        >>> _ = path.write_text('{"281": ["n02123045", "tabby"], "7": ["n01514668", "cock"]}')
        >>> ClassMap(path).indices(["tabby", "n01514668"])
        [281, 7]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._logits: defaultdict[str, set[int]] = defaultdict(set)
        self.names: dict[int, str] = {}
        try:
            check_file(self.path, MAX_TEXT)
            text = self.path.read_text(encoding="utf-8-sig")
            found = list(self._read(text))
        except FileNotFoundError:
            hint = "" if as_address(path) is None else ": addresses are not downloaded; download it, and give its path"
            raise InputError(f"class_indices: there is no file {path}{hint}") from None
        except (OSError, ValueError, csv.Error, RecursionError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(f"class_indices: {path} cannot be read ({said})") from None
        for index, names in found:
            self.names.setdefault(index, names[-1])
            for name in names:
                self._logits[_nfc(name)].add(index)
        if not found:
            raise InputError(f"class_indices: {path} names no class")

    def indices(self, names: Sequence[str]) -> list[int]:
        """The logit of each class.

        Args:
            names: Names of the classes of the data.

        Raises:
            InputError: If the file does not name a class, or gives it several logits.
        """
        return [self._index(name) for name in names]

    def _index(self, name: str) -> int:
        found = sorted(self._logits.get(_nfc(name), ()))
        if not found:
            raise InputError(
                f"class_indices: {self.path} does not name the class {name!r}; {suggestion(name, self._logits)}"
            )
        if len(found) > 1:
            raise InputError(
                f"class_indices: {self.path} gives the class {name!r} the logits {', '.join(map(str, found))}; name "
                "its folder by something else in the file, e.g. its WordNet id"
            )
        return found[0]

    def _read(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Each logit with its names; the last name is the one to show."""
        match self.path.suffix.lower():
            case ".json":
                yield from _of_json(json.loads(text))
            case ".csv" | ".tsv":
                rows = list(
                    csv.reader(text.splitlines(), delimiter="," if self.path.suffix.lower() == ".csv" else "\t")
                )
                yield from _of_rows([[cell.strip() for cell in row] for row in rows if row])
            case suffix if suffix in _OTHERS:
                raise ValueError(f"{suffix} is not read, but .json, .csv, .tsv and lines of text: write one of these")
            case _:
                yield from _of_lines([line.strip() for line in text.splitlines() if line.strip()])


def _of_json(content: Any) -> Iterator[tuple[int, list[str]]]:
    if isinstance(content, list):
        yield from ((index, _texts(names)) for index, names in enumerate(content))
        return
    if not isinstance(content, dict):
        raise ValueError("it holds neither a mapping nor a list")
    for key, value in content.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield value, [key]
        elif key.isdecimal():
            yield int(key), _texts(value)
        else:
            raise ValueError(f"{key!r} has the value {value!r:.60}, which is no number of a logit")


def _texts(names: Any) -> list[str]:
    texts = [names] if isinstance(names, str) else names
    if not isinstance(texts, list) or not texts or not all(isinstance(name, str) for name in texts):
        raise ValueError(f"{names!r:.60} is no name of a class")
    return texts


def _of_rows(rows: list[list[str]]) -> Iterator[tuple[int, list[str]]]:
    width = min((len(row) for row in rows), default=0)
    body = rows[1:] or rows
    column = next((place for place in range(width) if all(row[place].isdecimal() for row in body)), None)
    if column is None or width < 2:
        raise ValueError("it needs a column of numbers of logits and one of names")
    for row in rows if rows[0][column].isdecimal() else body:
        yield int(row[column]), [cell for place, cell in enumerate(row) if place != column and cell]


def _of_lines(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    words = [line.split() for line in lines]
    if all(len(one) > 1 and one[-1].isdecimal() for one in words):
        yield from ((int(one[-1]), [" ".join(one[:-1])]) for one in words)
    elif all(len(one) > 1 and one[0].isdecimal() for one in words):
        yield from ((int(one[0]), [" ".join(one[1:])]) for one in words)
    else:
        for index, (line, one) in enumerate(zip(lines, words, strict=True)):
            rest = line[len(one[0]) :].strip()
            parts = [part.strip() for part in rest.split(",")] if len(one) > 1 else []
            yield index, [one[0], *parts, rest, line] if rest else [line]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
