"""/queue and /cancel: what waits and is painted, and how to end that."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot import texts
from bot.cancelling import cancel, cancelled_text
from bot.translations import tr
from pipeline.domain import Step
from pipeline.errors import InvalidRequest
from pipeline.queue import forecast

if TYPE_CHECKING:
    from bot.client import Client

_LISTED = 15


def queue_command(client: Client) -> app_commands.Command:
    """Make /queue."""

    @app_commands.command(name="queue", description="Show what of yours waits and when it should be painted")
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def queue(interaction: discord.Interaction) -> None:
        await interaction.response.send_message(await _queue(client, interaction.user.id), ephemeral=True)

    return queue


def cancel_command(client: Client) -> app_commands.Command:
    """Make /cancel."""

    @app_commands.command(name="cancel", description="Cancel what waits or is being painted here")
    @app_commands.describe(everything="All of yours, wherever it is (no)")
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def cancel_(interaction: discord.Interaction, everything: bool = False) -> None:
        steps = await _cancellable(client, interaction, everything)
        cancelled = await cancel(client, steps, interaction.user.id)
        if not cancelled:
            raise InvalidRequest(
                "Nothing of yours is waiting or being painted."
                if everything
                else "Nothing that you can cancel is waiting or being painted here. "
                "In the thread of a picture I cancel that one; with `everything` all of yours."
            )
        await interaction.response.send_message(cancelled_text(cancelled), ephemeral=True)

    return cancel_


async def _cancellable(client: Client, interaction: discord.Interaction, everything: bool) -> list[Step]:
    store = client.pipeline.store
    if everything:
        return await store.unfinished("discord", member=str(interaction.user.id))
    steps = await store.unfinished("discord", place=str(interaction.channel_id))
    sessions = {number: await store.session(number) for number in {step.session_id for step in steps}}
    return [step for step in steps if client.rules.may_cancel(sessions[step.session_id], step, interaction)]


async def _queue(client: Client, user_id: int) -> str:
    line = await client.pipeline.store.line("discord")
    now = time.time()
    turns = await asyncio.to_thread(forecast, line, slots=client.worker.slots, now=now)
    own = [step for step in line.steps if step.member == str(user_id)]
    running = sum(step.running_since is not None for step in line.steps)
    lines = [
        tr(
            "Being painted: {running}. Waiting: {waiting}. Of all these, yours: {own}.",
            running=running,
            waiting=len(turns),
            own=len(own),
        )
    ]
    own.sort(key=lambda step: turns[step.step_id].ahead if step.step_id in turns else -1)
    for step in own[:_LISTED]:
        session = await client.pipeline.store.session(step.session_id)
        where = f"<#{session.place}>" if session.place.isdigit() else texts.quote(session.prompt, 60)
        turn = turns.get(step.step_id)
        if turn is None:
            lines.append(tr("- {where}: being painted", where=where))
        elif turn.starts is None:
            lines.append(
                tr(
                    "- {where}: {count} before it; when it begins is not known yet",
                    where=where,
                    count=turn.ahead,
                )
            )
        else:
            lines.append(
                tr(
                    "- {where}: {count} before it; it should begin {time}",
                    where=where,
                    count=turn.ahead,
                    time=f"<t:{round(now + turn.starts)}:R>",
                )
            )
    if len(own) > _LISTED:
        lines.append(tr("- and {count} more", count=len(own) - _LISTED))
    return texts.clip("\n".join(lines), texts.CONTENT)
