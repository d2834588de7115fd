"""Figures, the report of a run, and the directory that a run leaves behind."""

from lit_certattr.reports.figures import image_panel

__all__ = ["image_panel"]
