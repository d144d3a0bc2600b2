"""A stand-in for a JupyterHub: a real HTTP server that says whose a token is.

It answers what ngshare asks a Hub, ``GET /hub/api/user`` and the last step of an
OAuth login, and can be told to be slow, to be gone, or to be broken.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

SERVICE = "ngshare"
SCOPE = f"access:services!service={SERVICE}"


class HubStub:
    """A Hub on a port of its own. Start it on a running event loop."""

    def __init__(self) -> None:
        self.questions: list[str] = []
        """The tokens that were asked about, in order."""
        self.broken: tuple[int, str] | None = None
        """The status and body that every request is answered with, when set."""
        self.delay = 0.0
        """For how many seconds every question about a token waits for its answer."""
        self.port = 0
        self.asked_at_once = 0
        """How many questions about tokens were open at once, at most."""
        self._open = 0
        self._held_prefix = ""
        self._models: dict[str, dict[str, Any]] = {}
        self._codes: dict[str, str] = {}
        self._server: HTTPServer | None = None
        self._answering = asyncio.Event()
        self._answering.set()
        self._asked = asyncio.Condition()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub/api"

    def add(self, token: str, name: str, *, kind: str = "user", scopes: Any = (SCOPE,)) -> None:
        """Give somebody a token, with the scope to use ngshare unless other scopes are named."""
        self._models[token] = {
            "kind": kind,
            "name": name,
            "admin": False,
            "groups": [],
            "scopes": list(scopes),
        }

    def revoke(self, token: str) -> None:
        """Forget a token."""
        del self._models[token]

    def log_in(self, code: str, token: str) -> None:
        """Let an OAuth login end: the code is good for this token."""
        self._codes[code] = token

    def start(self) -> None:
        """Listen, on the same port as before when it was stopped."""
        sockets = bind_sockets(self.port, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self._server = HTTPServer(
            Application(
                [
                    ("/hub/api/user", _User, {"hub": self}),
                    ("/hub/api/oauth2/token", _Token, {"hub": self}),
                ],
                log_function=lambda handler: None,
            )
        )
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        """Refuse connections, and drop those that are open."""
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None

    def hold(self, prefix: str = "") -> None:
        """Be slow: answer nothing about tokens that begin so until ``release``."""
        self._held_prefix = prefix
        self._answering.clear()

    def release(self) -> None:
        """Answer everything, also what was held."""
        self._answering.set()

    def lose(self) -> None:
        """Answer again, but never what was held."""
        self._answering = asyncio.Event()
        self._answering.set()

    async def asked(self, count: int) -> None:
        """Wait until so many questions have arrived."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.questions) >= count)

    async def _question(self, token: str) -> None:
        self.questions.append(token)
        async with self._asked:
            self._asked.notify_all()
        self._open += 1
        self.asked_at_once = max(self.asked_at_once, self._open)
        await asyncio.sleep(self.delay)
        if token.startswith(self._held_prefix):
            await self._answering.wait()
        self._open -= 1


class _Handler(RequestHandler):
    def initialize(self, hub: HubStub) -> None:
        self.hub = hub

    def answer(self, status: int, body: Any) -> None:
        if self.hub.broken is not None:
            status, body = self.hub.broken
        self.set_status(status)
        self.finish(body)


class _User(_Handler):
    async def get(self) -> None:
        kind, _, token = self.request.headers.get("Authorization", "").partition(" ")
        assert kind == "token"
        await self.hub._question(token)
        model = self.hub._models.get(token)
        if model is None:
            self.answer(403, {"status": 403, "message": "Forbidden"})
        else:
            self.answer(200, model)


class _Token(_Handler):
    async def post(self) -> None:
        token = self.hub._codes.pop(self.get_argument("code"), None)
        if token is None:
            self.answer(400, {"error": "invalid_grant"})
        else:
            self.answer(200, {"access_token": token, "token_type": "Bearer"})
