"""Turning a site of ngshare 0.6 into ours, in place: its records and its files.

Revision ``7c1f0a52d3e8`` does it, and its transaction decides. Until that is
committed every file stays where 0.6 looks for it, and the blobs are further names
of the same bytes; afterwards :func:`finish` takes the old names away. Killed at any
moment, a site is either 0.6's still, or ours and finished at the next start.
"""

from ngshare.adoption.finish import finish, is_unfinished, put_back
from ngshare.adoption.names import adopted_names
from ngshare.adoption.report import AdoptionError
from ngshare.adoption.site import adopt

__all__ = ["AdoptionError", "adopt", "adopted_names", "finish", "is_unfinished", "put_back"]
