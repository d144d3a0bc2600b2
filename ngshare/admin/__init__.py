"""Long jobs of administrators: backup, restore, storage check, garbage collection, export.

Each job may take minutes on a large site, so it runs several transactions of its own.
"""
