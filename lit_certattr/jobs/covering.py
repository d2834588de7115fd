"""The job ``covers``: what a finished run has certified for particular changed images."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor

from lit_certattr.budgets import LARGEST, OUTSIDE, REST, Split
from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import CountsPixels, KeepsCosine
from lit_certattr.certificates.reach import length_that_keeps
from lit_certattr.data import Photographs
from lit_certattr.data.ids import known_id
from lit_certattr.data.images import IMAGE_SUFFIXES, read_image
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_whole, read_yaml
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.trust import import_packages
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.statistics.rounding import at_least, at_most

_ARRAY = ".npy"
_LARGEST_FILE = 2**30


class Covered(NamedTuple):
    """What one certificate says about one changed image.

    Attributes:
        file: The changed image.
        certificate: Name of the certificate.
        length: Length of the change; infinity where no radius covers it.
        holds: How many certified things hold for the changed image; ``None`` if the certificate counts nothing.
        certified: How many are certified for the image itself.
        total: How many there could be.
        split: Amounts of each kind of change by name, and the rest.
        reason: Why less holds than for the image itself, or what holds in place of a count; may be empty.
    """

    file: str
    certificate: str
    length: float
    holds: int | None
    certified: int
    total: int
    split: Split
    reason: str


@attrs.frozen
class Loading:
    """How files become images of a run.

    Attributes:
        shape: Shape ``(C, H, W)`` of the images of the run.
        crop: Side of the central square that is kept, as a share of the short side.
        white_level: The number that becomes 1.0; ``None`` for the largest of the file's type.
    """

    shape: tuple[int, ...]
    crop: float
    white_level: float | None

    def read(self, path: Path) -> Tensor:
        """One changed image, float32 ``[C, H, W]``.

        Args:
            path: An image file, which is scaled like those of the run; or a ``.npy`` file with an array ``[C, H, W]``
                or ``[H, W]``, which is taken as it is.

        Raises:
            InputError: If it cannot be read.
        """
        if path.suffix.lower() == _ARRAY:
            return _array(path)
        if self.shape[1] != self.shape[2] or self.shape[0] not in (1, 3):
            raise InputError(f"images of {_sides(self.shape)} are given as .npy files, not as {path.name}")
        return read_image(path, self.shape[1], self.shape[0], self.crop, self.white_level)


@checked
def covers(
    directory: str | Path,
    image: str,
    changed: Sequence[str | Path],
    crop: float | None = None,
    white_level: float | None = None,
    imports: Sequence[str] = (),
) -> list[Covered]:
    """Whether particular changed images are covered by the certificates of a finished run, and what holds for them.

    No network is loaded and nothing is sampled: each certificate knows its budget. The files are loaded as the run
    loaded its images: same size, crop and white level.

    Args:
        directory: Output directory of ``certify.py run``.
        image: Id of the certified image, as the report shows it; the ending of its file may be left out.
        changed: The changed images: image files, ``.npy`` files with an array ``[C, H, W]`` in [0, 1], or folders.
        crop: Side of the central square that is kept, as a share of the short side; 1 if the files have the size of the
            images of the run already. Default: as in the run.
        white_level: The number that becomes 1.0. Default: as in the run.
        imports: Packages whose certificates and noise laws are read like those of this package.

    Returns:
        For each file and certificate, what holds.

    Raises:
        InputError: If the run, the image or a file cannot be used; nothing is returned then.

    Example:
        >>> from lit_certattr import jobs
        >>> jobs.covers("runs/certify/brightness", "chelsea", ["brighter.png"])  # doctest: +SKIP
    """
    run = RunDirectory(directory)
    run.check_is_run()
    import_packages(imports, run.path)
    known = sorted(run.image_files.stored())
    try:
        image = known_id(image, known)
    except InputError as error:
        raise InputError(f"{run.path}: {error}") from None
    files = _files([Path(path) for path in changed])
    record = run.read(image)
    loading = _loading(run, record.image, crop, white_level)
    found = []
    for file in files:
        other = loading.read(file)
        if other.shape != record.image.shape:
            raise InputError(
                f"{file} has the shape {_sides(other.shape)}, the images of the run have {_sides(record.image.shape)}"
            )
        for name, result in record.results.items():
            found.append(_covered(str(file), name, result, record.image, other))
    return found


def _covered(file: str, name: str, result: Result, image: Tensor, changed: Tensor) -> Covered:
    try:
        coverage = result.holds_for(image, changed)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    split = result.change_budget.split(image, changed)
    if not isinstance(result, CountsPixels):
        return Covered(file, name, coverage.length, None, 0, 0, split, _without_count(result, coverage.length))
    certified = result.certified_count(0.0)[0]
    reason = ""
    if math.isinf(coverage.length):
        reason = f"no radius covers this change: {_uncovered(result, split)}"
    elif coverage.certified < certified:
        farthest = length_that_keeps(result, 1, result.scale)
        reason = "" if farthest is None else f"the longest change for which something holds is {at_least(farthest)}"
    elif not certified:
        reason = "nothing is certified for the image itself"
    return Covered(file, name, coverage.length, coverage.certified, certified, coverage.total, split, reason)


def _without_count(result: Result, length: float) -> str:
    if isinstance(result, KeepsCosine) and math.isfinite(length):
        return f"cosine at least {at_least(result.certified_cosine(length))}"
    return "this certificate counts nothing; see its statement" if math.isfinite(length) else "no radius covers this"


def _uncovered(result: Result, split: Split) -> str:
    if OUTSIDE in split:
        return f"it changes {split[OUTSIDE]:.0f} pixels in no region, which are always seen"
    if LARGEST in split:
        grey = at_most(255 * split[LARGEST], 3)
        return f"it is no change of {result.change_budget.name} alone, up to {grey} of 255 grey levels are left"
    return f"it is no change that the budget of {result.noise} describes"


def in_words(split: Mapping[str, float]) -> str:
    """Amounts of a change in words.

    Args:
        split: Amounts by name.

    Example:
        >>> in_words({"brightness": 0.1, "l2 rest": 0.44, "largest rest": 0.002})
        'brightness 0.1, l2 rest 0.44, largest rest 0.51 of 255'
    """
    words = [f"{name} {amount:.4g}" for name, amount in split.items() if name not in (REST, LARGEST)]
    words += [f"{REST} {split[REST]:.4g}"] if REST in split else []
    words += [f"{LARGEST} {255 * split[LARGEST]:.3g} of 255"] if LARGEST in split else []
    return ", ".join(words)


def _loading(run: RunDirectory, image: Tensor, crop: float | None, white_level: float | None) -> Loading:
    """How the run loaded its images, as far as its ``config.yaml`` says."""
    try:
        config = read_yaml(run.config)
    except OSError as error:
        raise InputError(f"{run.config} cannot be read: {error.strerror}") from None
    data = config.get("data") if isinstance(config, Mapping) else None
    given = data.get("init_args") if isinstance(data, Mapping) else None
    settings: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if crop is None:
        packaged = isinstance(data, Mapping) and str(data.get("class_path")).endswith(Photographs.__name__)
        crop = _number("crop", settings.get("crop", 0.875 if packaged else 1.0))
    if not 0 < crop <= 1:
        raise InputError(f"crop must lie in (0, 1], got {crop:g}")
    level = settings.get("white_level", "full")
    if white_level is None and level == "auto":
        raise InputError(f"{run.config} has white_level: auto; give the number that it has found with --white_level")
    white = white_level if white_level is not None else None if level == "full" else _number("white_level", level)
    return Loading(tuple(image.shape), crop, white)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} in config.yaml is no number; give --{name}")
    return float(value)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders."""
    found = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        below = sorted(path.iterdir()) if path.is_dir() else [path]
        images = [file for file in below if file.suffix.lower() in IMAGE_SUFFIXES | {_ARRAY} and file.is_file()]
        if not images:
            what = "holds no images" if path.is_dir() else "is no image file"
            raise InputError(f"{path} {what} ({', '.join(sorted(IMAGE_SUFFIXES | {_ARRAY}))})")
        found += images
    if not found:
        raise InputError("no changed image is given: name files or folders with --changed")
    return found


def _array(path: Path) -> Tensor:
    try:
        values = np.load(io.BytesIO(read_whole(path, _LARGEST_FILE)), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise InputError(f"{path} is no .npy file of numbers ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim not in (2, 3):
        raise InputError(f"{path} must hold an array [C, H, W] or [H, W] of floats in [0, 1]")
    return torch.from_numpy(values.astype(np.float32)).reshape((-1, *values.shape[-2:]))


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)
