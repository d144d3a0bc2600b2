"""As much of a Kubernetes API server as helm asks while it renders. It changes nothing.

There is no cluster where the tests run, but `lookup` in a template asks one, and so does helm 3
before it shows notes.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

VERBS = ["create", "delete", "get", "list", "patch", "update"]


def resource_list(group_version: str, **kinds: str) -> dict[str, Any]:
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": VERBS}
        for name, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}


APPS = {"groupVersion": "apps/v1", "version": "v1"}
DISCOVERY = {
    "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}],
    },
    "/api/v1": resource_list(
        "v1", secrets="Secret", services="Service", persistentvolumeclaims="PersistentVolumeClaim"
    ),
    "/apis/apps/v1": resource_list("apps/v1", deployments="Deployment"),
}
NO_RELEASES = {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
NOT_FOUND = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}


@contextmanager
def kube_api(*secrets: dict[str, Any]) -> Iterator[str]:
    """Yields the URL of a server on which `secrets` are installed."""
    answers = dict(DISCOVERY)
    for secret in secrets:
        namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
        answers[f"/api/v1/namespaces/{namespace}/secrets/{name}"] = secret

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            found = NO_RELEASES if path.endswith("/secrets") else answers.get(path)
            body = json.dumps(found or NOT_FOUND).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
