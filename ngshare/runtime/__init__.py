"""Start, run and stop a process of the service. Only ``app.py`` imports this package."""
