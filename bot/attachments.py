"""What members attach: checked by what Discord says of it, then fetched."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import discord

from pipeline import uploads
from pipeline.errors import InvalidRequest

log = logging.getLogger(__name__)


async def attached(
    interaction: discord.Interaction, attachment: discord.Attachment
) -> tuple[discord.InteractionCallbackResponse | None, bytes]:
    """Acknowledge a command and fetch the picture attached to it, checked. Raises InvalidRequest.

    What Discord says of the file is enough for most refusals, and those are for the asker's eyes only. After
    a refusal of what was fetched, the acknowledgement that all could see is taken back.
    """
    _check(attachment)
    response = await interaction.response.defer()
    try:
        data = await fetched(attachment)
        # All of it, though it is decoded again: nothing is written down of a picture that cannot be used.
        await asyncio.to_thread(uploads.decode, data)
        return response, data
    except InvalidRequest:
        await interaction.delete_original_response()
        raise


async def fetched(attachment: discord.Attachment) -> bytes:
    """Fetch a file that may be a picture; it is not decoded. Raises InvalidRequest."""
    _check(attachment)
    try:
        return await attachment.read()
    except (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError) as error:
        log.info("attachment %s cannot be fetched: %s", attachment.id, error)
        raise InvalidRequest(
            "The attached file cannot be fetched from Discord just now; attach it again."
        ) from error


def _check(attachment: discord.Attachment) -> None:
    uploads.check_declared(
        size=attachment.size,
        kind=attachment.content_type,
        width=attachment.width,
        height=attachment.height,
    )
