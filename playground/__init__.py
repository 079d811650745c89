"""A loopback Discord: REST v10 and gateway on 127.0.0.1, with members that a test or a page can act as."""

from playground.actors import Actor
from playground.connect import connect_here
from playground.errors import ApiError, RefusedError
from playground.faults import Fault, Gate
from playground.interactions import SentInteraction
from playground.limits import Limits, Rule, Violation
from playground.permissions import Permission
from playground.server import Playground
from playground.state import Attachment, Channel, Member, Message, Upload

__all__ = [
    "Actor",
    "ApiError",
    "Attachment",
    "Channel",
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
