"""Settings: identity of objects by their arguments, and checks of single values."""

from lit_certattr.settings.identity import Settings
from lit_certattr.settings.kinds import instance, is_line, real_number, several, whole_number
from lit_certattr.settings.limits import check_count, check_processes

__all__ = [
    "Settings",
    "check_count",
    "check_processes",
    "instance",
    "is_line",
    "real_number",
    "several",
    "whole_number",
]
