"""How Sphinx builds the documentation."""

from ngshare import __version__

project = "ngshare"
author = "the ngshare developers"
copyright = "the ngshare developers, under the BSD 3-Clause License"
release = version = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
