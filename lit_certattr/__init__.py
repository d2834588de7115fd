"""lit_certattr."""
