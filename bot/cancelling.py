"""The button that cancels a step: it carries the step's number only, and survives a restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord

from bot import sentences, texts
from bot.translations import answer_in, tr, translated
from pipeline.domain import Step
from pipeline.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from bot.client import Client


class CancelButton(discord.ui.DynamicItem[discord.ui.Button], template=r"cancel:(?P<step>\d+)"):
    """Cancel the step that the button's message shows."""

    def __init__(self, step_id: int) -> None:
        super().__init__(
            discord.ui.Button(
                label=tr("Cancel"),
                style=discord.ButtonStyle.secondary,
                emoji="✖️",
                custom_id=f"cancel:{step_id}",
            )
        )
        self.step_id = step_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> CancelButton:
        """Make the button again that was pressed."""
        return cls(int(match["step"]))

    async def callback(self, interaction: discord.Interaction[Client]) -> None:  # type: ignore[override]
        """Cancel, and say so to the one who pressed."""
        answer_in(interaction.locale)
        try:
            text = await self._cancel(interaction)
        except (InvalidRequest, NotFound) as error:
            text = translated(str(error))
        await interaction.response.send_message(text, ephemeral=True)

    async def _cancel(self, interaction: discord.Interaction[Client]) -> str:
        client, message = interaction.client, interaction.message
        store = client.pipeline.store
        post = None
        if message is not None:
            post = await client.outbox.post_of(message.id, str(message.channel.id))
        # The number alone could be another picture's, in a new database.
        if post is None or post.step_id != self.step_id:
            raise InvalidRequest("This picture is not waiting or being painted any more.")
        step = await store.step(post.step_id)
        session = await store.session(step.session_id)
        if not client.rules.may_cancel(session, step, interaction):
            raise InvalidRequest("Only who asked for a picture, or a moderator, can cancel it.")
        cancelled = await cancel(client, [step], interaction.user.id)
        if not cancelled:
            raise InvalidRequest("This picture is not waiting or being painted any more.")
        return cancelled_text(cancelled)


def cancel_view(step_id: int) -> discord.ui.View:
    """Make a message's row with the button."""
    view = discord.ui.View(timeout=None)
    view.add_item(CancelButton(step_id))
    view.stop()  # pressing it goes by its custom_id: the client need not keep a view for each message
    return view


async def cancel(client: Client, steps: list[Step], user_id: int) -> int:
    """Cancel steps and what waits for them; return how many were cancelled."""
    cancelled: set[int] = set()
    for step in steps:
        if step.id not in cancelled:
            cancelled.update(await client.worker.cancel(step.id, why=f"Cancelled by <@{user_id}>."))
    return len(cancelled)


def cancelled_text(count: int) -> str:
    """Say how many pictures were cancelled."""
    return tr("Cancelled: {pictures}.", pictures=texts.counted(count, sentences.PICTURES))
