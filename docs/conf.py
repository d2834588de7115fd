"""Settings of the site, which ``make docs`` builds from the pages of this folder and from the docstrings."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from lit_certattr import __version__  # noqa: E402

project = "lit-certattr"
copyright = "the authors of lit-certattr, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_build.mathml",
    "site_build.reference",
    "site_build.further",
]
exclude_patterns = ["_build", "extending/**", "site_build"]

# The pages are read on GitHub, too: dollars around formulas, and the anchors that GitHub gives to headings.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_dmath_allow_labels = False

# What ``__all__`` of a room names, with what its own class says; arguments are explained under "Args".
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
toc_object_entries = False  # each name has a heading; an entry per method would double the time of the build
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Every name of this package in a docstring must exist (site_build.reference); others are left as they are.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!lit_certattr\.).*")]

html_theme = "furo"
html_title = "lit-certattr"
html_static_path = ["site_build/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
