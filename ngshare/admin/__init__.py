"""Long jobs of administrators: backup, restore, check, export.

Each takes minutes on a large site, so it runs many transactions of its own.
"""
