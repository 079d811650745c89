"""A loopback Discord: REST v10 and gateway on 127.0.0.1, with members that a test or a page can act as.

async with Playground() as discord:
    connect_here(discord.rest_url)  # in the bot's process; the bot logs in with discord.token
    await discord.wait_until_connected()
    alice = discord.member("alice")
    sent = await alice.slash(discord.general, "imagine", prompt="a cat", depth=2)
    picture = await discord.wait_for_message(None, lambda m: m.attachments, timeout=60)
    await alice.react(picture, "🔁")
    await alice.send(picture.channel_id, "2: red leather", reply_to=picture)
"""

from playground.actors import Actor
from playground.connect import connect_here
from playground.errors import ApiError, RefusedError
from playground.faults import Fault, Gate
from playground.interactions import SentInteraction
from playground.keeper import DirectoryInUse
from playground.limits import Limits, Rule, Violation
from playground.permissions import Permission
from playground.server import Playground
from playground.state import Attachment, Channel, Member, Message, Upload

__all__ = [
    "Actor",
    "ApiError",
    "Attachment",
    "Channel",
    "DirectoryInUse",
    "Fault",
    "Gate",
    "Limits",
    "Member",
    "Message",
    "Permission",
    "Playground",
    "RefusedError",
    "Rule",
    "SentInteraction",
    "Upload",
    "Violation",
    "connect_here",
]
