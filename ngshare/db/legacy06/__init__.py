"""Adopt a site of ngshare 0.6 in place: convert its records, and hard-link its files as blobs.

The package is part of the migration ``7c1f0a52d3e8`` and writes the tables of that revision.
It is frozen, so it imports no other module of ngshare. The migration's transaction makes the
adoption atomic: a process that is killed leaves a site of 0.6, with unused blobs, or an adopted
one. No file of 0.6 is changed, renamed or deleted.
"""

from ngshare.db.legacy06.report import AdoptionError, Report
from ngshare.db.legacy06.site import adopt

__all__ = ["AdoptionError", "Report", "adopt"]
