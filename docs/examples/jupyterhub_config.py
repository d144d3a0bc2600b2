"""A JupyterHub with ngshare for trying out on one machine: ``make hub`` runs it.

Open http://127.0.0.1:8000/ and log in under any name, with any password. ``admin``
may create courses. Every user can start a server with JupyterLab and nbgrader in it.
Not for a class: whoever reaches the port can be anybody.

NGSHARE_HUB_PORT says at which port (8000), NGSHARE_HUB_DIR where everything is kept
(hub-data), NGSHARE_NBGRADER_VENV which environment the users' servers have
(the one that .ci/get-nbgrader makes).
"""

import os
from pathlib import Path

folder = Path(os.environ.get("NGSHARE_HUB_DIR") or "hub-data").absolute()
port = int(os.environ.get("NGSHARE_HUB_PORT") or 8000)
venv = Path(os.environ.get("NGSHARE_NBGRADER_VENV") or Path.home() / ".cache/ngshare/nbgrader")
(folder / "nbgrader").mkdir(parents=True, exist_ok=True)

c = get_config()  # noqa: F821  # JupyterHub defines it

c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 81}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 1}"
c.JupyterHub.default_url = "/services/ngshare/"
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/jupyterhub_cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/jupyterhub-proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/homes/{{username}}"

# What the image of the users' servers has elsewhere: nbgrader, the plugin, and where ngshare is.
(folder / "nbgrader" / "nbgrader_config.py").write_text(
    f"""import ngshare_exchange

c = get_config()
ngshare_exchange.configureExchange(c, "http://127.0.0.1:{port}/services/ngshare")
c.CourseDirectory.course_id = "*"  # whoever teaches a course names it, as in --course physics
"""
)
c.Spawner.cmd = [str(venv / "bin" / "jupyterhub-singleuser")]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.environment = {
    "PATH": f"{venv}/bin:{os.environ['PATH']}",
    "JUPYTER_CONFIG_PATH": str(folder / "nbgrader"),
}
c.Spawner.start_timeout = 120

# Of the whole file a real Hub needs only these lines, after all else, and other folders.
from ngshare.hub import configure_hub  # noqa: E402  # see above

configure_hub(
    c,
    admins=["admin"],
    url=f"http://127.0.0.1:{port + 2101}",
    database=f"sqlite:///{folder}/ngshare.db",
    storage=f"{folder}/files",
)
