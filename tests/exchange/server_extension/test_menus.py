"""Tabs for instructors are not offered to students."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.server_extension import menus
from ngshare.exchange.server_extension.caller import Caller
from ngshare.protocol.overview import CourseInfo, Overview


class KnownCaller(Caller):
    """A user about whom the service answers with an overview, or an error."""

    def __init__(self, answer: Overview | ServiceError) -> None:
        super().__init__(None, logging.getLogger("test"))
        self.answer = answer

    def ask(self) -> Overview:
        if isinstance(self.answer, ServiceError):
            raise self.answer
        self.overview = self.answer
        return self.answer


def disabled_for(answer: Overview | ServiceError, **settings: Any) -> list[str]:
    menus.hide_from_students(settings, KnownCaller(answer))
    page_config = {"disabledExtensions": ["configured"]}
    shown: list[str] = settings["page_config_hook"](None, page_config)["disabledExtensions"]
    assert page_config == {"disabledExtensions": ["configured"]}  # JupyterLab shares it
    return shown


def overview(role: str | None, *, admin: bool = False) -> Overview:
    courses = [CourseInfo("physics", role)] if role else []
    return Overview("sam", admin, None, None, courses)


@pytest.mark.parametrize("answer", [overview("student"), overview(None)])
def test_students_are_not_offered_instructors_tabs(answer: Overview) -> None:
    assert disabled_for(answer) == ["configured", *menus.FOR_INSTRUCTORS]


@pytest.mark.parametrize(
    "answer",
    [overview("instructor"), overview(None, admin=True), ServiceError("The exchange is down.")],
)
def test_all_others_are(answer: Overview | ServiceError) -> None:
    assert disabled_for(answer) == ["configured"]


def test_the_hook_of_another_extension_is_called() -> None:
    def other(_: Any, page_config: dict[str, Any]) -> dict[str, Any]:
        return {**page_config, "disabledExtensions": ["other"]}

    assert disabled_for(overview("instructor"), page_config_hook=other) == ["other"]
