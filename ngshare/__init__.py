"""ngshare: the exchange that lets nbgrader run on any JupyterHub.

Importing this package costs nothing: ``jupyterhub_config.py`` imports
:mod:`ngshare.hub` from it inside the Hub's own process.
"""

__version__ = "1.0.0.dev0"
