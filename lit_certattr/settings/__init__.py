"""Settings: identity of objects by their arguments, and checks of single values."""

from lit_certattr.settings.identity import Settings
from lit_certattr.settings.kinds import instance, real_number, several, whole_number
from lit_certattr.settings.limits import check_count

__all__ = ["Settings", "check_count", "instance", "real_number", "several", "whole_number"]
