"""Imports the packages that a user allows, before the files of a run are interpreted."""

from collections.abc import Sequence

from lit_certattr.audit.foreign import foreign_classes
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.jobs.trust import import_packages
from lit_certattr.records.run_directory import RunDirectory


def import_allowed(run: RunDirectory, imports: Sequence[str], trust: bool) -> tuple[str, ...]:
    """Import the packages that the user named; with ``trust`` also those that the run's ``config.yaml`` names.

    Args:
        run: The run.
        imports: Packages that may be imported.
        trust: Whether every named package may be imported.

    Returns:
        The packages whose classes may be built.

    Raises:
        InputError: If a package cannot be imported, or lies in the run directory.
    """
    allowed = import_packages(imports, run.path)
    if trust:
        try:
            named = foreign_classes(read_yaml(run.config))
        except (OSError, ValueError):
            return allowed  # the audit says so
        allowed += import_packages([path.rpartition(".")[0] for path in named], run.path)
    return allowed
