"""A session as members see it, from the command to the third picture."""

from __future__ import annotations

import hashlib

from pipeline.domain import StepKind, StepState
from tests.bot.conftest import House, footer

AGAIN = "🔁"


async def test_imagine_opens_a_thread_and_shows_pictures_and_notes(house: House) -> None:
    discord, ada = house.discord, house.discord.member("ada")
    asked = await ada.slash(discord.general, "imagine", prompt="a red jacket", depth=2, seed=7)
    assert asked.acknowledged_after is not None
    assert asked.acknowledged_after < 1
    thread = await house.thread()
    await house.delivered(1, 2, 3)
    starter = discord.messages(discord.general)[0]
    assert thread.id == starter.id
    assert starter.content == f"🎨 <@{ada.id}>"
    assert starter.mentions == []
    for message in discord.messages(thread):
        print(message.content, message.embeds, [a.filename for a in message.attachments], message.reactions)
    print(discord.unknown_routes)
