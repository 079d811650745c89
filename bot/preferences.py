"""What a server, a channel and a member can set, how it is read, and which of them counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import discord

from bot.gallery import gallery_key
from pipeline.domain import MAX_PROMPT
from pipeline.engine import EngineOptions, clean_text
from pipeline.errors import InvalidRequest
from pipeline.settings import Settings
from pipeline.store import Store

Level = Literal["member", "channel", "server"]
LEVELS: tuple[Level, ...] = get_args(Level)  # who is listed first counts first
ROLE = "role:"  # how `iterate` keeps a role's id

Read = Callable[[str, discord.Guild | None], str]


@dataclass(frozen=True, slots=True)
class Preference:
    """Something to set: `read` turns what was typed into what is kept, or raises InvalidRequest."""

    name: str
    description: str
    read: Read
    levels: tuple[Level, ...] = LEVELS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What counts in one place for one member; `levels` says for each name where it comes from."""

    values: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, Level] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a preference, "" where nobody set it."""
        return self.values.get(name, "")

    def number(self, name: str, otherwise: int) -> int:
        """Return a preference that is a whole number."""
        return int(self.values.get(name, otherwise))

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Return width and height in pixels, None where nobody set them."""
        width, _, height = self.text("size").partition("x")
        return (int(width), int(height)) if height else (None, None)


def preferences(options: EngineOptions, settings: Settings) -> dict[str, Preference]:
    """List all there is to set, by name."""
    server: tuple[Level, ...] = ("server",)
    listed = (
        Preference("depth", "Recursions after the first picture", _whole(0, options.max_depth)),
        Preference("size", "Width and height in pixels, such as 768x512", _size),
        Preference("style", "A style, by its name", _one_of(tuple(options.styles))),
        Preference("model", "What the picture backend paints with", _text(256)),
        Preference("sampler", "The picture backend's sampler", _text(128)),
        Preference("negative", "What pictures should not show", _text(MAX_PROMPT)),
        Preference("spoiler", "Whether pictures are hidden until clicked: on or off", _one_of(("on", "off"))),
        Preference("iterate", "Who may go on: everyone, requester or a role", _who, server),
        Preference("gallery", "The channel that a star copies pictures to", _channel, server),
        Preference(
            "nsfw",
            "Where words for adults may be used: age-restricted or never",
            _one_of(("age-restricted", "never")),
            server,
        ),
        Preference("words", "More words for age-restricted channels only, with commas", _text(2000), server),
        Preference("priority", "Roles whose pictures come first, with commas", _roles, server),
        Preference(
            "member_waiting", "Unfinished pictures of one member", _limit(settings.member_waiting), server
        ),
        Preference(
            "member_daily", "Pictures of one member in 24 hours", _limit(settings.member_daily), server
        ),
        Preference("server_waiting", "Unfinished pictures of all", _limit(settings.server_waiting), server),
        Preference("server_daily", "Pictures of all in 24 hours", _limit(settings.server_daily), server),
    )
    return {item.name: item for item in listed}


async def read_level(store: Store, level: Level, place: str) -> dict[str, str]:
    """Return what is set at one level."""
    found = await store.preferences(level, place)
    if level == "server" and (gallery := await store.recall(gallery_key(place))):
        found["gallery"] = gallery
    return found


async def write(store: Store, level: Level, place: str, name: str, value: str | None) -> None:
    """Keep a preference; None forgets it."""
    if name == "gallery":
        await store.keep(gallery_key(place), value or "")
    else:
        await store.set_preference(level, place, name, value)


async def wanted(store: Store, places: Mapping[Level, str]) -> Wanted:
    """Put together what counts: a member's own word before the channel's, and that before the server's.

    A spoiler is the exception: whoever wants pictures hidden has them hidden.
    """
    values: dict[str, str] = {}
    levels: dict[str, Level] = {}
    found = await store.preferences_of({str(level): place for level, place in places.items()})
    for level in LEVELS:
        for name, value in found.get(level, {}).items():
            if name not in values or (name == "spoiler" and value == "on"):
                values[name], levels[name] = value, level
    return Wanted(values, levels)


def shown(name: str, value: str) -> str:
    """Write a kept value as a member would understand it."""
    if name == "gallery":
        return f"<#{value}>"
    if name == "iterate" and value.startswith(ROLE):
        return f"<@&{value.removeprefix(ROLE)}>"
    if name == "priority":
        return " ".join(f"<@&{role}>" for role in value.split(","))
    return value


# -- what was typed ---------------------------------------------------------------------------------


def _whole(low: int, high: int) -> Read:
    def read(text: str, _guild: discord.Guild | None) -> str:
        if not re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) or not low <= int(text) <= high:
            raise InvalidRequest(f"That must be a whole number from {low} to {high}.")
        return str(int(text))

    return read


def _limit(everywhere: int) -> Read:
    read_number = _whole(1, everywhere or 10**9 - 1)

    def read(text: str, guild: discord.Guild | None) -> str:
        try:
            return read_number(text, guild)
        except InvalidRequest as error:
            more = f" More than {everywhere} is not possible with this bot." if everywhere else ""
            raise InvalidRequest(f"That must be a whole number above 0.{more}") from error

    return read


def _text(longest: int) -> Read:
    def read(text: str, _guild: discord.Guild | None) -> str:
        words = clean_text(text)
        if not 0 < len(words) <= longest:
            raise InvalidRequest(f"That must have from 1 to {longest:,} characters.")
        return words

    return read


def _one_of(choices: tuple[str, ...]) -> Read:
    def read(text: str, _guild: discord.Guild | None) -> str:
        for choice in choices:
            if text.strip().casefold() == choice.casefold():
                return choice
        raise InvalidRequest(f"That must be one of: {', '.join(choices) or 'nothing, for there is none'}.")

    return read


def _size(text: str, _guild: discord.Guild | None) -> str:
    match = re.fullmatch(r"\s*(\d{2,4})\s*[x×X*]\s*(\d{2,4})\s*", text, re.ASCII)
    if match is None:
        raise InvalidRequest("Write the size as width and height in pixels, such as 768x512.")
    return f"{match[1]}x{match[2]}"


def _role(text: str, guild: discord.Guild | None) -> discord.Role:
    wanted = text.strip()
    number = re.fullmatch(r"(?:<@&)?(\d{5,20})>?", wanted, re.ASCII)
    for role in guild.roles if guild else ():
        if role.is_default():
            continue
        if (number and role.id == int(number[1])) or role.name.casefold() == wanted.lstrip("@").casefold():
            return role
    raise InvalidRequest("There is no such role here; choose one of those offered, or mention it.")


def _who(text: str, guild: discord.Guild | None) -> str:
    choice = text.strip().casefold()
    return choice if choice in ("everyone", "requester") else f"{ROLE}{_role(text, guild).id}"


def _roles(text: str, guild: discord.Guild | None) -> str:
    found = dict.fromkeys(str(_role(part, guild).id) for part in text.split(",") if part.strip())
    if not found:
        raise InvalidRequest("Name at least one role.")
    return ",".join(found)


def _channel(text: str, guild: discord.Guild | None) -> str:
    wanted = text.strip()
    number = re.fullmatch(r"(?:<#)?(\d{5,20})>?", wanted, re.ASCII)
    for channel in guild.text_channels if guild else ():
        if (number and channel.id == int(number[1])) or channel.name == wanted.lstrip("#"):
            has = channel.permissions_for(channel.guild.me)
            if not (has.view_channel and has.send_messages and has.embed_links and has.attach_files):
                raise InvalidRequest(
                    f"I cannot show pictures in <#{channel.id}>: there I need View Channel, Send Messages, "
                    "Embed Links and Attach Files."
                )
            return str(channel.id)
    raise InvalidRequest("There is no such text channel here that I can see; choose one of those offered.")
