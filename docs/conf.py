"""The site of the documentation: ``sphinx-build -W docs docs/_build``."""

from importlib import metadata

project = "fastbp"
release = metadata.version("fastbp")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
html_theme = "furo"
html_title = "fastbp"

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# the pages are read on their own, too, where links lead to files of the project
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.ref"]
myst_heading_anchors = 3
