"""The job ``fit_modes``: modes of a nuisance from a folder of pictures of the same scenes."""

import io
from pathlib import Path

import attrs
import numpy as np
import torch

from lit_certattr.budgets.components import Components, principal_components
from lit_certattr.budgets.modes import file_digest
from lit_certattr.data.images import IMAGE_SUFFIXES, read_image
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole
from lit_certattr.jobs.arguments import checked
from lit_certattr.settings import whole_number

_SUFFIX = ".npy"


@attrs.frozen
class FittedModes:
    """Result of :func:`fit_modes`.

    Attributes:
        path: The file of modes, for ``NuisanceNoise(images=..., images_tau=...)``.
        sha256: Digest of its content.
        tau: Standard deviation of the amount of each mode in the pictures: the suggested ``images_tau``.
        shares: Share of the variance inside the scenes that each mode explains, largest first.
        num_scenes: Number of scenes.
        num_images: Number of pictures.
    """

    path: Path
    sha256: str
    tau: float
    shares: list[float]
    num_scenes: int
    num_images: int


@checked
def fit_modes(
    folder: str | Path,
    output: str | Path,
    count: int = 3,
    size: int = 224,
    channels: int = 3,
    crop: float = 1.0,
    series: int | None = None,
    overwrite: bool = False,
) -> FittedModes:
    """Fit principal components to how pictures of the same scenes differ, and write them as a file of modes.

    Args:
        folder: Folder with one sub-folder for each scene, which holds at least two pictures of it; or, with ``series``,
            a folder of pictures.
        output: The ``.npy`` file to write.
        count: Number of modes.
        size: Height and width in pixels, as the images of the run will have.
        channels: 3 for RGB, 1 for grayscale.
        crop: Side of the central square that is kept, as a share of the short side, as in the run.
        series: This many consecutive files, in the order of their names, show one scene. Default: sub-folders do.
        overwrite: Replace an existing file.

    Returns:
        The file, the suggested strength, and the shares of variance.

    Raises:
        InputError: If the folder, a picture or a number cannot be used; nothing is written then.

    Example:
        >>> from lit_certattr import jobs
        >>> fitted = jobs.fit_modes("exposure_series", "modes.npy", count=3)  # doctest: +SKIP
        >>> NuisanceNoise(0.25, images=str(fitted.path), images_tau=fitted.tau)  # doctest: +SKIP
    """
    target = Path(output)
    whole_number("count", count, least=1)
    whole_number("size", size, least=1)
    if channels not in (1, 3) or not 0 < crop <= 1:
        raise InputError(f"channels must be 1 or 3 and crop in (0, 1], got {channels} and {crop:g}")
    if target.suffix != _SUFFIX:
        raise InputError(f"output: {target} must end in {_SUFFIX}")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already; choose another --output, or --overwrite=true")
    scenes = _scenes(Path(folder), series)
    pictures = [torch.stack([read_image(path, size, channels, crop) for path in paths]) for paths in scenes]
    found = principal_components(pictures, count)
    write_whole(target, _content(found))
    num_images = sum(map(len, scenes))
    return FittedModes(target, file_digest(str(target)), found.tau, found.shares.tolist(), len(scenes), num_images)


def _content(found: Components) -> bytes:
    file = io.BytesIO()
    np.save(file, found.fields.float().numpy())
    return file.getvalue()


def _scenes(folder: Path, series: int | None) -> list[list[Path]]:
    """The files of each scene."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    if series is not None:
        files, length = _images(folder), whole_number("series", series, least=2)
        if not files or len(files) % length:
            raise InputError(f"{folder} holds {len(files)} images, which are no series of {length} each")
        return [files[start : start + length] for start in range(0, len(files), length)]
    found = {below: _images(below) for below in sorted(folder.iterdir()) if below.is_dir()}
    found = {below: files for below, files in found.items() if files}
    if not found:
        raise InputError(f"{folder} has no sub-folders of images, one for each scene; give series for a flat folder")
    for below, files in found.items():
        if len(files) < 2:
            raise InputError(f"{below} holds one image: a scene needs at least two pictures")
    return list(found.values())


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
