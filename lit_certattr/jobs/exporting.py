"""The job ``export``: the table of one finished run, for a paper or a spreadsheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from lit_certattr.errors import InputError
from lit_certattr.files.home import at_home
from lit_certattr.files.whole_file import write_whole
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.comparing import compare
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.export_pdf import export_pdf
from lit_certattr.reports.export_tables import export_text

Format = Literal["latex", "markdown", "csv", "pdf"]


@checked
def export(
    directory: str | Path,
    format: Format = "markdown",
    output: str | Path | None = None,
    overwrite: bool = False,
    per_image: bool = False,
    radii: Sequence[float] | None = None,
    imports: Sequence[str] = (),
) -> bytes:
    r"""The table of one finished run.

    Args:
        directory: Output directory of ``certify.py run``.
        format: ``latex`` (for ``\usepackage{booktabs}``), ``markdown``, ``csv`` (all digits), or ``pdf`` with what is
            certified, the table and the curves.
        output: File to write; ``None`` only returns the content.
        overwrite: Replace an existing file.
        per_image: One row per image, instead of one row per number with its mean over the images.
        radii: Radii of the numbers that depend on a radius. Default: as for :func:`~lit_certattr.jobs.compare`.
        imports: Packages whose certificates, results, methods and noise laws are read like those of this package.

    Returns:
        The content of the file.

    Raises:
        InputError: If the run or an argument cannot be used, or the file exists or cannot be written.

    Example:
        >>> from lit_certattr import jobs
        >>> print(jobs.export("runs/certify/mnist5k", "latex").decode())  # doctest: +SKIP
    """
    if format not in get_args(Format):
        raise InputError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    if format == "pdf" and per_image:
        raise InputError("a pdf holds the means over the images; choose latex, markdown or csv for one row per image")
    run, place = RunDirectory(directory), None if output is None else at_home(output)
    if place is not None:
        if place.resolve().is_relative_to(run.path.resolve()):
            raise InputError(f"{place} lies in the run, which holds only its own files; choose another --output")
        if place.is_dir() or (place.exists() and not overwrite):
            raise InputError(f"{place} exists; choose another --output, or --overwrite to replace a file")
    found = compare([directory], radii=radii, imports=imports)
    content = export_pdf(found, run) if format == "pdf" else export_text(found, format, per_image).encode()
    if place is not None:
        write_whole(place, content)
    return content
