"""Configure a JupyterHub with ngshare on one machine, for evaluation: ``make hub`` runs it.

Open http://127.0.0.1:8000/ and log in under any name, with any password. ``admin``
may create courses. Every user can start a server with JupyterLab and nbgrader in it.
Never use it for a class: everyone who reaches the port can log in as any user.

NGSHARE_HUB_PORT is the port (default: 8000); the ports 1, 81 and 2101 above it are used too.
NGSHARE_HUB_DIR is the folder for all data (default: hub-data). The users' servers run in the
environment of the Hub, which has the extra ``exchange``.
"""

import os
import socket
import sys
from pathlib import Path


def choose_ports(text):
    """Return the four ports to use, or exit with one line that says what is wrong."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535 - 2101):
        sys.exit(f"HUB_PORT={text} is not a port; choose a number from 1 to {65535 - 2101}")
    ports = [int(text) + offset for offset in (0, 1, 81, 2101)]
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                sys.exit(
                    f"Port {port} cannot be used: {error.strerror}. HUB_PORT={text} takes the "
                    f"ports {', '.join(map(str, ports))}; choose another, as in make hub "
                    f"HUB_PORT={ports[0] + 10}"
                )
    return ports


port, proxy_port, hub_port, ngshare_port = choose_ports(
    os.environ.get("NGSHARE_HUB_PORT") or "8000"
)
folder = Path(os.environ.get("NGSHARE_HUB_DIR") or "hub-data").absolute()
(folder / "nbgrader").mkdir(parents=True, exist_ok=True)

c = get_config()  # noqa: F821  # JupyterHub defines it

c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub_port}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy_port}"
c.JupyterHub.default_url = "/services/ngshare/"
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/jupyterhub_cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/jupyterhub-proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/homes/{{username}}"

# On a real Hub this file is in the image of the users' servers, as /etc/jupyter/nbgrader_config.py.
(folder / "nbgrader" / "nbgrader_config.py").write_text(
    """from ngshare.exchange import configure_exchange

configure_exchange(get_config())
"""
)
programs = Path(sys.executable).parent
c.Spawner.cmd = [str(programs / "jupyterhub-singleuser")]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.environment = {
    "PATH": f"{programs}:{os.environ['PATH']}",
    "JUPYTER_CONFIG_PATH": str(folder / "nbgrader"),
    "NGSHARE_URL": f"http://127.0.0.1:{port}/services/ngshare",
}
c.Spawner.start_timeout = 120

# A real Hub needs only the lines below, at the end of its configuration, and other folders.
from ngshare.hub import configure_hub  # noqa: E402  # see above

configure_hub(
    c,
    admins=["admin"],
    url=f"http://127.0.0.1:{ngshare_port}",
    database=f"sqlite:///{folder}/ngshare.db",
    storage=f"{folder}/files",
)

print(f"Open http://127.0.0.1:{port}/ and log in under any name, with any password.")
print("The name admin may create courses. Ctrl-C ends it.")
print(
    f"All data is in {folder}; it takes the ports {port}, {proxy_port}, {hub_port}, {ngshare_port}."
)
sys.stdout.flush()
