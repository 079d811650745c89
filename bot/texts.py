"""Words for members: what came from outside made harmless, and everything kept within Discord's limits."""

from __future__ import annotations

import re

from bot.translations import tr
from pipeline.domain import Session, Step, StepKind

CONTENT = 2000  # characters of a message's content
TITLE = 256
DESCRIPTION = 4096
FIELD = 1024
EMBED_TOTAL = 6000  # over all embeds of a message
THREAD_NAME = 100

# Anything Discord's markdown or mention syntax begins with; some of it only at the start of a line, which
# the words may be put at. A backslash before it shows it as it is.
_SYNTAX = re.compile(r"([\\*_~`|<\[\]()@:]|^[#>-])")
# Marks that change the direction of all that follows them, and the ends of such marks.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")


def clip(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quote(text: str, limit: int) -> str:
    """Show someone else's words as they are: no markdown, no mention, and no direction leaking out of them.

    The result has at most `limit` characters; an escape is never cut in half.
    """
    words = " ".join(_DIRECTION.sub("", text).split())
    escaped = _SYNTAX.sub(r"\\\1", words)
    room = limit - 2
    if len(escaped) > room:
        cut = escaped[: room - 1]
        # An odd run of backslashes at the end has lost the character it was for.
        cut = cut[:-1] if (len(cut) - len(cut.rstrip("\\"))) % 2 else cut
        escaped = cut + "…"
    return f"\u2068{escaped}\u2069"


def plain(text: str, limit: int) -> str:
    """Clean words for where Discord reads no markdown: names, footers, alternative texts."""
    return clip(" ".join(_DIRECTION.sub("", text).split()), limit)


def marker(step_id: int, part: str) -> str:
    """Name a part of a step as its message's footer does: how a restarted bot knows what it has sent."""
    return f"step {step_id} · {part.replace(':', ' ')}"


def session_marker(session: Session) -> str:
    """Name a session as its first message's footer does; the seed tells it from another database's."""
    return f"session {session.id} · seed {session.seed}"


def title(step: Step) -> str:
    """Name a step, for its reader."""
    if step.kind is StepKind.GENERATE:
        return tr("First picture")
    if step.kind is not StepKind.TWEAK:
        return tr("Recursion {depth}", depth=step.depth)
    if step.depth == 0:
        return tr("One thing changed")
    return tr("Recursion {depth}, one thing changed", depth=step.depth)


def short_title(step: Step) -> str:
    """Name a step, for its reader, in as few words as its card in the drawing of a session does."""
    if step.kind is not StepKind.TWEAK:
        return title(step)
    return tr("Tweak") if step.depth == 0 else tr("Tweak · depth {depth}", depth=step.depth)


def counted(number: int, forms: tuple[str, str]) -> str:
    """Write a number of things, for its reader; `forms` is one of bot/sentences.py."""
    return tr(forms[number != 1], count=number)


def bar(share: float, cells: int = 12) -> str:
    """Draw a share 0..1."""
    full = round(max(0.0, min(1.0, share)) * cells)
    return "▰" * full + "▱" * (cells - full)


def size_of(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{max(1, count // 1024)} KiB"


def jump(guild: str, place: str, message: str) -> str:
    """Give the address of a message; `guild` is "" in a DM."""
    return f"https://discord.com/channels/{guild or '@me'}/{place}/{message}"
