"""Figures, the report of a run, and the directory that a run leaves behind."""

from lit_certattr.reports.figures import image_panel
from lit_certattr.reports.run_directory import Record, RunDirectory

__all__ = ["Record", "RunDirectory", "image_panel"]
