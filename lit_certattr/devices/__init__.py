"""What a device can do, and what makes it wait."""

from lit_certattr.devices.precision import exact_dtype, has_float64, wide
from lit_certattr.devices.transfer import constant, onto, values_are_free

__all__ = ["constant", "exact_dtype", "has_float64", "onto", "values_are_free", "wide"]
