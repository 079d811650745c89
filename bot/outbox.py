"""Everything a step shows is sent through here: once, whenever the process dies.

A part of a step (its picture, a page of notes, an error, its progress) is written down before it is sent
and gets its message's id after. A part that was begun and has no id may or may not have been sent; Discord
is then asked twice over: by looking for our footer in the channel, and by a nonce that makes it return the
message that was already made in the last minutes instead of making another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import TypeVar
from weakref import WeakValueDictionary

import aiohttp
import discord
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from bot import images, render, texts
from bot.translations import shown_in
from pipeline.domain import Post, Session, Step, StepState
from pipeline.errors import NotFound
from pipeline.store import Store

log = logging.getLogger(__name__)

NOWHERE = "nowhere"  # the place of a session that cannot be shown any more
UNKNOWN_CHANNEL = 10003
SHOWN = "shown:"  # begins the part of a picture that is shown once more
GALLERY = "gallery"
_TOO_LARGE = 40005


T = TypeVar("T")


class Outbox:
    """Send the parts of steps, each once, in order within a place."""

    def __init__(self, *, client: discord.Client, store: Store, retry_wait: float = 2.0) -> None:
        self._client = client
        self._store = store
        self._retry_wait = retry_wait  # seconds before the first retry
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._deliveries: dict[int, asyncio.Task[None]] = {}

    # -- whole steps ------------------------------------------------------------------------------

    async def deliver_all(self, session_id: int | None = None) -> None:
        """Start showing what has ended and is not shown yet: everything, or one session's."""
        for step in await self._store.undelivered("discord"):
            if session_id in (None, step.session_id):
                self.deliver(step.id)

    def deliver(self, step_id: int) -> None:
        """Start showing a step's outcome; once more if that is going on, for it may have begun too early."""
        going = self._deliveries.get(step_id)
        task = asyncio.create_task(self._deliver(step_id, after=going), name=f"deliver-{step_id}")
        self._deliveries[step_id] = task
        task.add_done_callback(lambda done: self._forget(step_id, done))

    def _forget(self, step_id: int, done: asyncio.Task[None]) -> None:
        if self._deliveries.get(step_id) is done:
            del self._deliveries[step_id]

    async def aclose(self) -> None:
        """Stop sending; what is not sent stays written down as such."""
        tasks = list(self._deliveries.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, step_id: int, *, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        try:
            step = await self._store.step(step_id)
            place = (await self._store.session(step.session_id)).place
            if not place:
                return  # whoever opens the session calls deliver_all
            async with self.lock(place):  # also while it is tried again: what comes later is shown later
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception(is_passing),
                    wait=wait_exponential(self._retry_wait, max=300),
                    stop=stop_after_attempt(10),
                    reraise=True,
                ):
                    with attempt:
                        await self._deliver_once(step_id)
        except NotFound:
            log.info("step %s was deleted before it was shown", step_id)
        except Exception:
            log.exception("step %s could not be shown; the next start tries again", step_id)

    async def _deliver_once(self, step_id: int) -> None:
        step = await self._store.step(step_id)
        session = await self._store.session(step.session_id)
        cancelled = step.state is StepState.CANCELLED and step.error  # by a member, not with another step
        if step.delivered or not (cancelled or step.state in (StepState.DONE, StepState.FAILED)):
            return
        if session.place != NOWHERE:
            with shown_in(session):
                if step.state is StepState.DONE:
                    await self._show_done(session, step)
                else:
                    await self._show_failed(session, step)
            await self.remove_progress(step, session.place)
        await self._store.set_delivered(step_id, attempt=step.attempt)

    async def _show_done(self, session: Session, step: Step) -> None:
        png = await self._store.picture(step.id)
        if png is None:
            raise NotFound(f"There is no picture of step {step.id}.")
        message = await self._send_picture(session, step, png, part="picture")
        objects = await self._store.objects(step.id)
        for number, sheet in enumerate(await render.notes(step, objects, png), start=1):
            await self.send(step, f"notes:{number}", session.place, sheet)
        if message is not None:
            await self.react(session.place, message, render.AGAIN)

    async def _send_picture(
        self, session: Session, step: Step, png: bytes, *, part: str, heading: str = ""
    ) -> int | None:
        lineage = await self.lineage(step)

        async def send(encoding: images.Encoding | None) -> int | None:
            sheet = render.picture(
                session, step, encoding, original=len(png), lineage=lineage, part=part, heading=heading
            )
            return await self.send(step, part, session.place, sheet)

        return await fitting(png, self.filesize_limit(session), send)

    async def lineage(self, step: Step) -> render.Lineage:
        """Return what a step's picture comes from."""
        kept = tuple(item for item in await self._store.objects(step.id) if item.locked)
        again = ":again:" in step.origin
        if step.parent_id is None:
            return render.Lineage(again=again, kept=kept)
        steps = await self._store.steps(step.session_id)
        before = [
            one
            for one in steps
            if one.parent_id == step.parent_id and one.id < step.id and one.state is not StepState.CANCELLED
        ]
        return render.Lineage(
            parent=next((one for one in steps if one.id == step.parent_id), None),
            link=await self.link(step.parent_id),
            branch=bool(before),
            again=again,
            kept=kept,
        )

    async def show_again(self, step: Step, part: str, heading: str) -> str:
        """Show a done step's picture once more, at the end of its place; return the link to the message.

        `heading` is in English, and is said in the session's language. Raises discord.HTTPException for what
        passes with time, NotFound.
        """
        session, png = await self._store.session(step.session_id), await self._store.picture(step.id)
        if png is None:
            raise NotFound(f"There is no picture {step.id}; it may have been deleted.")
        async with self.lock(session.place):
            with shown_in(session):
                message = await self._send_picture(session, step, png, part=part, heading=heading)
            if message is not None:
                await self.react(session.place, message, render.AGAIN)
        return _jump(session, message) if message is not None else ""

    async def show_in_gallery(self, step: Step, channel: int) -> tuple[Post, bool] | None:
        """Post a picture to a gallery channel, once; return the post and whether it is new.

        None where it cannot be posted. Raises discord.HTTPException for what passes with time, NotFound.
        """
        session, png = await self._store.session(step.session_id), await self._store.picture(step.id)
        if png is None:
            raise NotFound(f"There is no picture {step.id}; it may have been deleted.")
        link = await self.link(step.id)

        async def send(encoding: images.Encoding | None) -> int | None:
            with shown_in(session):
                sheet = render.copy(session, step, encoding, link=link, part=GALLERY)
            return await self.send(step, GALLERY, str(channel), sheet)

        async with self.lock(str(channel)):
            before = await self._gallery_post(step.id)
            if before is not None:
                return before, False
            await fitting(png, self.filesize_limit(session), send)
            post = await self._gallery_post(step.id)
        return (post, True) if post is not None else None

    async def _gallery_post(self, step_id: int) -> Post | None:
        posts = await self._store.posts(step_id)
        return next((post for post in posts if post.part == GALLERY and post.message), None)

    async def delete_step(self, step: Step) -> tuple[int, int]:
        """Delete a step with all that was made from it: its messages, then what is kept of it.

        Return how many pictures and messages went. The step's own picture goes last of the messages: where
        this is cut short, the button that begins it again is still there. Raises NotFound, HTTPException.
        """
        session = await self._store.session(step.session_id)
        async with self.lock(session.place):  # nothing of it is being sent meanwhile
            await self._store.step(step.id)
            below, posts = {step.id}, await self._store.posts(step.id)
            for one in await self._store.steps(step.session_id):
                if one.parent_id in below:
                    below.add(one.id)
                    posts += await self._store.posts(one.id)
            posts.sort(key=lambda post: (post.step_id, post.part) == (step.id, "picture"))
            gone = 0
            for post in posts:
                message = int(post.message) if post.message else None
                if message is None:
                    mark = texts.marker(post.step_id, post.part)
                    message = await self.find(post.place, mark, since=step.created_at)
                if message is not None:
                    await self._tolerate(self.channel(post.place).get_partial_message(message).delete())
                    gone += 1
            return len(await self._store.delete_step(step.id)), gone

    async def link(self, step_id: int) -> str:
        """Return the link to the message that shows a step's picture, "" if there is none."""
        step = await self._store.step(step_id)
        session = await self._store.session(step.session_id)
        posts = await self._store.posts(step_id)
        message = next((post.message for post in posts if post.part == "picture" and post.message), "")
        return _jump(session, int(message)) if message else ""

    async def _show_failed(self, session: Session, step: Step) -> None:
        steps = await self._store.steps(step.session_id)
        waiting, below = 0, {step.id}
        for other in steps:
            if other.parent_id in below and other.state is StepState.CANCELLED:
                below.add(other.id)
                waiting += 1
        part = f"error:{step.attempt}"
        message = await self.send(step, part, session.place, render.failure(step, waiting))
        if message is not None:
            await self.react(session.place, message, render.AGAIN)

    # -- single parts -----------------------------------------------------------------------------

    def lock(self, place: str) -> asyncio.Lock:
        """Return the lock that keeps the messages of one place in order."""
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        return lock

    async def send(self, step: Step, part: str, place: str, sheet: render.Sheet) -> int | None:
        """Send a part unless it is sent; return its message, None when it never can be.

        Raises discord.HTTPException for a file that is too large and for what passes with time.
        """
        post, first = await self._store.begin_post(step.id, part, place)
        if post.message:
            return int(post.message)
        sheet = render.veiled(sheet, await self._store.session(step.session_id))
        message = None
        if not first:
            message = await self.find(place, texts.marker(step.id, part), since=step.created_at)
        if message is None:
            try:
                sent = await self.channel(place).send(
                    embeds=list(sheet.embeds),
                    files=sheet.attachments(),
                    view=sheet.view,  # type: ignore[arg-type]  # None is its default
                    # `origin` makes it another one in a new database that counts its steps from 1 again.
                    nonce=make_nonce(step.origin, part, step.attempt),
                )
            except discord.HTTPException as error:
                if is_passing(error) or is_too_large(error):
                    raise
                log.warning("step %s: %s cannot be shown in %s: %s", step.id, part, place, error)
                if error.code == UNKNOWN_CHANNEL and part != GALLERY:
                    await self.abandon(step.session_id)
                return None
            message = sent.id
        await self._store.set_post(step.id, part, str(message))
        return message

    async def remove_progress(self, step: Step, place: str) -> None:
        """Delete the messages that said how far a step was."""
        for post in await self._store.posts(step.id):
            if not post.part.startswith("progress:") or int(post.part.partition(":")[2]) > step.attempt:
                continue
            message = int(post.message) if post.message else None
            if message is None:
                message = await self.find(place, texts.marker(step.id, post.part), since=step.created_at)
            if message is not None:
                await self._tolerate(self.channel(place).get_partial_message(message).delete())
            await self._store.remove_post(step.id, post.part)

    async def post_of(self, message: int, place: str) -> Post | None:
        """Find the part that a message shows, also in the moment between sending it and writing it down."""
        sending = self.lock(place)
        busy = sending.locked()  # before it is looked up: it may be written down and let go meanwhile
        post = await self._store.post_of_message(str(message))
        if post is None and busy:
            async with sending:
                post = await self._store.post_of_message(str(message))
        return post

    async def react(self, place: str, message: int, emoji: str) -> None:
        """Add a reaction of ours; that it is there already, or cannot be, does not matter."""
        await self._tolerate(self.channel(place).get_partial_message(message).add_reaction(emoji))

    async def find(self, place: str, mark: str, *, since: datetime) -> int | None:
        """Look in a place for a message of ours whose footer begins with `mark`; None if there is none."""
        after = since - timedelta(minutes=5)  # our clock and Discord's need not agree
        ours = self._client.user
        try:
            async for message in self.channel(place).history(limit=None, after=after, oldest_first=True):
                if ours is not None and message.author.id == ours.id and has_mark(message, mark):
                    return message.id
        except (discord.Forbidden, discord.NotFound) as error:
            log.warning("cannot look for what was posted in %s: %s", place, error)
        return None

    async def abandon(self, session_id: int) -> None:
        """Give up a session that can be shown nowhere: what is queued would be painted for no one."""
        await self._store.place_session(session_id, place=NOWHERE)
        for step in await self._store.steps(session_id):
            if step.state is StepState.QUEUED:
                await self._store.cancel(step.id)

    def channel(self, place: str) -> discord.PartialMessageable:
        """Return a channel, thread or DM to write to, whether or not it is in the cache."""
        return self._client.get_partial_messageable(int(place))

    def filesize_limit(self, session: Session) -> int:
        """Return the largest attachment, in bytes, that a session's channel should take."""
        guild = self._client.get_guild(int(session.meta.get("guild") or 0))
        return guild.filesize_limit if guild else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES

    async def _tolerate(self, call: Awaitable[object]) -> None:
        try:
            await call
        except discord.HTTPException as error:
            if is_passing(error):
                raise
            log.info("left out: %s", error)


async def fitting(png: bytes, limit: int, send: Callable[[images.Encoding | None], Awaitable[T]]) -> T:
    """Send a picture in the best encoding of at most `limit` bytes that Discord takes, None for no file."""
    remaining = images.encodings(png)
    while True:
        encoding = await asyncio.to_thread(_first_within, remaining, limit)
        try:
            return await send(encoding)
        except discord.HTTPException as error:
            if encoding is None or not is_too_large(error):
                raise
            # Discord allows less here than it told us. The next smaller one, then.
            log.info("%s bytes were too many", len(encoding.data))
            limit = len(encoding.data) - 1


def is_picture(part: str) -> bool:
    """Tell whether a part is a step's picture, shown the first time or once more in its place."""
    return part == "picture" or part.startswith(SHOWN)


def _jump(session: Session, message: int) -> str:
    return f"https://discord.com/channels/{session.meta.get('guild') or '@me'}/{session.place}/{message}"


def make_nonce(*parts: object) -> str:
    """Make the same 24 characters from the same parts; Discord takes at most 25."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]


def has_mark(message: discord.Message, mark: str) -> bool:
    """Tell whether a message's footer begins with `mark`."""
    footers = [embed.footer.text or "" for embed in message.embeds]
    return any(text == mark or text.startswith(f"{mark} ") for text in footers)


def is_passing(error: BaseException) -> bool:
    """Tell whether the same call may succeed later."""
    if isinstance(error, discord.HTTPException):
        # A 401 or a 403 without a code of Discord's is about the token or the address, not about the message.
        outside = error.status in (401, 403) and error.code == 0
        return outside or error.status >= 500 or error.status in (408, 429)
    return isinstance(error, (aiohttp.ClientError, OSError, TimeoutError, discord.RateLimited))


def is_too_large(error: discord.HTTPException) -> bool:
    """Tell whether a file was over the limit."""
    return error.status == 413 or error.code == _TOO_LARGE


def _first_within(candidates: Iterator[images.Encoding], limit: int) -> images.Encoding | None:
    return next((encoding for encoding in candidates if len(encoding.data) <= limit), None)
