"""Configure a JupyterHub with ngshare on one machine, for evaluation: ``make hub`` runs it.

Open http://127.0.0.1:8000/ and log in under any name, with any password. ``admin``
may create courses. Every user can start a server with JupyterLab and nbgrader in it.
Never use it for a class: everyone who reaches the port can log in as any user.

NGSHARE_HUB_PORT is the port (default: 8000), NGSHARE_HUB_DIR the folder for all data (default:
hub-data), NGSHARE_NBGRADER_VENV the environment of the users' servers (default: the one that
.ci/get-nbgrader creates).
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

# On a real Hub this is in the image of the users' servers: nbgrader, the plugin and its address.
(folder / "nbgrader" / "nbgrader_config.py").write_text(
    f"""import ngshare_exchange

c = get_config()
ngshare_exchange.configureExchange(c, "http://127.0.0.1:{port}/services/ngshare")
c.CourseDirectory.course_id = "*"  # instructors name the course, as in --course physics
"""
)
c.Spawner.cmd = [str(venv / "bin" / "jupyterhub-singleuser")]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.environment = {
    "PATH": f"{venv}/bin:{os.environ['PATH']}",
    "JUPYTER_CONFIG_PATH": str(folder / "nbgrader"),
}
c.Spawner.start_timeout = 120

# A real Hub needs only the lines below, at the end of its configuration, and other folders.
from ngshare.hub import configure_hub  # noqa: E402  # see above

configure_hub(
    c,
    admins=["admin"],
    url=f"http://127.0.0.1:{port + 2101}",
    database=f"sqlite:///{folder}/ngshare.db",
    storage=f"{folder}/files",
)
