"""What is kept on disk: the same world again, after a kill at any moment, at another address."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest

from playground import DirectoryInUse, Limits, Playground, connect_here
from tests.playground.small_bot import SmallBot, png, running


async def state(server: Playground) -> Any:
    """Return everything there is, without what belongs to one run and one address."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{server.url}/playground/state") as response,
    ):
        told = json.loads((await response.text()).replace(server.url, ""))
    for name in ("run", "last_event", "bot_connected", "rest_url"):
        del told[name]
    return told


def open_kept(directory: Path, **more: Any) -> Playground:
    return Playground(limits=Limits.loose(), directory=directory, **more)


class Answers(SmallBot):
    async def setup_hook(self) -> None:
        self.tree.command(name="show", description="Shows a file.")(show)
        self.tree.command(name="later", description="Takes its time.")(later)
        await super().setup_hook()


async def show(interaction: discord.Interaction, file: discord.Attachment) -> None:
    embed = discord.Embed(title="seen").set_image(url="attachment://seen.png")
    await interaction.response.send_message(
        embed=embed, file=discord.File(io.BytesIO(await file.read()), "seen.png")
    )


async def later(interaction: discord.Interaction) -> None:
    await interaction.response.defer(thinking=True)


async def live(server: Playground) -> None:
    """Do some of everything that is kept."""
    alice, bob = server.member("alice"), server.member("bob", permissions="manage_messages manage_threads")
    side = server.add_channel("side", nsfw=True)
    server.deny(side, alice, "send_messages")
    hello = await alice.send(server.general, "hello", files=[("a.png", png()), ("b.txt", b"words")])
    await bob.send(server.general, "well", reply_to=hello)
    await bob.react(hello, "👍")
    await alice.react(hello, "👍")
    await alice.edit(hello, "hello there")
    thread = await bob.start_thread(server.general, "a thread", message=hello)
    await alice.send(thread, "in it")
    gone = await alice.send(thread, "gone", files=[("c.png", png("blue"))])
    await alice.delete(gone)
    await bob.edit_thread(thread, locked=True)
    lost = await bob.start_thread(server.general, "lost")
    await bob.send(lost, "x", files=[("d.png", png("green"))])
    server.delete_channel(lost)
    await alice.send(alice.dm(), "psst")
    await alice.slash(server.general, "show", file=("in.png", png("yellow")))
    await alice.slash(server.general, "later")


async def test_everything_is_there_again(tmp_path: Path) -> None:
    async with open_kept(tmp_path) as server:
        connect_here(server.rest_url)
        async with running(Answers(), server):
            await live(server)
            # As a kill would leave it: the file and its log, in the middle of the run.
            copy = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
        before, token, admin_token = await state(server), server.token, server.admin_token
        files = {a.id: a.data for a in server.world.attachments.values()}
    assert before["channels"]
    for directory in (tmp_path, copy):
        async with open_kept(directory) as again:
            assert await state(again) == before
            assert (again.token, again.admin_token) == (token, admin_token)
            assert {a.id: a.data for a in again.world.attachments.values()} == files
            assert again.general.name == "general"
            assert again.member("alice").user.display_name == "Alice"
            # Ids go on where they were: what is new comes last.
            new = await again.member("bob").send(again.general, "new")
            assert again.messages(again.general)[-1] is new


async def test_files_are_found_at_the_new_address(tmp_path: Path) -> None:
    async with open_kept(tmp_path) as server:
        connect_here(server.rest_url)
        async with running(Answers(), server):
            await server.member("alice").slash(server.general, "show", file=("in.png", png("yellow")))
        port = server.url
    async with open_kept(tmp_path) as again:
        assert again.url != port
        (message,) = again.messages(again.general)
        url = message.embeds[0]["image"]["url"]
        assert url.startswith(again.url)
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            assert await response.read() == png("yellow")


async def test_a_bot_finishes_after_a_restart_what_it_had_begun(tmp_path: Path) -> None:
    async with open_kept(tmp_path) as server:
        connect_here(server.rest_url)
        async with running(Answers(), server):
            sent = await server.member("alice").slash(server.general, "later")
        app = server.world.application.id
    async with open_kept(tmp_path) as again:
        (thinking,) = again.messages(again.general)
        assert thinking.loading
        url = f"{again.rest_url}/webhooks/{app}/{sent.token}/messages/@original"
        async with aiohttp.ClientSession() as http:
            async with http.patch(url, json={"content": "done"}) as response:
                assert response.status == 200
            assert (thinking.content, thinking.loading) == ("done", False)
            again.advance(16 * 60)
            async with http.patch(url, json={"content": "late"}) as response:
                assert response.status == 401


async def test_ephemeral_messages_end_with_their_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def secret(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("for you", ephemeral=True)

    async with open_kept(tmp_path) as server:
        connect_here(server.rest_url)
        bot = SmallBot()
        bot.tree.command(name="secret", description="Whispers.")(secret)
        async with running(bot, server):
            await server.member("alice").slash(server.general, "secret")
    async with open_kept(tmp_path) as again:
        assert [m.content for m in again.messages(again.general)] == ["for you"]
    monkeypatch.setattr("playground.keeper.TOKEN_SECONDS", 0.0)
    async with open_kept(tmp_path) as later_:
        assert later_.messages(later_.general) == []


async def test_one_playground_a_directory(tmp_path: Path) -> None:
    async with open_kept(tmp_path):
        with pytest.raises(DirectoryInUse):
            open_kept(tmp_path)
    async with open_kept(tmp_path):
        pass


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with open_kept(tmp_path / "deep" / "down"):
        path = tmp_path / "deep" / "down" / "playground.sqlite"
        assert path.stat().st_mode & 0o077 == 0
