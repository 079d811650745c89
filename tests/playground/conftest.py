"""A playground, and bots that run on it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from playground import Limits, Playground, connect_here
from tests.playground.small_bot import Run, SmallBot, running


@pytest.fixture
async def server() -> AsyncIterator[Playground]:
    async with Playground(limits=Limits.loose()) as playground:
        connect_here(playground.rest_url)
        yield playground


@pytest.fixture
async def run(server: Playground) -> AsyncIterator[Run]:
    """Start bots that are stopped after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(bot: SmallBot) -> None:
            await stack.enter_async_context(running(bot, server))

        yield start
