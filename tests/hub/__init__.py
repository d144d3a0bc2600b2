"""A real JupyterHub, with its proxy, and the service in it as an administrator installs it."""
