"""Rate limits and failures on demand, as discord.py meets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import discord
import pytest

from playground import Limits, Playground, Rule, connect_here
from tests.playground.small_bot import Run, SmallBot, running


@pytest.fixture
async def channel(server: Playground, run: Run) -> discord.TextChannel:
    bot = SmallBot()
    await run(bot)
    found = await bot.fetch_channel(server.general.id)
    assert isinstance(found, discord.TextChannel)
    return found


def texts(server: Playground) -> list[str]:
    return [m.content for m in server.messages(server.general)]


class Strict:
    """A playground with short limits, and its one channel as the bot sees it."""

    def __init__(self, server: Playground, channel: discord.TextChannel) -> None:
        self.server = server
        self.channel = channel


@pytest.fixture
async def strict() -> AsyncIterator[Strict]:
    rules = (Rule("create", r"POST /channels/{channel_id}/messages$", 2, 0.3), Rule("other", "", 50, 1.0))
    async with Playground(limits=Limits(rules)) as server:
        connect_here(server.rest_url)
        bot = SmallBot()
        async with running(bot, server):
            found = await bot.fetch_channel(server.general.id)
            assert isinstance(found, discord.TextChannel)
            yield Strict(server, found)


async def test_discord_py_stays_within_the_limits(strict: Strict) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(strict.channel.send(str(i)) for i in range(5)))
    assert loop.time() - began >= 0.6  # the first two, two more, the last
    assert sorted(texts(strict.server)) == ["0", "1", "2", "3", "4"]
    assert strict.server.violations == []


async def test_who_does_not_wait_is_counted(strict: Strict) -> None:
    url = f"{strict.server.rest_url}/channels/{strict.server.general.id}/messages"
    headers = {"Authorization": f"Bot {strict.server.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        answers: list[tuple[int, str | None, str | None]] = []
        body = {}
        for i in range(3):
            async with http.post(url, json={"content": str(i)}) as response:
                remaining = response.headers.get("X-RateLimit-Remaining")
                answers.append((response.status, remaining, response.headers.get("Retry-After")))
                body = await response.json()
    assert answers == [(200, "1", None), (200, "0", None), (429, "0", "1")]
    assert 0 < body["retry_after"] <= 0.3
    assert body["global"] is False
    (violation,) = strict.server.violations
    assert (violation.method, violation.scope) == ("POST", "user")
    assert texts(strict.server) == ["0", "1"]
    assert strict.server.limiter.invalid_requests == 1


async def test_the_limits_near_the_real_ones() -> None:
    async with Playground() as server:
        headers = {"Authorization": f"Bot {server.token}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for _ in range(60):
                async with http.get(f"{server.rest_url}/users/@me") as response:
                    await response.read()
    assert {v.scope for v in server.violations} == {"global"}
    assert len(server.violations) == 10


async def test_discord_py_reacts_in_time() -> None:
    async with Playground() as server:
        connect_here(server.rest_url)
        bot = SmallBot()
        async with running(bot, server):
            found = await bot.fetch_channel(server.general.id)
            assert isinstance(found, discord.TextChannel)
            message = await found.send("x")
            for emoji in "🔁✏🗑":
                await message.add_reaction(emoji)
            assert list(server.general.messages[message.id].reactions) == list("🔁✏🗑")
    assert server.violations == []


async def test_the_servers_own_mistakes_are_not_hidden() -> None:
    async def break_it(server: Playground) -> None:
        async with server:
            server.world.application.owner = None  # type: ignore[assignment]
            headers = {"Authorization": f"Bot {server.token}"}
            url = f"{server.rest_url}/oauth2/applications/@me"
            async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as response:
                assert response.status == 500

    with pytest.raises(RuntimeError, match="oauth2/applications/@me"):
        await break_it(Playground())


async def test_429_is_waited_out(server: Playground, channel: discord.TextChannel) -> None:
    fault = server.faults.rate_limit("POST", r"/messages$", seconds=0.05, times=2)
    await channel.send("in the end")
    assert len(fault.hits) == 2
    everywhere = server.faults.rate_limit("POST", r"/messages$", seconds=0.05, is_global=True)
    await channel.send("and again")
    assert len(everywhere.hits) == 1
    assert texts(server) == ["in the end", "and again"]
    assert server.violations == []


async def test_500_before_and_after_the_effect(server: Playground, channel: discord.TextChannel) -> None:
    before = server.faults.fail("POST", r"/messages$", status=502)
    after = server.faults.fail("POST", r"/messages$", status=500, after=True)
    # discord.py tries again after each, with a nonce it makes itself: that makes one message.
    await channel.send("once")
    assert (len(before.hits), len(after.hits)) == (1, 1)
    assert texts(server) == ["once"]


async def test_disconnect_before_and_after_the_effect(
    server: Playground, channel: discord.TextChannel
) -> None:
    for after, arrived in ((False, []), (True, ["x"])):
        server.faults.disconnect("POST", r"/messages$", after=after)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await channel.send("x")
        assert texts(server) == arrived


async def test_silence_and_delay(server: Playground, channel: discord.TextChannel) -> None:
    server.faults.silence("POST", r"/messages$", after=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await channel.send("arrived all the same")
    assert texts(server) == ["arrived all the same"]
    slow = server.faults.delay("*", "", seconds=0.1)
    began = asyncio.get_running_loop().time()
    await channel.send("slowly")
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert len(slow.hits) == 1


async def test_a_gate_stops_a_request(server: Playground, channel: discord.TextChannel) -> None:
    before = server.faults.hold("POST", r"/messages$")
    after = server.faults.hold("POST", r"/messages$", after=True)
    sending = asyncio.create_task(channel.send("x"))
    await asyncio.wait_for(before.reached.wait(), 5)
    assert texts(server) == []
    before.release()
    await asyncio.wait_for(after.reached.wait(), 5)
    assert texts(server) == ["x"]
    assert not sending.done()
    after.release()
    await sending
    dropped = server.faults.hold("POST", r"/messages$")
    sending = asyncio.create_task(channel.send("never"))
    await asyncio.wait_for(dropped.reached.wait(), 5)
    dropped.drop()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sending
    assert texts(server) == ["x"]


async def test_unknown_routes_are_noted(server: Playground, channel: discord.TextChannel) -> None:
    with pytest.raises(discord.NotFound):
        await channel.webhooks()
    assert server.unknown_routes == [f"GET /channels/{channel.id}/webhooks"]


async def test_a_timeout_tells_what_happened(server: Playground) -> None:
    await server.member("alice").send(server.general, "a clue")
    with pytest.raises(TimeoutError, match="a clue"):
        await server.wait_for(lambda: False, timeout=0.05)


async def test_a_client_that_dies_in_mid_request_is_not_the_playgrounds_failure() -> None:
    async with Playground() as server:
        port = int(server.rest_url.split(":")[2].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST /api/v10/channels/{server.general.id}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bot {server.token}\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000\r\n\r\n{".encode()
        )
        await writer.drain()
        await ask_who_i_am(server)  # by then the other request is being read
        writer.transport.abort()
        await ask_who_i_am(server)  # and by then it is known to be cut
        assert server.crashes == []


async def ask_who_i_am(server: Playground) -> None:
    headers = {"Authorization": f"Bot {server.token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.rest_url}/users/@me", headers=headers) as answer,
    ):
        assert answer.status == 200
