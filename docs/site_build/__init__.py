"""Parts of the site that Sphinx does not have: formulas without a network, and the reference of the rooms."""
