"""The worker threads of a service."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from ngshare.web.service import Service

pytestmark = pytest.mark.gen_test


async def test_a_large_body_is_freed_when_the_call_that_used_it_has_ended(service: Service) -> None:
    class Body:
        pass

    def refuse(body: Body) -> None:
        raise LookupError("refused")

    body, refused = Body(), Body()
    known = weakref.ref(body), weakref.ref(refused)
    gc.collect()
    gc.disable()
    try:
        assert await service.in_file_thread(id, body)
        with contextlib.suppress(LookupError):
            await service.in_file_thread(refuse, refused)
        del body, refused
        await asyncio.sleep(0.05)  # until the threads wait for their next calls
        assert [each() for each in known] == [None, None]
    finally:
        gc.enable()
