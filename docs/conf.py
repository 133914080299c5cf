"""Sphinx' configuration: Markdown pages, and references generated from code and definitions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "Elastic kernels for JupyterHub"
author = "the contributors"
copyright = "the contributors; BSD 3-Clause license"  # noqa: A001 (Sphinx' name for it)

extensions = ["myst_parser", "docs.generate.extension"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
# Links to headings are checked, down to this level.
myst_heading_anchors = 4

nitpicky = True

html_theme = "furo"
html_title = project
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False

# For `make docs-links`, which needs the network. Addresses of examples lead nowhere.
linkcheck_ignore = [
    r"https?://[^/]*example\.(com|org)",
    r"https?://(localhost|127\.0\.0\.1|hub)[:/]",
]
linkcheck_timeout = 20
