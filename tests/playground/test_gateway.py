"""The gateway: lost connections with and without the session, replay, a second process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest

from playground import Limits, Playground, connect_here
from tests.playground.small_bot import Run, SmallBot, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def bot(run: Run) -> SmallBot:
    bot = SmallBot()
    await run(bot)
    return bot


@pytest.mark.parametrize(("code", "politely"), [(4000, False), (0, False), (1012, False), (4000, True)])
async def test_resume_replays_what_was_missed(
    server: Playground, bot: SmallBot, code: int, politely: bool
) -> None:
    alice = server.member("alice")
    await server.gateway.drop(code=code, politely=politely)
    if not politely:
        await server.wait_for(lambda: not server.gateway.connected)
    for i in range(3):
        await alice.send(server.general, f"<@{server.bot.id}> {i}")
    await bot.until(lambda: bot.resumed == 1 and len(bot.heard) == 3)
    assert [m.content[-1] for m in bot.heard] == ["0", "1", "2"]
    assert (server.gateway.resumes, server.gateway.identifies) == (1, 1)
    await alice.send(server.general, f"<@{server.bot.id}> live")
    await bot.until(lambda: len(bot.heard) == 4)


async def test_a_lost_session_is_started_anew(server: Playground, bot: SmallBot) -> None:
    alice = server.member("alice")
    await server.gateway.drop(resumable=False)
    await server.wait_for(lambda: not server.gateway.connected)
    await alice.send(server.general, f"<@{server.bot.id}> missed for good")
    await bot.until(lambda: bot.readied == 2)
    await alice.send(server.general, f"<@{server.bot.id}> heard")
    await bot.until(lambda: bot.heard)
    assert [m.content[-5:] for m in bot.heard] == ["heard"]
    assert (server.gateway.resumes, server.gateway.identifies) == (0, 2)


async def test_an_invalidated_session(server: Playground, bot: SmallBot) -> None:
    await server.gateway.invalidate()
    await bot.until(lambda: bot.readied == 2)
    assert server.gateway.identifies == 2


async def test_an_interaction_in_a_gap_is_replayed_or_fails(server: Playground, bot: SmallBot) -> None:
    @bot.tree.command(description="Answers.")
    async def hello(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("hi")

    await bot.tree.sync()
    alice = server.member("alice")
    await server.gateway.drop(code=0)
    await server.wait_for(lambda: not server.gateway.connected)
    sent = await alice.slash(server.general, "hello")
    assert not sent.failed
    assert sent.response is not None


async def test_members_are_looked_up(server: Playground, bot: SmallBot) -> None:
    alice = server.member("alice")
    guild = bot.get_guild(server.guild.id)
    assert guild is not None
    assert guild.get_member(alice.id) is None
    assert [m.display_name for m in await guild.query_members(user_ids=[alice.id])] == ["Alice"]
    assert (await guild.fetch_member(alice.id)).display_name == "Alice"
    avatar = await (await bot.fetch_user(alice.id)).display_avatar.read()
    assert avatar.startswith(b"\x89PNG")


class Remote:
    """A playground in a process of its own, through its admin API."""

    def __init__(
        self, process: asyncio.subprocess.Process, about: dict[str, str], http: aiohttp.ClientSession
    ):
        self.process = process
        self.about = about
        self._http = http

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        async with self._http.request(method, f"{self.about['url']}/playground{path}", json=body) as response:
            data = await response.json(content_type=None)
            assert response.status == 200, data
            return data

    async def act(self, who: str, do: str, **more: Any) -> Any:
        return await self.call("POST", "/act", {"as": who, "do": do, **more})


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "playground", "--loose-limits", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    about = json.loads(await process.stdout.readline())
    headers = {"Authorization": f"Bearer {about['admin_token']}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        yield Remote(process, about, http)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


BOT = """
import asyncio, os, sys
import discord
from playground import connect_here

connect_here(sys.argv[1])
client = discord.Client(intents=discord.Intents(guilds=True, guild_messages=True), guild_ready_timeout=0.05)
tree = discord.app_commands.CommandTree(client)

@tree.command(description="Tells its process.")
async def pid(interaction: discord.Interaction) -> None:
    await interaction.response.send_message(str(os.getpid()))

@client.event
async def setup_hook() -> None:
    await tree.sync()

client.run(sys.argv[2], log_handler=None)
"""


async def test_a_killed_bot_comes_back_to_the_same_discord(remote: Remote) -> None:
    async def start() -> asyncio.subprocess.Process:
        arguments = [BOT, remote.about["rest_url"], remote.about["token"]]
        return await asyncio.create_subprocess_exec(sys.executable, "-c", *arguments, cwd=ROOT)

    async def wait_for(kind: str, after: int) -> int:
        url = f"{remote.about['url']}/playground/events?token={remote.about['admin_token']}&after={after}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket, asyncio.timeout(20):
            async for frame in socket:
                event = json.loads(frame.data)
                if event["kind"] == kind:
                    return event["sequence"]
        raise AssertionError("the feed ended")

    channel = remote.about["channel_id"]
    seen = 0
    pids: list[str] = []
    for _ in range(2):
        process = await start()
        try:
            seen = await wait_for("GATEWAY_IDENTIFY", seen)
            sent = await remote.act("alice", "slash", channel=channel, name="pid")
            pids.append(sent["messages"][0]["content"])
            assert pids[-1] == str(process.pid)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        seen = await wait_for("GATEWAY_DISCONNECT", seen)
    state = await remote.call("GET", "/state")
    (general,) = [c for c in state["channels"] if c["id"] == channel]
    assert [m["content"] for m in general["messages"]] == pids
    assert not state["bot_connected"]
    assert state["violations"] == []
    assert state["unknown_routes"] == []


async def test_the_admin_api_is_guarded(remote: Remote) -> None:
    url = f"{remote.about['url']}/playground/state"
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with http.get(url, headers=headers) as response:
                assert response.status == 401
        right = {"Authorization": f"Bearer {remote.about['admin_token']}", "Host": "evil.example"}
        async with http.get(url, headers=right) as response:
            assert response.status == 403


async def test_acting_over_http(remote: Remote) -> None:
    channel = remote.about["channel_id"]
    hello = await remote.act("alice", "send", channel="general", text="hello")
    await remote.act("bob", "react", message=hello["id"], emoji="👍")
    reply = await remote.act("bob", "send", channel=channel, text="re", reply_to=hello["id"])
    assert reply["referenced_message"]["content"] == "hello"
    assert [m["username"] for m in reply["mentions"]] == ["alice"]
    with pytest.raises(AssertionError, match="no command"):
        await remote.act("alice", "slash", channel=channel, name="nothing")
    with pytest.raises(AssertionError, match="there is no 'dance'"):
        await remote.act("alice", "dance")


async def test_two_playgrounds_one_after_the_other() -> None:
    for _ in range(2):
        async with Playground(limits=Limits.loose()) as server:
            connect_here(server.rest_url)
            async with running(SmallBot(), server):
                assert server.gateway.identifies == 1


def test_only_this_machine() -> None:
    with pytest.raises(ValueError, match="this machine"):
        connect_here("https://discord.com/api/v10")
