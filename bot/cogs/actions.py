"""What members do with a picture by its buttons, its menu, and the context menu of its message."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot import images, render, sentences, texts, views
from bot.gallery import gallery_channel
from bot.outbox import SHOWN, fitting, is_passing, make_nonce
from bot.translations import answer_in, shown_in, tr, translated
from bot.views import Ref
from pipeline.domain import SceneObject, Session, Step, StepState
from pipeline.errors import ContextualDiffusionError, InvalidRequest, NotFound
from pipeline.render import outlined

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

DOUBLE_CLICK = timedelta(seconds=2)  # by Discord's own clock
_UNKNOWN_INTERACTION = 10062
_DMS_CLOSED = 50007

Interaction = discord.Interaction[Any]


class Actions(commands.Cog):
    """Do what buttons and menus say. A step's origin has its interaction's id: delivered twice, it is one.

    A wish is written down before it is acknowledged, where that is quick; what takes longer is deferred.
    Everything is answered to the one who asked alone, but what changes the thread for all.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pipeline = client.pipeline
        self._store = client.pipeline.store
        self._outbox = client.outbox
        self._clicking = asyncio.Lock()
        self._buttons: dict[str, Callable[[Interaction, Step], Awaitable[None]]] = {
            "deeper": self._deeper,
            "tweak": self._tweak,
            "again": self._again,
            "undo": self._undo,
            "look": self._look,
            "really": self._delete,
            **dict.fromkeys(("outlines", "plain", "before"), self._look_otherwise),
        }
        self._more: dict[str, Callable[[Interaction, Step], Awaitable[None]]] = {
            "branch": self._branch,
            "keep": self._keep,
            "film": self._film,
            "gallery": self._gallery,
            "dm": self._dm,
            "delete": self._ask_delete,
        }

    # -- what comes in ----------------------------------------------------------------------------

    async def press(self, interaction: Interaction, ref: Ref, action: str) -> None:
        """Do what a button says."""

        async def work() -> None:
            await self._buttons[action](interaction, await self._step(ref))

        await self._answering(interaction, work)

    async def pick(self, interaction: Interaction, ref: Ref, menu: str, values: list[str]) -> None:
        """Do what was chosen from a menu."""

        async def work() -> None:
            step = await self._step(ref)
            if menu == "tweak":
                await self._open_form(interaction, step, int(values[0]))
            elif menu == "keep":
                await self._set_kept(interaction, step, {int(value) for value in values})
            else:
                # Sent anew, the menu shows nothing as chosen, so that the same can be chosen again.
                with shown_in(await self._store.session(step.session_id)):
                    below = views.below_picture(step)
                await interaction.response.edit_message(view=below)
                await self._more[values[0]](interaction, step)

        await self._answering(interaction, work)

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        """Take in a form, whichever process opened it."""
        if interaction.type is not discord.InteractionType.modal_submit:
            return
        read = views.read_form(dict(interaction.data or {}))
        if read is None:
            return
        ref, number, words = read

        async def work() -> None:
            await self._take_form(interaction, await self._step(ref), number, words)

        await self._answering(interaction, work)

    async def on_menu(self, interaction: Interaction, message: discord.Message) -> None:
        """Offer the objects of the picture that a message shows: the context menu "Tweak object"."""
        post = await self._outbox.post_of(message.id, str(message.channel.id))
        if post is None or post.part.startswith("gallery"):
            raise InvalidRequest(sentences.NOT_OURS)
        step = await self._store.step(post.step_id)
        if step.state is not StepState.DONE:
            raise InvalidRequest(sentences.NO_PICTURE)
        await self._tweak(interaction, step)

    # -- going on ---------------------------------------------------------------------------------

    async def _deeper(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        await self._queue(interaction, step, "deeper", self._pipeline.recurse)

    async def _again(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        await self._queue(interaction, step, "again", self._pipeline.again)

    async def _queue(
        self, interaction: Interaction, step: Step, action: str, ask: Callable[..., Awaitable[Step]]
    ) -> None:
        """Write a step down, but for the second click of a double one."""
        user = str(interaction.user.id)
        prefix = f"discord:click:{action}:{step.id}:{user}:"
        async with self._clicking:
            last = (await self._store.last_origin(prefix)).removeprefix(prefix)
            if last and last != str(interaction.id) and _between(int(last), interaction.id) < DOUBLE_CLICK:
                raise InvalidRequest(sentences.TWICE)
            queued = await ask(step.id, asked_by=user, origin=f"{prefix}{interaction.id}")
        await self._client.worker.wake()
        await self._say(interaction, tr(sentences.QUEUED, title=texts.title(queued)))

    async def _tweak(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        # A first picture's objects are looked for now, which takes a while.
        await interaction.response.defer(ephemeral=True, thinking=True)
        objects = await self._pipeline.objects(step.id)
        kept = await self._pipeline.kept_numbers(step.id)
        if len(kept) == len(objects):
            raise InvalidRequest(sentences.ALL_KEPT)
        await self._say(interaction, tr(sentences.WHICH), view=views.choose_object(step, objects, kept=kept))

    async def _open_form(self, interaction: Interaction, step: Step, number: int) -> None:
        await self._may_go_on(interaction, step)
        item = await self._object(step, number)
        await interaction.response.send_modal(views.form(step, item))

    async def _take_form(self, interaction: Interaction, step: Step, number: int, words: str) -> None:
        await self._may_go_on(interaction, step)
        item = await self._object(step, number)
        queued = await self._pipeline.tweak(
            step.id,
            f"{item.number}: {words}" if words else "",
            asked_by=str(interaction.user.id),
            origin=f"discord:form:{interaction.id}",
        )
        await self._client.worker.wake()
        text = tr(sentences.TWEAKED, number=item.number, title=texts.title(queued))
        await self._say(interaction, text)

    async def _object(self, step: Step, number: int) -> SceneObject:
        """Return an object that may be changed. Raises InvalidRequest."""
        item = next((one for one in await self._store.objects(step.id) if one.number == number), None)
        if item is None:
            raise InvalidRequest(sentences.NO_SUCH_OBJECT.format(number=number))
        if number in await self._pipeline.kept_numbers(step.id):
            name = texts.quote(item.name, 100)
            raise InvalidRequest(sentences.KEPT_OBJECT.format(number=number, name=name))
        return item

    # -- back and aside ---------------------------------------------------------------------------

    async def _undo(self, interaction: Interaction, step: Step) -> None:
        session = await self._may_go_on(interaction, step)
        await interaction.response.defer(ephemeral=True, thinking=True)
        moved, cancelled = await self._store.undo(step.id)
        if not moved:
            current = await self._store.current(session.id)
            named = await self._named(current) if current is not None else ""
            await self._say(interaction, tr(sentences.UNDONE_ALREADY, picture=named))
            return
        for step_id in cancelled:
            await self._outbox.remove_progress(await self._store.step(step_id), session.place)
        # What waited there cannot begin any more, so none is missed. It is shown as /cancel shows it.
        running = [one for one in await self._below(step) if one.state is StepState.RUNNING]
        why = sentences.UNDONE_BY.format(user=interaction.user.id)
        for one in running:
            cancelled += await self._client.worker.cancel(one.id, why=why)
        parent = await self._store.step(step.parent_id or 0)
        heading = sentences.WENT_BACK.format(user=interaction.user.id)
        link = await self._outbox.show_again(parent, f"{SHOWN}{interaction.id}", heading)
        lines = [tr(sentences.UNDONE, picture=_linked(parent, link))]
        if cancelled:
            lines.append(tr(sentences.CANCELLED, count=len(cancelled)))
        await self._say(interaction, "\n".join(lines))

    async def _branch(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        if not await self._store.go_to(step.id):
            named = await self._named(step)
            await self._say(interaction, tr(sentences.BRANCHED_ALREADY, picture=named))
            return
        heading = sentences.BRANCHED.format(user=interaction.user.id)
        link = await self._outbox.show_again(step, f"{SHOWN}{interaction.id}", heading)
        await self._say(interaction, tr(sentences.BRANCH_BEGUN, picture=_linked(step, link)))

    async def _keep(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        objects = await self._pipeline.objects(step.id)
        kept = await self._pipeline.kept_numbers(step.id)
        view = views.choose_kept(step, objects, kept=kept)
        await self._say(interaction, tr(sentences.CHOOSE_KEPT), view=view)

    async def _set_kept(self, interaction: Interaction, step: Step, numbers: set[int]) -> None:
        await self._may_go_on(interaction, step)
        kept = await self._pipeline.keep(step.id, numbers)
        objects = await self._store.objects(step.id)
        names = texts.quote(", ".join(f"{item.number} {item.name}" for item in kept), 1500)
        text = tr(sentences.KEPT, names=names) if kept else tr(sentences.NOTHING_KEPT)
        view = views.choose_kept(step, objects, kept=numbers)
        await interaction.response.edit_message(content=text, view=view)

    # -- looking ----------------------------------------------------------------------------------

    async def _look(self, interaction: Interaction, step: Step) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        text, file = await self._looked_at(step, "outlines")
        await self._say(interaction, text, view=views.looks(step, "outlines"), file=file)

    async def _look_otherwise(self, interaction: Interaction, step: Step) -> None:
        shown = str((interaction.data or {}).get("custom_id", "")).rpartition(":")[2]
        await interaction.response.defer()
        text, file = await self._looked_at(step, shown)
        await interaction.edit_original_response(
            content=text, attachments=[file], view=views.looks(step, shown)
        )

    async def _looked_at(self, step: Step, shown: str) -> tuple[str, discord.File]:
        """Return a sentence about a view of a picture, and the view."""
        of = step if shown != "before" or step.parent_id is None else await self._store.step(step.parent_id)
        png = await self._picture(of)
        if shown == "outlines":
            found = [item.detection for item in await self._pipeline.objects(step.id)]
            png = await asyncio.to_thread(outlined, png, found)
        data = await asyncio.to_thread(images.overview, png)
        text = {"outlines": sentences.OUTLINES, "plain": sentences.PLAIN, "before": sentences.BEFORE}[shown]
        sentence = tr(text, picture=await self._named(of))
        return sentence, discord.File(io.BytesIO(data), f"step-{of.id}-{shown}.webp")

    async def _film(self, interaction: Interaction, step: Step) -> None:
        path = await self._store.path(step.id)
        if len(path) == 1:
            raise InvalidRequest(sentences.ONE_PICTURE)
        pngs = [await self._picture(one) for one in path]
        data = await asyncio.to_thread(images.film, pngs, interaction.filesize_limit)
        if data is None:
            raise InvalidRequest(sentences.TOO_LONG_FILM.format(count=len(path)))
        file = discord.File(io.BytesIO(data), f"session-{step.session_id}-to-step-{step.id}.webp")
        await self._say(interaction, tr(sentences.FILM, count=len(path)), file=file)

    # -- showing elsewhere ------------------------------------------------------------------------

    async def _gallery(self, interaction: Interaction, step: Step) -> None:
        await self._may_go_on(interaction, step)
        if interaction.guild_id is None:
            raise InvalidRequest(sentences.NO_GALLERY_HERE)
        channel = await gallery_channel(self._store, interaction.guild_id)
        if channel is None:
            raise InvalidRequest(sentences.NO_GALLERY)
        if _is_nsfw(interaction.channel) and not _is_nsfw(self._client.get_channel(channel)):
            raise InvalidRequest(sentences.GALLERY_TAME.format(channel=channel))
        shown = await self._outbox.show_in_gallery(step, channel)
        if shown is None:
            raise InvalidRequest(sentences.GALLERY_LACKS.format(channel=channel))
        post, fresh = shown
        link = f"https://discord.com/channels/{interaction.guild_id}/{post.place}/{post.message}"
        text = sentences.IN_GALLERY if fresh else sentences.IN_GALLERY_ALREADY
        await self._say(interaction, tr(text, link=link))

    async def _dm(self, interaction: Interaction, step: Step) -> None:
        session, png = await self._store.session(step.session_id), await self._picture(step)
        link = await self._outbox.link(step.id)
        nonce = make_nonce(step.origin, "dm", interaction.user.id)  # clicked twice, it is one message

        async def send(encoding: images.Encoding | None) -> None:
            sheet = render.copy(session, step, encoding, link=link, part="copy")
            await interaction.user.send(embeds=list(sheet.embeds), files=sheet.attachments(), nonce=nonce)

        try:
            await fitting(png, discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES, send)
        except discord.HTTPException as error:
            if error.code != _DMS_CLOSED:
                raise
            raise InvalidRequest(sentences.DMS_CLOSED) from error
        await self._say(interaction, tr(sentences.SENT))

    # -- deleting ---------------------------------------------------------------------------------

    async def _ask_delete(self, interaction: Interaction, step: Step) -> None:
        below = await self._may_delete(interaction, step)
        form = sentences.DELETE_MORE if below else sentences.DELETE_ONE
        text = tr(form, picture=await self._named(step), count=below)
        await self._say(interaction, text, view=views.confirm_delete(step))

    async def _delete(self, interaction: Interaction, step: Step) -> None:
        await self._may_delete(interaction, step)
        await interaction.response.defer()
        pictures, messages = await self._outbox.delete_step(step)
        text = tr(sentences.DELETED, pictures=pictures, messages=messages)
        await interaction.edit_original_response(content=text, view=None)

    async def _may_delete(self, interaction: Interaction, step: Step) -> int:
        """Return how many steps go with one. Raises InvalidRequest where the member must not delete it."""
        session, user = await self._store.session(step.session_id), str(interaction.user.id)
        below = await self._below(step)
        moderates = interaction.guild_id is not None and interaction.permissions.manage_messages
        own = all(one.asked_by == user for one in (step, *below))
        if not (moderates or own or session.owner == user):
            raise InvalidRequest(sentences.NOT_YOURS_TO_DELETE)
        return len(below)

    # -- common -----------------------------------------------------------------------------------

    async def _step(self, ref: Ref) -> Step:
        """Return the step that a custom id names. Raises NotFound."""
        step = await self._store.step(ref.step_id)
        if Ref.of(step) != ref:  # the number is another database's
            raise NotFound(f"There is no picture {ref.step_id}; it may have been deleted.")
        return step

    async def _below(self, step: Step) -> list[Step]:
        """List all that was made from a step, or is to be."""
        ids, below = {step.id}, list[Step]()
        for one in await self._store.steps(step.session_id):
            if one.parent_id in ids:
                ids.add(one.id)
                below.append(one)
        return below

    async def _may_go_on(self, interaction: Interaction, step: Step) -> Session:
        session = await self._store.session(step.session_id)
        if not await self._client.may_go_on(session, interaction.user.id):
            raise InvalidRequest(sentences.NOT_YOURS)
        return session

    async def _picture(self, step: Step) -> bytes:
        png = await self._store.picture(step.id)
        if png is None:
            raise NotFound(f"There is no picture {step.id}; it may have been deleted.")
        return png

    async def _named(self, step: Step) -> str:
        return _linked(step, await self._outbox.link(step.id))

    async def _say(self, interaction: Interaction, text: str, **more: Any) -> None:
        """Answer for the one who asked alone."""
        if interaction.response.is_done():
            await interaction.followup.send(text, ephemeral=True, **more)
        else:
            await interaction.response.send_message(text, ephemeral=True, **more)

    async def _answering(self, interaction: Interaction, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work in the language of who asked; what goes wrong is one plain sentence, for them alone."""
        answer_in(interaction.locale)
        try:
            await work()
            return
        except ContextualDiffusionError as error:
            text = translated(str(error))
        except discord.HTTPException as error:
            if error.code == _UNKNOWN_INTERACTION:
                # Three seconds were over. What was asked is written down, where it is a step.
                log.warning("interaction %s was acknowledged too late", interaction.id)
                return
            log.log(logging.INFO if is_passing(error) else logging.ERROR, "interaction: %s", error)
            text = tr(sentences.UNREACHABLE)
        except Exception:
            log.exception("interaction %s failed", interaction.id)
            text = tr(sentences.BROKEN, number=interaction.id)
        with suppress(discord.HTTPException):
            await self._say(interaction, text)


def tweak_menu(client: Client) -> app_commands.ContextMenu:
    """Make the context menu that every message has: change an object of the picture it shows."""

    async def tweak(interaction: discord.Interaction, message: discord.Message) -> None:
        await client.actions.on_menu(interaction, message)

    return app_commands.ContextMenu(
        name="Tweak object",
        callback=tweak,
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True),
        allowed_installs=app_commands.AppInstallationType(guild=True),
    )


def _linked(step: Step, link: str) -> str:
    return f"[{texts.title(step)}]({link})" if link else texts.title(step)


def _between(one: int, other: int) -> timedelta:
    return abs(discord.utils.snowflake_time(one) - discord.utils.snowflake_time(other))


def _is_nsfw(channel: object) -> bool:
    return isinstance(channel, (discord.TextChannel, discord.Thread, discord.VoiceChannel)) and (
        channel.is_nsfw()
    )
