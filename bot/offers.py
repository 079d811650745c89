"""What can be chosen by name: styles, and the picture backend's models and samplers, asked now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from discord import app_commands

from pipeline.domain import Choices
from pipeline.engine import Pipeline
from pipeline.errors import ContextualDiffusionError, InvalidRequest

log = logging.getLogger(__name__)

_FRESH = 60.0  # seconds
_PATIENCE = 1.0  # seconds; a completion must be answered within three
_SHOWN = 25  # what Discord shows at most
_NAME = 100  # characters of a choice


class Offers:
    """Remember what the backend offers; ask again when it is asked for and no longer fresh."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._latest: Choices | None = None
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def complete(self, name: str, typed: str) -> list[app_commands.Choice[str]]:
        """Offer what contains the typed words, what begins with them first."""
        wanted = typed.casefold()
        found = [entry for entry in await self.names(name) if wanted in entry.casefold()]
        found.sort(key=lambda entry: not entry.casefold().startswith(wanted))
        # A longer one cannot be a choice's value; it can be typed.
        return [app_commands.Choice(name=entry, value=entry) for entry in found if len(entry) <= _NAME][
            :_SHOWN
        ]

    async def names(self, name: str) -> tuple[str, ...]:
        """List styles, models or samplers; none where the backend does not answer soon."""
        if name == "style":
            return tuple(self._pipeline.options.styles)
        choices = await self._choices() or Choices()
        return choices.models if name == "model" else choices.samplers

    async def check(self, model: str, sampler: str) -> tuple[str, str]:
        """Return both as the backend writes them. Raises InvalidRequest for what it is known not to have."""
        if not model and not sampler:
            return "", ""
        choices = await self._choices()
        if choices is None:
            return model, sampler  # the backend's notes will say what it used
        return _find(model, choices.models, "model"), _find(sampler, choices.samplers, "sampler")

    async def _choices(self) -> Choices | None:
        if self._asking is None and (self._latest is None or time.monotonic() - self._asked > _FRESH):
            self._asking = asyncio.create_task(self._ask(), name="offers")
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=_PATIENCE)
        return self._latest

    async def _ask(self) -> None:
        try:
            self._latest = await self._pipeline.choices()
            self._asked = time.monotonic()
        except ContextualDiffusionError as error:
            log.info("the picture backend does not say what it has: %s", error)
        finally:
            self._asking = None


def _find(wanted: str, offered: Iterable[str], kind: str) -> str:
    if not wanted:
        return ""
    known = list(offered)
    exact = [name for name in known if name.casefold() == wanted.casefold()]
    # A name without its hash or folder, as people write it.
    near = exact or [name for name in known if wanted.casefold() in name.casefold()]
    if len(near) == 1 or exact:
        return near[0]
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    raise InvalidRequest(
        f"The picture backend has no {kind} of that name; it has: {listed or 'none to choose from'}. "
        "If you did not name it just now, it is in /settings."
    )
