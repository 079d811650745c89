"""/privacy show, export, delete: what is kept of a member, theirs to take and to take back."""

# No postponed annotations here: discord.py reads commands from them.

import asyncio
import io
import json
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from bot import access, sentences, texts
from bot.cogs.sessions import report
from bot.deleting import Removal
from bot.texts import counted
from bot.translations import answer_in, tr
from pipeline.domain import Footprint, Step
from pipeline.errors import ContextualDiffusionError, InvalidRequest
from pipeline.export import Entry, pack, session_entries
from pipeline.settings import Settings

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

CLIENT = "discord"


def privacy_commands(client: "Client") -> app_commands.Group:
    """Make the group of commands, and teach the client its buttons."""
    client.add_dynamic_items(ForgetButton)
    group = app_commands.Group(
        name="privacy",
        description="What I keep about you: see it, take it home, delete it",
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=False),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
    )

    @group.command(name="show", description="What I keep about you, in plain words")
    async def show(interaction: discord.Interaction) -> None:
        found = await client.pipeline.store.footprint(CLIENT, str(interaction.user.id))
        await interaction.response.send_message(_words(found, client.settings), ephemeral=True)

    @group.command(name="export", description="A copy of all that I keep about you")
    async def export(interaction: discord.Interaction) -> None:
        found = await client.pipeline.store.footprint(CLIENT, str(interaction.user.id))
        if not found.anything:
            raise InvalidRequest("I keep nothing about you.")
        await interaction.response.defer(ephemeral=True, thinking=True)
        await _Sender(client, interaction).send_all(found)

    @group.command(name="delete", description="Delete all that I keep about you")
    async def delete(interaction: discord.Interaction) -> None:
        found = await client.pipeline.store.footprint(CLIENT, str(interaction.user.id))
        if not found.anything:
            raise InvalidRequest("I keep nothing about you.")
        lines = [
            tr(
                "Delete all that I keep about you: {sessions} with {pictures}, all your words and my "
                "messages? It cannot be brought back.",
                sessions=counted(found.sessions, sentences.SESSIONS),
                pictures=counted(found.pictures, sentences.PICTURES),
            )
        ]
        if found.others:
            lines.append(
                tr(
                    "{steps} that others asked for in your sessions go too, for they grew from your "
                    "pictures.",
                    steps=counted(found.others, sentences.STEPS),
                )
            )
        if found.elsewhere:
            lines.append(
                tr(
                    "{steps} that you asked for in others' sessions stay theirs, without your id and your "
                    "words; the tags that came of them stay with the pictures.",
                    steps=counted(found.elsewhere, sentences.STEPS),
                )
            )
        view = discord.ui.View(timeout=None)
        view.add_item(ForgetButton(interaction.user.id, sure=True))
        view.add_item(ForgetButton(interaction.user.id, sure=False))
        await interaction.response.send_message("\n".join(lines), view=view, ephemeral=True)

    return group


def _words(found: Footprint, settings: Settings) -> str:
    """Tell what is kept, where words go, and what can be done about it."""
    if not found.anything:
        kept = [tr("I keep nothing about you.")]
    else:
        kept = [f"**{tr('What I keep about you')}**"]
        if found.sessions and found.since is not None:
            kept.append(
                tr(
                    "- {sessions} since {day}: your prompts and other words, which of my messages show them, "
                    "{pictures} ({size}), and {attached} that you attached, cut to size and without what a "
                    "camera writes into it.",
                    sessions=counted(found.sessions, sentences.SESSIONS),
                    day=discord.utils.format_dt(found.since, "D"),
                    pictures=counted(found.pictures, sentences.PICTURES),
                    size=texts.size_of(found.size),
                    attached=counted(found.sources, sentences.PICTURES),
                )
            )
        if found.elsewhere:
            kept.append(
                tr(
                    "- {steps} that you asked for in other members' sessions, with your words.",
                    steps=counted(found.elsewhere, sentences.STEPS),
                )
            )
        if found.wishes:
            kept.append(
                tr("- Your own defaults (`/settings show`) and whether a role puts you ahead in a queue.")
            )
        kept.append(
            tr(
                "- Your Discord id with each of these, to know whose they are. No name, no address, nothing "
                "of what you write or do elsewhere."
            )
        )
        kept.append(tr("It is kept until you, or for a session a moderator of its channel, delete it."))
    painter = (
        tr("a model on the machine that runs me")
        if settings.diffusion_url.startswith("embedded")
        else tr("a Stable Diffusion server that who runs me has chosen")
    )
    if settings.openai_base_url:
        writer = tr("a language model's server that who runs me has chosen")
    elif settings.openai_api_key is not None:
        writer = "OpenAI"
    else:
        writer = tr("a program on the machine that runs me")
    return "\n".join(
        [
            *kept,
            tr(
                "Your prompts and attached pictures go to {painter}; prompts and replies go to {writer}.",
                painter=painter,
                writer=writer,
            ),
            tr("What I post in a channel is in Discord's hands and seen by those who can read there."),
            tr(
                "`/privacy export` gives you a copy, `/privacy delete` deletes it all, "
                "`/session delete` a single session."
            ),
        ]
    )


# -- a copy ---------------------------------------------------------------------------------------


class _Sender:
    """Send a member their data in files that fit: in place, or by DM when that takes too long."""

    def __init__(self, client: "Client", interaction: discord.Interaction) -> None:
        self._client = client
        self._interaction = interaction
        self._limit = interaction.filesize_limit
        self._sent = 0
        self._left_out: list[str] = []

    async def send_all(self, found: Footprint) -> None:
        store = self._client.pipeline.store
        member = str(self._interaction.user.id)
        sessions = await store.sessions_of(CLIENT, member)
        elsewhere = await store.steps_elsewhere(CLIENT, member)
        wanted = await store.preferences("member", member)
        waiting = [_about(member, found, [session.id for session in sessions], elsewhere, wanted)]
        for session in sessions:
            entries = await session_entries(store, session, folder=f"session-{session.id}")
            # Previews tell nothing that is not in the pictures.
            entries = [entry for entry in entries if not entry.preview]
            if sum(entry.cost for entry in (*waiting, *entries)) > self._limit:
                await self._send(waiting)
                waiting = []
            waiting += entries
        await self._send(waiting)
        lines = [tr("That is all: {files}.", files=counted(self._sent, sentences.FILES))]
        if self._left_out:
            names = ", ".join(self._left_out[:10])
            lines.append(
                tr(
                    "Too large to send here, so **left out**: {files} ({names}).",
                    files=counted(len(self._left_out), sentences.FILES),
                    names=names,
                )
            )
        await self._say("\n".join(lines), None)

    async def _send(self, entries: list[Entry]) -> None:
        packed = await asyncio.to_thread(pack, entries, limit=self._limit)
        self._left_out += packed.left_out
        for part in packed.parts:
            self._sent += 1
            file = (f"your-data-{self._sent}.zip", part)
            await self._say(tr("What I keep about you:") if self._sent == 1 else "", file)

    async def _say(self, text: str, file: tuple[str, bytes] | None) -> None:
        def given() -> dict[str, Any]:
            return {} if file is None else {"file": discord.File(io.BytesIO(file[1]), file[0])}

        try:
            if not self._interaction.is_expired():
                await self._interaction.followup.send(text, ephemeral=True, **given())
                return
        except discord.HTTPException as error:
            log.info("not sent in place: %s", error)
        await self._interaction.user.send(text, **given())


def _about(
    member: str, found: Footprint, sessions: list[int], elsewhere: list[Step], wanted: dict[str, str]
) -> Entry:
    record = {
        "discord_id": member,
        "exported_at": datetime.now(UTC).isoformat(),
        "sessions": sessions,
        "attached_pictures": found.sources,
        "defaults": wanted,
        "asked_for_in_others_sessions": [
            {
                "session": step.session_id,
                "step": step.id,
                "kind": step.kind.value,
                "words": step.request,
                "asked_at": step.created_at.isoformat(),
            }
            for step in elsewhere
        ],
    }
    return Entry("about-you.json", json.dumps(record, ensure_ascii=False, indent=1).encode())


# -- deletion -------------------------------------------------------------------------------------


async def forget(client: "Client", member: str) -> Removal:
    """Delete a member's sessions, and their id and words from others'. What Discord hinders is counted."""
    store = client.pipeline.store
    removal = Removal()
    for session in await store.sessions_of(CLIENT, member):
        try:
            removal.add(await client.remover.remove(session))
        except InvalidRequest as error:
            log.info("session %s is not deleted: %s", session.id, error)
            removal.left[sentences.SESSIONS_KEPT] += 1
    for step in await store.steps_elsewhere(CLIENT, member):
        await client.remover.forget_asker(step, removal)
    removal.wishes = await store.forget_wishes(member)
    return removal


class ForgetButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]],
    template=r"privacy:(?P<word>delete|keep):(?P<member>\d+)",
):
    """Delete all that is kept of a member after all, or not."""

    def __init__(self, member: int, *, sure: bool) -> None:
        self.member, self.sure = member, sure
        super().__init__(
            discord.ui.Button(
                label=tr("Delete all of it") if sure else tr("Keep it"),
                style=discord.ButtonStyle.danger if sure else discord.ButtonStyle.secondary,
                custom_id=f"privacy:{'delete' if sure else 'keep'}:{member}",
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> "ForgetButton":
        return cls(int(match["member"]), sure=match["word"] == "delete")

    async def callback(self, interaction: discord.Interaction) -> None:
        client: Any = interaction.client
        answer_in(interaction.locale)
        try:
            if interaction.user.id != self.member:
                raise InvalidRequest("That is another member's question; /privacy delete asks you.")
            text = tr("Deleting …") if self.sure else tr("Everything is kept.")
            await interaction.response.edit_message(content=text, view=None)
            if self.sure:
                await report(interaction, await forget(client, str(self.member)))
        except ContextualDiffusionError as error:
            await access.answer(interaction, error)
