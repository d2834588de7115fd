"""Pages and figures."""

from lit_certattr.reports.figures import image_panel

__all__ = ["image_panel"]
