"""Stands in for a user's server: it keeps what the Hub gave it, and answers on its port."""

import contextlib
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Server(BaseHTTPRequestHandler):
    """Answers everything, as the Hub wants before it calls a server started."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    with open("environment.json", "w", encoding="utf8") as file:
        json.dump(dict(os.environ), file)
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    with contextlib.suppress(KeyboardInterrupt):
        HTTPServer((url.hostname or "", url.port or 0), Server).serve_forever()
