"""nbgrader's configuration, as its own server extensions read it."""

from __future__ import annotations

from nbgrader.apps import NbGrader
from traitlets.config import Config


def read_configuration() -> Config | None:
    """Return nbgrader's configuration, or None if it does not select the plugin of ngshare."""
    app = NbGrader()
    app.load_config_file()
    config: Config = app.config
    exchange = config.ExchangeFactory.get("list", "")
    name = exchange if isinstance(exchange, str) else getattr(exchange, "__module__", "")
    return config if name.startswith("ngshare.exchange.") else None
