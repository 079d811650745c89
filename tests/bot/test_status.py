"""/status: what members see of the bot's doing, and what only its owner does."""

from __future__ import annotations

import asyncio
from typing import Any

from bot.cogs.owner import program_version
from playground import Message, Playground
from tests.bot.conftest import House, MakeHouse
from tests.loopback_a1111 import LoopbackA1111


def fields(message: Message, number: int = 0) -> dict[str, str]:
    """Return the fields of an embed."""
    return {field["name"]: field["value"] for field in message.embeds[number]["fields"]}


async def status(house: House, who: str = "ada") -> Message:
    """Ask for the status and return the answer that only who asked can see."""
    discord = house.discord
    asked = await discord.member(who).slash(discord.general, "status")
    assert asked.ephemeral
    await discord.wait_for(lambda: asked.response is not None and asked.response.embeds)
    assert asked.response is not None
    return asked.response


async def test_members_see_queue_models_version_and_uptime(house: House) -> None:
    held = asyncio.Event()
    house.generator.turns.add(held.wait)
    ada = house.discord.member("ada")
    await ada.slash(house.discord.general, "imagine", prompt="a hat", depth=2)
    await house.discord.wait_for(lambda: house.generator.generated)
    shown = await status(house)
    (embed,) = shown.embeds
    assert fields(shown) == {
        "Waiting": "2",
        "Running": "1 of 1 at the same time",
        "Pictures so far": "0",
        "Paints": "fake",
        "Finds objects": "Mask R-CNN: surface, detail",
        "Writes": fields(shown)["Writes"],
    }
    assert embed["footer"]["text"].startswith(f"Version {program_version()} · up for 0:0")
    held.set()
    await house.delivered(1, 2, 3)
    assert fields(await status(house))["Pictures so far"] == "3"


async def test_the_owner_also_sees_the_machine_and_no_secret(make_house: MakeHouse) -> None:
    house = make_house(settings={"openai_api_key": "sk-very-secret", "llm_model": "gpt-4.1-mini"})
    await house.start()
    owner = house.discord.world.application.owner.name
    shown = await status(house, owner)
    assert len(shown.embeds) == 2
    assert set(fields(shown, 1)) == {
        "Picture backend", "Database", "Failed, cancelled", "Servers", "Gateway", "Memory", "Disk", "Python",
    }  # fmt: skip
    assert fields(shown, 1)["Database"] == "SQLite"
    assert fields(shown)["Writes"] == "gpt-4.1-mini"
    everything = str(shown.embeds)
    assert "very-secret" not in everything
    assert house.url not in everything
    other = next(name for name in ("ada", "bob") if name != owner)
    assert len((await status(house, other)).embeds) == 1


async def test_a_backend_that_is_away_is_said_to_be_and_its_address_is_not(make_house: MakeHouse) -> None:
    async with LoopbackA1111() as server:
        address: dict[str, Any] = {"diffusion_url": f"a1111+{server.url}"}
        house = make_house(settings=address)
        await house.start()
        assert fields(await status(house))["Paints"] == "fake"
    shown = await status(house)
    assert fields(shown)["Paints"] == "fake: not working at the moment"
    assert "127.0.0.1" not in str(shown.embeds)


async def test_in_korean(house: House, discord: Playground) -> None:
    discord.member("ada")
    discord.world.users[discord.member("ada").id].locale = "ko"
    shown = await status(house)
    assert shown.embeds[0]["title"] == "상태"
    assert fields(shown)["진행 중"] == "동시에 최대 1개 중 0개"
    assert (await status(house, "bob")).embeds[0]["title"] == "Status"
