"""/session show, list, export, delete: look at what was made, take it home, or take it back."""

# No postponed annotations here: discord.py reads the options from them.

import asyncio
import io
import logging
import re
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from bot import access, deleting, sentences, texts
from bot.translations import answer_in, tr
from pipeline import tree
from pipeline.domain import Post, Session, Step, StepState
from pipeline.errors import ContextualDiffusionError, InvalidRequest
from pipeline.export import Export, export_session, tree_nodes

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

STEPS = 10  # on a page: with three links each they fit into one description
SESSIONS = 10
PICTURES = 10  # files that a message may have
_INK = discord.Colour(0x7C6FD9)
_MARKS = {
    StepState.QUEUED: "⏳",
    StepState.RUNNING: "🖌️",
    StepState.FAILED: "❌",
    StepState.CANCELLED: "🚫",
}


def session_commands(client: "Client") -> app_commands.Group:
    """Make the group of commands, and teach the client its buttons."""
    client.add_dynamic_items(PageButton, DeleteButton)

    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return [access.choice(session) for session in await access.offered(client, interaction, typed)]

    group = app_commands.Group(
        name="session",
        description="Look at sessions, export or delete them",
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=False),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
    )

    @group.command(name="show", description="Draw a session's tree of pictures, with links to all of it")
    @app_commands.describe(
        session="Which one; without it, the one of this thread",
        public="Whether everyone here sees it (only you)",
    )
    @app_commands.autocomplete(session=complete)
    async def show(interaction: discord.Interaction, session: str = "", public: bool = False) -> None:
        found = await access.meant(client, interaction, session)
        access.check_age(client, interaction, found)
        await interaction.response.defer(ephemeral=not public, thinking=True)
        steps = await client.pipeline.store.steps(found.id)
        # Nobody but its owner has seen the picture that a session began with.
        mine = access.is_own(interaction, found) and not public
        pages = await _drawn(client, found, steps, interaction.filesize_limit, with_source=mine)
        embed, view = await _show_page(client, found, steps, None)
        files = [
            discord.File(io.BytesIO(page), f"session-{found.id}-tree-{number}.webp")
            for number, page in enumerate(pages, start=1)
        ]
        if len(files) == 1:
            embed.set_image(url=f"attachment://{files[0].filename}")
        elif not files:
            embed.description = f"{tr('The drawing is too large for this channel.')}\n{embed.description}"
        await interaction.followup.send(embed=embed, files=files, view=view, ephemeral=not public)

    @group.command(name="list", description="List your sessions, with links")
    async def list_(interaction: discord.Interaction) -> None:
        embed, view = await _list_page(client, interaction.user.id, 0)
        await interaction.response.send_message(embed=embed, view=view, ephemeral=True)

    @group.command(name="export", description="A zip of a session: pictures, masks, and all its words")
    @app_commands.describe(session="Which one; without it, the one of this thread")
    @app_commands.autocomplete(session=complete)
    async def export(interaction: discord.Interaction, session: str = "") -> None:
        found = await access.meant(client, interaction, session)
        access.check_age(client, interaction, found)
        await interaction.response.defer(ephemeral=True, thinking=True)
        limit = interaction.filesize_limit
        mine = access.is_own(interaction, found)
        packed = await export_session(client.pipeline.store, found, limit=limit, with_source=mine)
        text = tr(
            "Session {number}: pictures, masks and `session.json`, which has all that painting it again "
            "needs.",
            number=found.id,
        )
        if found.source is not None and not mine:
            text += " " + tr("The picture that it began with is its owner's, and left out.")
        await send_export(interaction, packed, f"session-{found.id}", text, limit)

    @group.command(name="delete", description="Delete a session: its pictures, its words, my messages")
    @app_commands.describe(session="Which one; without it, the one of this thread")
    @app_commands.autocomplete(session=complete)
    async def delete(interaction: discord.Interaction, session: str = "") -> None:
        found = await access.meant(client, interaction, session)
        _check_may_delete(client, interaction, found)
        store = client.pipeline.store
        counts = await store.count_pictures([found.id])
        others = len({s.asked_by for s in await store.steps(found.id)} - {found.owner, ""})
        text = tr(
            "Delete session {number} ({prompt}) with its {pictures}, all its words and my messages? "
            "It cannot be brought back.",
            number=found.id,
            prompt=texts.quote(found.prompt, 200),
            pictures=texts.counted(counts.get(found.id, 0), sentences.PICTURES),
        )
        if others:
            who = texts.counted(others, sentences.MEMBERS)
            text += " " + tr("{members} took part in it.", members=who)
        view = discord.ui.View(timeout=None)
        view.add_item(DeleteButton(found.id, sure=True))
        view.add_item(DeleteButton(found.id, sure=False))
        await interaction.response.send_message(text, view=view, ephemeral=True)

    return group


async def send_export(
    interaction: discord.Interaction, packed: Export, name: str, text: str, limit: int
) -> None:
    """Send zip files, one a message, and say what had to give way for the limit."""
    number = len(packed.parts)
    lines = [text]
    if number > 1:
        lines.append(
            tr(
                "It is in {count} files, for one may have {size} here.",
                count=number,
                size=texts.size_of(limit),
            )
        )
    if packed.without_previews:
        lines.append(tr("The previews are left out to save room; the pictures are all there."))
    if packed.converted:
        lines.append(
            tr("Too large as PNG, so lossless WebP: {names}.", names=_names(packed.converted)),
        )
    if packed.left_out:
        lines.append(
            tr("Too large for this channel, so **left out**: {names}.", names=_names(packed.left_out)),
        )
    text = "\n".join(lines)
    for index, part in enumerate(packed.parts, start=1):
        suffix = f"-part-{index}-of-{number}" if number > 1 else ""
        file = discord.File(io.BytesIO(part), f"{name}{suffix}.zip")
        await interaction.followup.send(text if index == 1 else "", file=file, ephemeral=True)
    if not packed.parts:
        await interaction.followup.send(text, ephemeral=True)


def _names(paths: Sequence[str]) -> str:
    shown = ", ".join(path.rpartition("/")[2] for path in paths[:10])
    more = len(paths) - 10
    return tr("{names} and {count} more", names=shown, count=more) if more > 0 else shown


# -- the tree -------------------------------------------------------------------------------------


async def _drawn(
    client: "Client", session: Session, steps: Sequence[Step], limit: int, *, with_source: bool
) -> list[bytes]:
    """Draw a session, in as many pictures as a message may have."""
    nodes = await tree_nodes(client.pipeline.store, session, steps, with_source=with_source)
    now = current(steps)

    def some() -> list[bytes]:
        pages: list[bytes] = []
        for page in tree.draw(nodes, current=now):
            # A request may have 25 MiB, whatever a file may have.
            if len(page) > limit or len(pages) == PICTURES or sum(map(len, pages)) + len(page) > 2 * 10**7:
                break
            pages.append(page)
        return pages

    return await asyncio.to_thread(some)


def current(steps: Sequence[Step]) -> int | None:
    """Return the step whose picture is the latest."""
    done = [step for step in steps if step.state is StepState.DONE and step.finished_at is not None]
    latest = max(done, key=lambda step: (step.finished_at, step.id), default=None)
    return latest.id if latest else None


async def _show_page(
    client: "Client", session: Session, steps: Sequence[Step], page: int | None
) -> tuple[discord.Embed, discord.ui.View]:
    """Link a page of steps; None = the page of the latest picture."""
    store = client.pipeline.store
    now = current(steps)
    count = max(1, -(-len(steps) // STEPS))
    if page is None:
        page = next((index // STEPS for index, step in enumerate(steps) if step.id == now), 0)
    page = min(max(page, 0), count - 1)
    posts: dict[int, list[Post]] = {}
    for post in await store.posts_of(session.id):
        posts.setdefault(post.step_id, []).append(post)
    changes = await store.changes(session.id)
    lines: list[str] = []
    if page == 0 and session.place.isdigit():
        opened = session.meta.get("where") == "channel" and session.place != session.meta.get("channel")
        starter = session.meta.get("starter") or (session.place if opened else "")
        if starter:
            lines.append(f"[{tr('Asked here')}]({_link(session, session.meta['channel'], starter)})")
    for step in steps[page * STEPS : (page + 1) * STEPS]:
        changed = ", ".join(label for _, label in changes.get(step.id, ())[:6])
        lines.append(_step_line(session, step, posts.get(step.id, []), changed, now=step.id == now))
    title = tr("Session {number}", number=session.id)
    embed = discord.Embed(title=title, description="\n".join(lines)[: texts.DESCRIPTION], colour=_INK)
    embed.add_field(name=tr("prompt"), value=texts.quote(session.prompt, 300), inline=False)
    told = [texts.counted(len(steps), sentences.STEPS), tr("seed {seed}", seed=session.seed)]
    if count > 1:
        told.append(tr("page {page} of {count}", page=page + 1, count=count))
    embed.set_footer(text=" · ".join(told))
    return embed, _pages("show", session.id, page, count)


def _step_line(session: Session, step: Step, posts: Sequence[Post], changed: str, *, now: bool) -> str:
    by_part = {post.part: post for post in posts if post.message}
    name = f"{step.id} · {texts.short_title(step)}"
    picture = by_part.get("picture") or by_part.get(f"error:{step.attempt}")
    if picture is not None:
        name = f"[{name}]({_link(session, picture.place, picture.message)})"
    extra = [
        f"[{_part_name(part)}]({_link(session, post.place, post.message)})"
        for part, post in by_part.items()
        if picture is None or post.message != picture.message
    ]
    words = texts.quote(step.request, 50) if step.request else shorten(changed, 50, placeholder="…")
    mark = "▶ " if now else f"{_MARKS[step.state]} " if step.state in _MARKS else ""
    return " · ".join(filter(None, [f"{mark}{name}", *extra[:2], words]))


def _part_name(part: str) -> str:
    kind, _, number = part.partition(":")
    names = {
        "picture": tr("picture"),
        "notes": tr("notes"),
        "error": tr("error"),
        "progress": tr("progress"),
        "shown": tr("shown again"),
        "gallery": tr("gallery"),
    }
    name = names.get(kind, kind)
    # What is shown again has the number of what asked for it.
    return f"{name} {number}" if number not in ("", "1") and kind != "shown" else name


def _link(session: Session, place: str, message: str) -> str:
    return texts.jump(session.meta.get("guild", ""), place, message)


# -- the list -------------------------------------------------------------------------------------


async def _list_page(client: "Client", owner: int, page: int) -> tuple[discord.Embed, discord.ui.View]:
    store = client.pipeline.store
    total = await store.count_sessions("discord", owner=str(owner))
    if not total:
        raise InvalidRequest("You have no sessions yet; /imagine begins one.")
    count = -(-total // SESSIONS)
    page = min(max(page, 0), count - 1)
    sessions = await store.find_sessions("discord", owner=str(owner), limit=SESSIONS, offset=page * SESSIONS)
    pictures = await store.count_pictures([session.id for session in sessions])
    lines = []
    for session in sessions:
        name = tr("Session {number}", number=session.id)
        if session.place.isdigit():
            opened = session.place != session.meta.get("channel")
            at = session.place if opened else session.meta.get("starter") or session.place
            name = f"[{name}]({_link(session, session.place, at)})"
        made = discord.utils.format_dt(session.created_at, "R")
        prompt = texts.quote(session.prompt, 120)
        number = texts.counted(pictures.get(session.id, 0), sentences.PICTURES)
        lines.append(f"{name} · {number} · {made}\n{prompt}")
    embed = discord.Embed(title=tr("Your sessions"), description="\n".join(lines), colour=_INK)
    where = tr("page {page} of {count}", page=page + 1, count=count)
    embed.set_footer(text=f"{tr('{count} in all', count=total)} · {where}")
    return embed, _pages("list", owner, page, count)


# -- buttons --------------------------------------------------------------------------------------


def _pages(what: str, number: int, page: int, count: int) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    if count > 1:
        view.add_item(PageButton(what, number, page - 1, "back", disabled=page == 0))
        view.add_item(PageButton(what, number, page + 1, "on", disabled=page == count - 1))
    return view


class PageButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]],
    template=r"session:(?P<what>show|list):(?P<number>\d+):(?P<way>back|on):(?P<page>-?\d+)",
):
    """Turn to another page of a session's steps, or of a member's sessions."""

    def __init__(self, what: str, number: int, page: int, way: str, *, disabled: bool = False) -> None:
        self.what, self.number, self.page = what, number, page
        super().__init__(
            discord.ui.Button(
                emoji="◀️" if way == "back" else "▶️",
                custom_id=f"session:{what}:{number}:{way}:{page}",
                disabled=disabled,
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> "PageButton":
        return cls(match["what"], int(match["number"]), int(match["page"]), match["way"])

    async def callback(self, interaction: discord.Interaction) -> None:
        client: Any = interaction.client
        answer_in(interaction.locale)
        try:
            if self.what == "list":
                if interaction.user.id != self.number:
                    raise InvalidRequest("That is another member's list; /session list shows yours.")
                embed, view = await _list_page(client, self.number, self.page)
            else:
                session = await access.meant(client, interaction, str(self.number))
                steps = await client.pipeline.store.steps(session.id)
                embed, view = await _show_page(client, session, steps, self.page)
                message = interaction.message
                if message is not None and message.embeds and message.embeds[0].image:
                    embed.set_image(url=f"attachment://session-{session.id}-tree-1.webp")
            await interaction.response.edit_message(embed=embed, view=view)
        except ContextualDiffusionError as error:
            await access.answer(interaction, error)


class DeleteButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]],
    template=r"session:(?P<word>delete|keep):(?P<number>\d+)",
):
    """Delete a session after all, or not."""

    def __init__(self, number: int, *, sure: bool) -> None:
        self.number, self.sure = number, sure
        super().__init__(
            discord.ui.Button(
                label=tr("Delete it") if sure else tr("Keep it"),
                style=discord.ButtonStyle.danger if sure else discord.ButtonStyle.secondary,
                custom_id=f"session:{'delete' if sure else 'keep'}:{number}",
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> "DeleteButton":
        return cls(int(match["number"]), sure=match["word"] == "delete")

    async def callback(self, interaction: discord.Interaction) -> None:
        client: Any = interaction.client
        answer_in(interaction.locale)
        try:
            if not self.sure:
                text = tr("Session {number} is kept.", number=self.number)
                await interaction.response.edit_message(content=text, view=None)
                return
            session = await access.meant(client, interaction, str(self.number))
            _check_may_delete(client, interaction, session)
            text = tr("Deleting session {number} …", number=session.id)
            await interaction.response.edit_message(content=text, view=None)
            removal = await client.remover.remove(session)
        except ContextualDiffusionError as error:
            await access.answer(interaction, error)
        else:
            await report(interaction, removal)


async def report(interaction: discord.Interaction, removal: deleting.Removal) -> None:
    """Say what is gone and what is not: here, or by DM when the place went with it."""
    text = deleting.told(removal)
    try:
        await interaction.edit_original_response(content=text, view=None)
    except discord.HTTPException as error:
        log.info("not said in place: %s", error)
        if removal.left or removal.sessions > 1:
            try:
                await interaction.user.send(text)
            except discord.HTTPException:
                log.info("nor by DM: %s", text)


def _check_may_delete(client: "Client", interaction: discord.Interaction, session: Session) -> None:
    if not access.may_delete(client, interaction, session):
        raise InvalidRequest("Only who began this session, or who may manage messages there, can delete it.")
