"""How Sphinx builds the documentation."""

from ngshare import __version__

project = "ngshare"
author = "the ngshare developers"
release = version = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
