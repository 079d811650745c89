"""Pacing and courtesy: what waits can be told to stop."""

import asyncio

from bot.pacing import Courtesy


async def test_waiting_out_of_courtesy_can_always_be_cancelled() -> None:
    courtesy = Courtesy()

    async def work() -> None:
        await courtesy.wait()
        await asyncio.Event().wait()

    for turns in range(6):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"cancelled after {turns} turns of the loop, it went on"
        assert task.cancelled()
