"""Adopt a site of ngshare 0.6 in place: its records, and its files by hard link.

It belongs to revision ``7c1f0a52d3e8``, whose transaction decides, and makes what that revision
has: so it is frozen, and imports nothing of ngshare outside of this package. No file of 0.6 is
changed, renamed or removed. Killed at any moment, a site is either 0.6's still, with some
blobs more, or ours.
"""

from ngshare.db.legacy06.report import AdoptionError, Report
from ngshare.db.legacy06.site import adopt

__all__ = ["AdoptionError", "Report", "adopt"]
