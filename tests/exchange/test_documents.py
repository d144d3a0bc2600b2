"""Every setting of the plugin and every command for users is in docs/nbgrader.md."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from traitlets import HasTraits
from traitlets.config import Config

from ngshare.exchange import configure_exchange
from ngshare.exchange.commands.course import COMMANDS
from ngshare.exchange.commands.management import NAMES

TEXT = (Path(__file__).parents[2] / "docs" / "nbgrader.md").read_text()


def settings() -> set[str]:
    """Return the settings that the plugin adds to nbgrader's, as ``c.Exchange.url``."""
    config = Config()
    configure_exchange(config)
    found = set()
    for name in config.ExchangeFactory.values():
        module, _, cls = name.rpartition(".")
        plugin: type[HasTraits] = getattr(importlib.import_module(module), cls)
        for each in plugin.mro():
            if each.__module__.startswith("ngshare.") and issubclass(each, HasTraits):
                found |= {f"c.{each.__name__}.{own}" for own in each.class_own_traits(config=True)}
    return found


@pytest.mark.parametrize("setting", sorted(settings()))
def test_setting_is_documented(setting: str) -> None:
    assert f"| `{setting}` |" in TEXT


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_command_is_documented(command: str) -> None:
    assert f"\n| `{command}" in TEXT
    assert f"`{NAMES.get(command, command)}" in TEXT
