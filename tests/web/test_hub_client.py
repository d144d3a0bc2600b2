"""What we override in JupyterHub's client exists there, in each version that CI installs."""

from __future__ import annotations

import inspect

import pytest
from jupyterhub.services.auth import HubOAuth

from ngshare.web.auth.hub_client import OVERRIDDEN, SharedHubAuth, missing_overridden
from ngshare.web.auth.login_state import StatelessLogin


def test_jupyterhub_has_everything_that_is_overridden() -> None:
    assert missing_overridden() == []


def test_everything_that_is_overridden_is_checked() -> None:
    ours = {
        name
        for each in (SharedHubAuth, StatelessLogin)
        for name, value in vars(each).items()
        if inspect.isfunction(value) and not name.startswith("__") and hasattr(HubOAuth, name)
    }
    # What a start checks but this JupyterHub lacks would be missing here.
    assert ours == set(OVERRIDDEN)


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_gone_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in HubOAuth.__mro__:
        if name in vars(each):
            monkeypatch.delattr(each, name)
    assert missing_overridden() == [name]
