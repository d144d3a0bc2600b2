"""A JupyterHub with ngshare for trying out on one machine: ``make hub`` runs it.

Open http://127.0.0.1:8000/ and log in under any name, with any password. ``admin``
may create courses. NGSHARE_HUB_DIR says where everything is kept. Not for a class:
whoever reaches the port can be anybody.
"""

import os
from pathlib import Path

folder = Path(os.environ.get("NGSHARE_HUB_DIR") or "hub-data").absolute()
folder.mkdir(parents=True, exist_ok=True)

c = get_config()  # noqa: F821  # JupyterHub defines it

c.JupyterHub.bind_url = "http://127.0.0.1:8000/"
c.JupyterHub.default_url = "/services/ngshare/"  # there need be no JupyterLab here to start
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/jupyterhub_cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/jupyterhub-proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/homes/{{username}}"

# Of the whole file a real Hub needs only these lines, after all else, and other folders.
from ngshare.hub import configure_hub  # noqa: E402

configure_hub(
    c,
    admins=["admin"],
    database=f"sqlite:///{folder}/ngshare.db",
    storage=f"{folder}/files",
)
