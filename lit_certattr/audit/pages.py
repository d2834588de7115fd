"""Writes ``report.html`` and ``figures/`` of an audited run again from the certificates, and compares them."""

import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from lit_certattr.audit.finding import Finding
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_whole
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.edges import strays
from lit_certattr.reports.html import draw_figures, fill_page

_MAX_PICTURE = 2**26
_MAX_PAGE = 2**29
_CLOSE = 8  # of 255, for a pixel: matplotlib's coordinates vary in their last bits from drawing to drawing
_COARSE, _COARSELY = 64, 24  # squares on a side; of 255, for the mean of a square
_DIGITS = 1e-4  # of a PDF's points


def check_page(
    directory: RunDirectory, ids: Sequence[str], table: pa.Table, max_panels: int
) -> tuple[list[Finding], list[str]]:
    """Write the page and its pictures again, and compare.

    With the same version of matplotlib on the same kind of processor, pictures must agree in every pixel within 8 of
    255, and a PDF in every number within 1e-4 points. Otherwise the means of 64 x 64 squares of the pictures are
    compared, which may differ by 24 of 255.

    Args:
        directory: A run whose certificates and table are consistent.
        ids: Ids of its images, in the order of the table.
        table: Content of ``results.parquet``.
        max_panels: Largest number of images with a panel.

    Returns:
        The differences, and notes on what could not be compared.
    """
    try:
        return _compare(directory, ids, table, max_panels)
    except InputError as error:
        return [Finding("report.html", str(error))], []
    except Exception as error:  # hostile facts and provenance reach the templates only here
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return [Finding("report.html", f"cannot be generated again from these files ({reason})")], []


def _compare(
    directory: RunDirectory, ids: Sequence[str], table: pa.Table, max_panels: int
) -> tuple[list[Finding], list[str]]:
    provenance = directory.provenance()
    same = _same_machine(provenance)
    drawn = draw_figures(directory, ids, max_panels)
    stored = {name: read_whole(directory.figures / name, _MAX_PICTURE) for name in drawn}
    findings = list(_picture_faults(stored, drawn, same))
    if findings:  # a line may fall on either side of a pixel: a picture that was altered differs from each drawing
        findings = list(_picture_faults(stored, draw_figures(directory, ids, max_panels), same))
    left = strays((path.name for path in directory.figures.iterdir()), drawn)
    findings += [Finding(f"figures/{name}", "belongs to no image of the run") for name in left]
    notes = (
        []
        if same
        else [
            "Another version or machine drew the pictures: they were compared with a coarse tolerance, PDFs not at all."
        ]
    )
    page = read_whole(directory.report, _MAX_PAGE)
    if page != fill_page(directory, ids, table, provenance, stored).encode():
        findings.append(Finding("report.html", _how_it_differs(provenance)))
    return findings, notes


def _how_it_differs(provenance: Mapping[str, Any]) -> str:
    versions = provenance.get("versions")
    written = versions.get("lit-certattr") if isinstance(versions, Mapping) else None
    line = "is not the page that follows from these certificates, this table and provenance.json"
    if written not in (None, version("lit-certattr")):
        line += f" in version {version('lit-certattr')}; it was written by {written}"
    return f"{line}; lit-certattr certify run with the same settings writes it again without sampling"


def _same_machine(provenance: Mapping[str, Any]) -> bool:
    versions = provenance.get("versions")
    return (
        isinstance(versions, Mapping)
        and all(versions.get(name) == version(name) for name in ("matplotlib", "numpy"))
        and provenance.get("cpu") == torch.backends.cpu.get_cpu_capability()
    )


def _picture_faults(stored: Mapping[str, bytes], drawn: Mapping[str, bytes], same: bool) -> Iterator[Finding]:
    for name, data in stored.items():
        if data == drawn[name]:
            continue
        if name.endswith(".pdf"):
            if same and not _equal_streams(_streams(data), _streams(drawn[name])):
                yield Finding(f"figures/{name}", "is not the figure of these certificates")
            continue
        try:
            pixels, own = _pixels(data, drawn[name])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            yield Finding(f"figures/{name}", f"is no picture of this run ({' '.join(str(error).split())[:80]})")
            continue
        one, two = (pixels, own) if same else (_means(pixels), _means(own))
        furthest = int(np.abs(one.astype(np.int16) - two.astype(np.int16)).max())
        if furthest > (_CLOSE if same else _COARSELY):
            yield Finding(f"figures/{name}", "is not the figure of these certificates")


def _pixels(stored: bytes, drawn: bytes) -> tuple[np.ndarray, np.ndarray]:
    pictures = [Image.open(io.BytesIO(data), formats=["PNG"]) for data in (stored, drawn)]
    if pictures[0].size != pictures[1].size:  # known from the header: nothing is unpacked yet
        raise ValueError(f"its size is {pictures[0].size}, not {pictures[1].size}")
    one, two = (np.asarray(picture.convert("RGBA")) for picture in pictures)
    return one, two


def _means(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels).resize((_COARSE, _COARSE), Image.Resampling.BOX)
    return np.asarray(small)


def _streams(data: bytes) -> list[bytes]:
    """The content of a PDF, independent of the library that compressed it."""
    packed = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    return [_unpacked(part) for part in packed]


def _equal_streams(stored: list[bytes], drawn: list[bytes]) -> bool:
    number = re.compile(rb"(-?\d+\.\d+)")
    for one, two in zip_longest(stored, drawn, fillvalue=b""):
        if one == two:
            continue
        parts = number.split(one), number.split(two)
        if parts[0][::2] != parts[1][::2]:
            return False
        values, own = (np.array([float(value) for value in part[1::2]]) for part in parts)
        if not np.allclose(values, own, rtol=0, atol=_DIGITS):
            return False
    return True


def _unpacked(part: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(part, _MAX_PICTURE)
    except zlib.error:
        return part
