"""Request bodies: receive, spool to disk, limit and parse them."""
