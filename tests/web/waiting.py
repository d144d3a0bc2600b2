"""Waiting for what the service comes to by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so, but not for ever."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never was")
