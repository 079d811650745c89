"""The Discord client: its intents, its cogs, what it does at a start, and its answer to errors."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import discord
from discord import app_commands
from discord.ext import commands

from bot import logs, views
from bot.board import Board
from bot.cancelling import CancelButton
from bot.catching_up import CatchUp
from bot.cogs.actions import Actions, tweak_menu
from bot.cogs.context import Replies
from bot.cogs.imagine import NEEDED, imagine_command
from bot.cogs.info import info_command
from bot.cogs.owner import status_command
from bot.cogs.privacy import privacy_commands
from bot.cogs.queue import cancel_command, queue_command
from bot.cogs.recursion import Reactions
from bot.cogs.sessions import session_commands
from bot.cogs.settings import settings_group
from bot.deleting import Remover
from bot.metrics import Metrics
from bot.offers import Offers
from bot.opening import Opener
from bot.outbox import Outbox
from bot.pacing import Courtesy, Pacing
from bot.rules import Rules
from bot.translations import CommandTranslator, answer_in, tr, translated
from bot.worker import Worker
from pipeline.domain import Post, Session
from pipeline.engine import Pipeline
from pipeline.errors import ContextualDiffusionError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # it does not speak


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the client waits for what, in seconds."""

    progress: float = 2.0  # between edits of a progress message
    retry: float = 2.0  # before the first retry of what Discord refused in passing
    queue: float = 2.0  # between looks at who waits
    guilds: float = 2.0  # for the last guild to appear at a start


class Client(commands.Bot):
    """Take members' wishes to the pipeline and bring back what it makes.

    Use it as an async context, `login`, then `work`. Everything that must outlive the process is in the
    pipeline's store; the client keeps only what may be forgotten.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        settings: Settings,
        pace: Pace | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        pace = pace or Pace()
        super().__init__(
            command_prefix=commands.when_mentioned,  # there are no text commands, see on_message
            help_command=None,
            tree_cls=Tree,
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,  # all is known by id, from the database
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            guild_ready_timeout=pace.guilds,
            http_trace=Pacing().trace(metrics.trace if metrics else None),
        )
        self.started_at = datetime.now(UTC)
        store = pipeline.store
        self.pipeline = pipeline
        self.settings = settings
        self.courtesy = Courtesy()
        self.outbox = Outbox(client=self, store=store, retry_wait=pace.retry)
        self.opener = Opener(
            client=self, store=store, outbox=self.outbox, courtesy=self.courtesy, retry_wait=pace.retry
        )
        self.worker = Worker(
            pipeline=pipeline,
            outbox=self.outbox,
            courtesy=self.courtesy,
            concurrency=settings.concurrency,
            progress_interval=pace.progress,
            watch=metrics.see if metrics else None,
        )
        self.remover = Remover(client=self, store=store, outbox=self.outbox)
        self.board = Board(store=store, outbox=self.outbox, slots=settings.concurrency, interval=pace.queue)
        self.rules = Rules(self)
        self.offers = Offers(pipeline)
        self._began = asyncio.Event()
        self.reactions = Reactions(self)
        self.replies = Replies(self)
        self.actions = Actions(self)

    async def setup_hook(self) -> None:
        """Add the cogs, and register the commands if they are others than last time."""
        await self.add_cog(self.reactions)
        await self.add_cog(self.replies)
        await self.add_cog(self.actions)
        self.add_dynamic_items(*views.DYNAMIC)
        self.tree.add_command(imagine_command(self))
        self.tree.add_command(status_command(self))
        self.tree.add_command(tweak_menu(self))
        self.tree.add_command(session_commands(self))
        self.tree.add_command(queue_command(self))
        self.tree.add_command(cancel_command(self))
        self.tree.add_command(settings_group(self))
        self.add_dynamic_items(CancelButton)
        self.tree.add_command(info_command(self))
        self.tree.add_command(privacy_commands(self))
        await self.tree.set_translator(CommandTranslator())
        key, wanted = f"discord:commands:{self.application_id}", await self._fingerprint()
        if await self.pipeline.store.recall(key) != wanted:
            try:
                await self.sync()
            except discord.HTTPException as error:
                # The old commands still serve; the next start tries again.
                log.error("the commands could not be registered: %s", error)

    async def sync(self) -> list[str]:
        """Register the commands with Discord; return their names. At most 200 a day can be created."""
        registered = await self.tree.sync()
        key = f"discord:commands:{self.application_id}"
        await self.pipeline.store.keep(key, await self._fingerprint())
        log.info("registered %s", ", ".join(command.name for command in registered))
        return [command.name for command in registered]

    async def _fingerprint(self) -> str:
        translator = CommandTranslator()
        described = [
            await command.get_translated_payload(self.tree, translator)
            for command in self.tree.get_commands()
        ]
        return hashlib.sha256(json.dumps(sorted(described, key=str), sort_keys=True).encode()).hexdigest()

    async def work(self) -> None:
        """Go on with what a former process left, connect, and work until closed."""
        recovered = await self.pipeline.store.recover("discord")
        # Listed before the gateway brings new ones, which are opened by their own commands.
        unopened = await self.pipeline.store.sessions(client="discord", unplaced=True)
        if recovered or unopened:
            log.info("going on with %s steps and %s unopened sessions", recovered, len(unopened))
        background = asyncio.create_task(self._background(unopened), name="background")
        gateway = asyncio.create_task(self.connect(), name="gateway")
        try:
            await asyncio.wait([background, gateway], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (background, gateway):
                task.cancel()
            await self.outbox.aclose()
            results = await asyncio.gather(background, gateway, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _background(self, unopened: list[Session]) -> None:
        await self.wait_until_ready()
        log.info("ready as %s", self.user)
        if not self.guilds:
            log.info("I am in no server yet; invite me with %s", self.invitation())
        await self.outbox.deliver_all()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.worker.run(), name="worker")
            group.create_task(self.board.run(), name="board")
            group.create_task(self.opener.open_all(unopened), name="opener")
            group.create_task(self._catch_up(), name="catch-up")

    async def on_ready(self) -> None:
        """Note that a gateway session began: at a start, and when a lost one could not be resumed."""
        self._began.set()

    async def _catch_up(self) -> None:
        while True:
            await self._began.wait()
            self._began.clear()
            try:
                await CatchUp(self).run()
            except Exception:
                log.exception("what happened before this gateway session is left out")

    def invitation(self) -> str:
        """Return the address at which someone can add the bot to a server."""
        return discord.utils.oauth_url(
            self.application_id or 0, permissions=NEEDED, scopes=("bot", "applications.commands")
        )

    async def on_message(self, message: discord.Message, /) -> None:
        """Do nothing: the cogs listen, and there are no text commands to look for."""

    async def may_go_on(self, session: Session, user_id: int) -> bool:
        """Tell whether a member may go on with a session or change it."""
        return await self.rules.may_go_on(session, user_id)

    async def speak_as(self, post: Post) -> None:
        """Say all that follows in this task in a post's language; events tell of no member's own."""
        step = await self.pipeline.store.step(post.step_id)
        session = await self.pipeline.store.session(step.session_id)
        answer_in(session.meta.get("locale"))

    async def say(self, place: int, text: str, *, about: int) -> None:
        """Answer a message with one plain sentence."""
        channel = self.get_partial_messageable(place)
        reference = discord.MessageReference(message_id=about, channel_id=place, fail_if_not_exists=False)
        try:
            await channel.send(translated(text), reference=reference)
        except discord.HTTPException as error:
            log.info("left unsaid in %s: %s", place, error)


class Tree(app_commands.CommandTree[Client]):
    """Answers in the language of who asks; a failed command with one plain sentence, for them alone."""

    async def interaction_check(self, interaction: discord.Interaction[Client], /) -> bool:
        """Let everything through, in its language."""
        answer_in(interaction.locale)
        logs.begin(interaction=interaction.id)
        return True

    async def on_error(
        self, interaction: discord.Interaction[Client], error: app_commands.AppCommandError, /
    ) -> None:
        """Say what went wrong; the log has the rest."""
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        if isinstance(cause, ContextualDiffusionError):
            text = translated(str(cause))
        elif isinstance(cause, app_commands.CommandNotFound):
            text = tr("This command is not there any more; Discord will offer the new ones within minutes.")
        else:
            log.error("interaction %s failed", interaction.id, exc_info=cause)
            text = tr(
                "Something broke that should not have; the log says more under {number}.",
                number=interaction.id,
            )
        with suppress(discord.HTTPException):
            if interaction.response.is_done():
                await interaction.followup.send(text, ephemeral=True)
            else:
                await interaction.response.send_message(text, ephemeral=True)


def intents() -> discord.Intents:
    """Ask for what is needed only; none of it is privileged."""
    wanted = discord.Intents.none()
    wanted.guilds = True
    wanted.guild_messages = wanted.dm_messages = True
    wanted.guild_reactions = wanted.dm_reactions = True
    return wanted
