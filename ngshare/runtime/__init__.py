"""How a process starts, serves and ends; joined to the rest by ``app.py`` alone."""
