"""/settings, and what follows from it: defaults, styles, models, spoilers, age-restricted channels."""

from __future__ import annotations

import pytest

from bot.preferences import gallery_key
from pipeline.domain import Choices
from pipeline.engine import EngineOptions
from pipeline.errors import GeneratorError
from pipeline.policy import load_policy
from pipeline.styles import Style
from playground import RefusedError, SentInteraction
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_session import AGAIN, said_to, shown_is_what_is_stored

OPTIONS = EngineOptions(
    policy=load_policy(), styles={"ink": Style("ink drawing", "colour"), "rain": Style("rain")}
)


@pytest.fixture
async def styled(make_house: MakeHouse) -> House:
    """A running bot with styles and a word policy."""
    house = make_house(options=OPTIONS)
    await house.start()
    return house


def said(sent: SentInteraction) -> str:
    assert sent.ephemeral
    (message,) = sent.messages
    return message.content or message.embeds[0]["description"]


async def test_a_members_word_counts_before_the_channels_and_the_servers(styled: House) -> None:
    discord, general = styled.discord, styled.discord.general
    ada, owner = discord.member("ada"), discord.member("owner")
    await owner.slash(general, "settings set", name="depth", value="2", level="server")
    await owner.slash(general, "settings set", name="style", value="INK", level="channel")
    await owner.slash(general, "settings set", name="negative", value="blurry", level="server")
    assert "Set for you: depth" in said(await ada.slash(general, "settings set", name="depth", value="0"))
    await ada.slash(general, "settings set", name="size", value="64 x 128")
    shown = said(await ada.slash(general, "settings show"))
    assert "**depth** ⁨0⁩ (yours)" in shown
    assert "**style** ⁨ink⁩ (this channel's)" in shown
    assert "**negative** ⁨blurry⁩ (this server's)" in shown
    assert "**sampler** not set" in shown
    await ada.slash(general, "imagine", prompt="a hat")
    await styled.delivered(1)
    (request,) = styled.generator.generated
    assert (request.prompt, request.negative_prompt) == ("a hat, ink drawing", "blurry, colour")
    assert (request.width, request.height) == (64, 128)
    assert len(await styled.store.steps(1)) == 1
    # What the command says counts before all of it; and in another channel, and for another, less is set.
    await ada.slash(general, "imagine", prompt="a bag", style="rain", negative="fog", depth=1)
    await discord.member("bob").slash(discord.add_channel("other"), "imagine", prompt="a shoe")
    await styled.delivered(2, 3, 4, 5, 6)
    prompts = {item.prompt: item for item in styled.generator.generated}
    assert prompts["a bag, rain"].negative_prompt == "fog"
    assert (prompts["a shoe"].negative_prompt, prompts["a shoe"].width) == ("blurry", 96)
    assert len(await styled.store.steps(3)) == 3
    # In a thread of the channel, the channel's counts; reset brings back what is below.
    assert "size" in said(await ada.slash(general, "settings reset", name="size"))
    assert "depth" in said(await ada.slash(general, "settings reset"))
    thread = await ada.start_thread(general, "ours")
    shown = said(await ada.slash(thread, "settings show"))
    assert "**depth** ⁨2⁩ (this server's)" in shown
    assert "**style** ⁨ink⁩ (this channel's)" in shown
    assert "Nothing of that was set" in said(await ada.slash(general, "settings reset"))


@pytest.mark.parametrize(
    ("level", "name", "value", "words"),
    [
        ("server", "depth", "1", "has the permission Manage Server"),
        ("channel", "depth", "1", "has the permission Manage Channels"),
        ("member", "iterate", "everyone", "for this server only"),
        (None, "iterate", "everyone", "has the permission Manage Server"),
        (None, "nsfw", "never", "has the permission Manage Server"),
        (None, "gallery", "general", "has the permission Manage Server"),
        (None, "member_waiting", "999", "has the permission Manage Server"),
    ],
)
async def test_what_concerns_others_needs_the_permission(
    styled: House, level: str | None, name: str, value: str, words: str
) -> None:
    ada, general = styled.discord.member("ada"), styled.discord.general
    refused = await ada.slash(general, "settings set", name=name, value=value, level=level)
    assert words in said(refused)
    shown = said(await ada.slash(general, "settings show"))
    assert "(this" not in shown
    assert words.replace("for this server only", "Manage Server") in said(
        await ada.slash(general, "settings reset", name=name, level=level if level != "member" else "server")
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("depth", "9", "from 0 to 8"),
        ("depth", "²", "from 0 to 8"),
        ("size", "large", "such as 768x512"),
        ("style", "oil", "one of: ink, rain"),
        ("model", "huge", "has no model of that name; it has: small [1a2b3c4d5e], large"),
        ("sampler", "Heun", "no sampler of that name"),
        ("spoiler", "perhaps", "one of: on, off"),
        ("iterate", "nobody", "no such role"),
        ("priority", "@everyone", "no such role"),
        ("gallery", "nowhere", "no such text channel"),
        ("member_waiting", "0", "whole number above 0. More than 3 is not possible"),
        ("member_waiting", "4", "More than 3 is not possible"),
        ("server_daily", "-1", "whole number above 0."),
        ("negative", "\u0007", "1 to 4,000 characters"),
    ],
)
async def test_what_cannot_be_set_is_said_plainly(
    make_house: MakeHouse, name: str, value: str, words: str
) -> None:
    house = make_house(options=OPTIONS, settings={"member_waiting": 3})
    await house.start()
    owner = house.discord.member("owner")
    assert words in said(await owner.slash(house.discord.general, "settings set", name=name, value=value))
    assert "(yours)" not in said(await owner.slash(house.discord.general, "settings show"))


async def test_the_gallery_is_kept_where_it_is_looked_for(styled: House) -> None:
    discord = styled.discord
    owner = discord.member("owner")
    gallery, closed = discord.add_channel("gallery"), discord.add_channel("closed")
    discord.deny(closed, discord.bot, "attach_files")
    refused = await owner.slash(discord.general, "settings set", name="gallery", value="#closed")
    assert "there I need View Channel" in said(refused)
    told = await owner.slash(discord.general, "settings set", name="gallery", value="gallery")
    assert f"<#{gallery.id}>" in said(told)
    assert await styled.store.recall(gallery_key(str(discord.guild.id))) == str(gallery.id)
    assert gallery_key("7") == "discord:gallery:7"
    assert f"<#{gallery.id}> (this server's)" in said(await owner.slash(discord.general, "settings show"))
    await owner.slash(discord.general, "settings reset", name="gallery")
    assert await styled.store.recall(gallery_key(str(discord.guild.id))) == ""


async def test_in_a_dm_only_ones_own_can_be_set(styled: House) -> None:
    ada = styled.discord.member("ada")
    for name, level in (("iterate", None), ("depth", "server"), ("depth", "channel")):
        refused = await ada.slash(ada.dm(), "settings set", name=name, value="1", level=level)
        assert "in a server only" in said(refused)
    await ada.slash(ada.dm(), "settings set", name="depth", value="0")
    await ada.slash(ada.dm(), "imagine", prompt="a hat")
    await styled.delivered(1)
    assert await styled.states(1) == ["done"]


async def test_completion_offers_what_there_is(styled: House) -> None:
    ada, general = styled.discord.member("ada"), styled.discord.general

    async def offered(command: str, option: str, typed: str = "", **given: str) -> list[str]:
        choices = await ada.autocomplete(general, command, option, typed, **given)
        return [choice["name"] for choice in choices]

    assert await offered("imagine", "style") == ["ink", "rain"]
    assert await offered("imagine", "style", "AI") == ["rain"]
    assert await offered("imagine", "model", prompt="a hat") == ["small [1a2b3c4d5e]", "large"]
    assert await offered("imagine", "sampler", "dpm") == ["DPM++ 2M"]
    assert await offered("settings set", "value", name="model") == ["small [1a2b3c4d5e]", "large"]
    assert await offered("settings set", "value", name="spoiler") == ["on", "off"]
    assert await offered("settings set", "value", name="iterate", typed="") == [
        "everyone",
        "requester",
        "@Contextual Diffusion",
    ]
    assert await offered("settings set", "value", name="gallery") == ["#general"]
    assert await offered("settings set", "value", name="depth") == []


async def test_a_backend_that_does_not_answer_offers_nothing_and_takes_what_it_is_told(
    make_house: MakeHouse,
) -> None:
    house = make_house(options=OPTIONS)
    house.generator.offered = GeneratorError("The Stable Diffusion server cannot be reached.")
    await house.start()
    ada, general = house.discord.member("ada"), house.discord.general
    assert await ada.autocomplete(general, "imagine", "model", "x") == []
    await ada.slash(general, "imagine", prompt="a hat", model="secret", depth=0)
    await house.delivered(1)
    assert house.generator.generated[0].model == "secret"
    # It is asked again, and then known.
    house.generator.offered = Choices(("one",), ())
    refused = await ada.slash(general, "imagine", prompt="a hat", model="secret", depth=0)
    assert "has no model of that name; it has: one" in said(refused)


async def test_model_and_sampler_are_found_by_part_of_their_name(styled: House) -> None:
    ada, general = styled.discord.member("ada"), styled.discord.general
    await ada.slash(general, "imagine", prompt="a hat", model="SMALL", sampler="euler", depth=1)
    await styled.delivered(1, 2)
    used = {(item.model, item.sampler) for item in styled.generator.inpainted}
    assert used == {("small [1a2b3c4d5e]", "Euler")}
    session = await styled.store.session(1)
    assert (session.model, session.sampler) == ("small [1a2b3c4d5e]", "Euler")
    refused = await ada.slash(general, "imagine", prompt="a hat", style="oil")
    assert "There is no style of that name; there are: ink, rain." in said(refused)


async def test_spoilers_are_hidden_and_stay_so(styled: House) -> None:
    discord, general = styled.discord, styled.discord.general
    ada, owner = discord.member("ada"), discord.member("owner")
    await ada.slash(general, "imagine", prompt="a hat", depth=1, spoiler=True)
    await styled.delivered(1, 2)
    for message in discord.messages(await styled.thread()):
        assert message.attachments
        assert all(file.filename.startswith("SPOILER_") for file in message.attachments)
        # An embed would show its picture to everyone.
        assert not any("image" in embed or "thumbnail" in embed for embed in message.embeds)
    await shown_is_what_is_stored(styled)
    # Where the channel hides, a member cannot unhide.
    await owner.slash(general, "settings set", name="spoiler", value="on", level="channel")
    await ada.slash(general, "settings set", name="spoiler", value="off")
    await ada.slash(general, "imagine", prompt="a bag", depth=0, spoiler=False)
    await styled.delivered(3)
    (picture,) = discord.messages(await styled.thread())
    assert picture.attachments[0].filename == "SPOILER_step-3.png"


async def test_words_for_adults_are_for_age_restricted_channels(styled: House) -> None:
    discord = styled.discord
    ada, owner = discord.member("ada"), discord.member("owner")
    adult = discord.add_channel("adult", nsfw=True)
    for where in (discord.general, ada.dm(), await ada.start_thread(discord.general, "ours")):
        assert "age-restricted channels only" in said(await ada.slash(where, "imagine", prompt="a nude"))
    assert await styled.store.sessions() == []
    await ada.slash(adult, "imagine", prompt="a nude", depth=0)
    await ada.slash(await ada.start_thread(adult, "theirs"), "imagine", prompt="a nude", depth=0)
    await styled.delivered(1, 2)
    assert "not painted here or anywhere" in said(await ada.slash(adult, "imagine", prompt="a nude child"))
    # A server can add words, and can forbid them everywhere.
    await owner.slash(discord.general, "settings set", name="words", value="clown, mime")
    assert "“clowns”" in said(await ada.slash(discord.general, "imagine", prompt="two Clowns"))
    await owner.slash(discord.general, "settings set", name="nsfw", value="never")
    assert "age-restricted" in said(await ada.slash(adult, "imagine", prompt="a nude"))
    # Replies are words too.
    await ada.slash(discord.general, "imagine", prompt="a hat", depth=0)
    await styled.delivered(3)
    picture = await styled.shown(await styled.thread(), "step 3 · picture")
    reply = await ada.send(picture.channel_id, "1: naked", reply_to=picture)
    assert "age-restricted" in (await said_to(styled, reply)).content


async def test_who_may_go_on_is_the_servers_to_say(styled: House) -> None:
    discord = styled.discord
    owner, bob = discord.member("owner"), discord.member("bob")
    await owner.slash(discord.general, "settings set", name="iterate", value="requester")
    await discord.member("ada").slash(discord.general, "imagine", prompt="a hat", depth=0)
    picture = await styled.shown(await styled.thread(), "step 1 · picture")
    await bob.react(picture, AGAIN)
    assert "only who asked" in (await said_to(styled, picture)).content
    await owner.slash(discord.general, "settings set", name="iterate", value="everyone")
    await bob.unreact(picture, AGAIN)
    await bob.react(picture, AGAIN)
    await styled.shown(await styled.thread(), "step 2 · picture")


async def test_the_client_offers_only_what_can_be_set(styled: House) -> None:
    with pytest.raises(RefusedError):
        await styled.discord.member("ada").slash(
            styled.discord.general, "settings set", name="token", value="x"
        )
