"""Reading files that may be hostile, and writing files completely or not at all."""
