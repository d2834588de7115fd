"""What a setting may be."""

from lit_certattr.settings.kinds import instance, real_number, several, whole_number

__all__ = ["instance", "real_number", "several", "whole_number"]
