"""/imagine: write the wish down, acknowledge it, open its thread."""

# No postponed annotations here: discord.py reads the options' ranges from them, and these are not global.

import logging
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.attachments import attached
from bot.translations import language_of_posts
from pipeline.domain import MAX_PROMPT, MAX_SEED
from pipeline.errors import InvalidRequest

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

DEPTH = 1  # recursions where nobody says otherwise
_UNKNOWN_INTERACTION = 10062
_WITH_THREADS = (discord.ChannelType.text, discord.ChannelType.news)
_THREADS = (
    discord.ChannelType.public_thread,
    discord.ChannelType.private_thread,
    discord.ChannelType.news_thread,
)

# What the bot needs to show a session, and what Discord calls it.
NEEDED = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    embed_links=True,
    attach_files=True,
    add_reactions=True,
    read_message_history=True,
)
_NAMES = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "create_public_threads": "Create Public Threads",
    "embed_links": "Embed Links",
    "attach_files": "Attach Files",
    "add_reactions": "Add Reactions",
    "read_message_history": "Read Message History",
}


def imagine_command(client: "Client") -> app_commands.Command:
    """Make the command; its options' ranges are those of the settings and the picture backend."""
    info, deepest = client.pipeline.info, client.settings.max_depth

    @app_commands.command(name="imagine", description="Paint a picture, then make it richer object by object")
    @app_commands.describe(
        prompt="What the picture should show",
        depth=f"How many recursions follow the first picture: 0 to {deepest} ({DEPTH})",
        seed="The same prompt and seed give the same pictures",
        negative="What the picture should not show",
        width=f"Pixels: {info.min_side} to {info.max_side} ({info.default_width})",
        height=f"Pixels: {info.min_side} to {info.max_side} ({info.default_height})",
        image="A picture to start from; without width and height it gives its shape",
        strength="How far to leave that picture, 0.05 to 1 (0.6)",
        style="Words that are added, by name",
        model="What the picture backend paints with",
        sampler="The picture backend's sampler",
        spoiler="Hide the pictures until they are clicked",
    )
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def imagine(
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, MAX_PROMPT],
        depth: app_commands.Range[int, 0, deepest] | None = None,
        seed: app_commands.Range[int, 0, MAX_SEED] | None = None,
        negative: app_commands.Range[str, 0, MAX_PROMPT] = "",
        width: app_commands.Range[int, info.min_side, info.max_side] | None = None,
        height: app_commands.Range[int, info.min_side, info.max_side] | None = None,
        image: discord.Attachment | None = None,
        strength: app_commands.Range[float, 0.05, 1.0] | None = None,
        style: str = "",
        model: str = "",
        sampler: str = "",
        spoiler: bool | None = None,
    ) -> None:
        # Fetching a picture may take longer than the three seconds: it acknowledges first.
        _check(client, interaction)
        acknowledged, source = (None, None) if image is None else await attached(interaction, image)
        with client.courtesy.urgent():
            wanted = await client.rules.wanted(interaction)
            await client.rules.note_member(interaction, wanted)
            model, sampler = await client.offers.check(
                model or wanted.text("model"), sampler or wanted.text("sampler")
            )
            hidden = "on" if spoiler or wanted.text("spoiler") == "on" else ""
            # Written down first: from here on nothing is lost, whatever happens to this process.
            session = await client.pipeline.imagine(
                prompt,
                client="discord",
                owner=str(interaction.user.id),
                request=str(interaction.id),
                seed=seed,
                image=source,
                strength=strength,
                depth=min(wanted.number("depth", DEPTH), deepest) if depth is None else depth,
                negative_prompt=negative or wanted.text("negative"),
                width=width or wanted.size[0],
                height=height or wanted.size[1],
                meta=_meta(interaction) | {"spoiler": hidden},
                guild=str(interaction.guild_id or ""),
                mature=_is_mature(interaction) and wanted.text("nsfw") != "never",
                style=style or wanted.text("style"),
                model=model,
                sampler=sampler,
            )
            try:
                response = acknowledged or await interaction.response.defer()
            except discord.NotFound as error:
                if error.code != _UNKNOWN_INTERACTION:
                    raise
                # Three seconds were over. Discord told the member so, who gets the pictures all the same.
                log.warning("interaction %s was acknowledged too late", interaction.id)
            else:
                if response is not None and response.message_id is not None:
                    known = {"starter": str(response.message_id)}
                    session = await client.pipeline.store.place_session(session.id, meta=known)
        await client.worker.wake()
        await client.opener.open(session)

    @imagine.autocomplete("style")
    @imagine.autocomplete("model")
    @imagine.autocomplete("sampler")
    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await client.offers.complete(_focused(interaction), typed)

    return imagine


def _focused(interaction: discord.Interaction) -> str:
    """Return the name of the option that is being typed into."""
    options: list[dict[str, object]] = (interaction.data or {}).get("options", [])  # type: ignore[assignment]
    return next((str(option["name"]) for option in options if option.get("focused")), "")


def _is_mature(interaction: discord.Interaction) -> bool:
    """Tell whether a channel is age-restricted; a thread is if its channel is, a DM never."""
    channel = interaction.channel
    return isinstance(channel, (discord.abc.GuildChannel, discord.Thread)) and bool(
        getattr(channel, "is_nsfw", bool)()
    )


def _meta(interaction: discord.Interaction) -> dict[str, str]:
    """Return what opening a session needs, now or after a restart."""
    channel = interaction.channel
    return {
        "where": "channel" if channel is not None and channel.type in _WITH_THREADS else "here",
        "channel": str(interaction.channel_id),
        "guild": str(interaction.guild_id or ""),
        "application": str(interaction.application_id),
        "token": interaction.token,
        "locale": language_of_posts(interaction),
    }


def _check(client: "Client", interaction: discord.Interaction) -> None:
    """Raise InvalidRequest where the result could not be shown, with what is missing."""
    if interaction.guild_id is None:
        return  # in a DM everything is allowed
    if client.get_guild(interaction.guild_id) is None:
        raise InvalidRequest(
            "I can answer commands here, but I am not a member of this server. "
            f"Someone who manages it can add me: {client.invitation()}"
        )
    channel, has = interaction.channel, interaction.app_permissions
    kind = channel.type if channel is not None else None
    unneeded = set()
    if kind in _THREADS:
        unneeded = {"send_messages", "create_public_threads"}
    elif kind not in _WITH_THREADS:
        unneeded = {"send_messages_in_threads", "create_public_threads"}
    missing = [text for name, text in _NAMES.items() if name not in unneeded and not getattr(has, name)]
    if missing:
        raise InvalidRequest(
            f"I cannot show pictures here: I lack {', '.join(missing)}. "
            "Someone who manages this channel can give me that; then ask again."
        )
