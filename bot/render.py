"""What a session and its steps look like: embeds and files, within Discord's limits."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import discord

from bot import images, texts, views
from bot.translations import tr, translated
from pipeline.domain import Progress, SceneObject, Session, Step, StepKind, StepState
from pipeline.queue import Forecast
from pipeline.render import outline_colour, outlined

AGAIN = "\N{CLOCKWISE RIGHTWARDS AND LEFTWARDS OPEN CIRCLE ARROWS}"  # 🔁
DICE = "\N{GAME DIE}"
BRANCH = "\N{HERB}"
LOCK = "\N{LOCK}"
SEEN = "\N{EYES}"
UNREAD = "\N{BELL WITH CANCELLATION STROKE}"

_INK = discord.Colour(0x7C6FD9)
_RED = discord.Colour(0xD9576F)
_GREY = discord.Colour(0x9A94A8)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One message: its embeds, the files beside them (name, bytes, alternative text), what is below."""

    embeds: tuple[discord.Embed, ...]
    files: tuple[tuple[str, bytes, str], ...] = ()
    view: discord.ui.View | None = None
    spoiler: bool = False  # whether the files are hidden until clicked

    def attachments(self) -> list[discord.File]:
        """Open the files, anew for each attempt to send them."""
        return [
            discord.File(io.BytesIO(data), filename=name, description=alt or None, spoiler=self.spoiler)
            for name, data, alt in self.files
        ]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a picture comes from: the step before it, where that is shown, and what makes this one special."""

    parent: Step | None = None
    link: str = ""  # to the parent's message, "" where there is none
    branch: bool = False  # something else was made from the parent before
    again: bool = False  # asked for as another try of an earlier step
    kept: tuple[SceneObject, ...] = ()  # what was left untouched


def veiled(sheet: Sheet, session: Session) -> Sheet:
    """Hide a sheet's pictures where a session's are spoilers: files of their own, for embeds hide nothing."""
    if session.meta.get("spoiler") != "on":
        return sheet
    embeds = [embed.copy().set_image(url=None).set_thumbnail(url=None) for embed in sheet.embeds]
    return replace(sheet, embeds=tuple(embeds), spoiler=True)


def starter(session: Session) -> discord.Embed:
    """Show what was asked: the message from which a session's thread grows."""
    embed = discord.Embed(description=texts.quote(session.prompt, texts.DESCRIPTION), colour=_INK)
    if session.negative_prompt:
        embed.add_field(
            name=tr("without"), value=texts.quote(session.negative_prompt, texts.FIELD), inline=False
        )
    size = f"{session.width} × {session.height}"
    embed.set_footer(text=f"{texts.session_marker(session)} · {size}")
    return embed


def starter_content(session: Session) -> str:
    """Say who asked. The mention is shown, not pinged: the client allows no mentions."""
    return f"🎨 <@{session.owner}>"


def thread_name(session: Session) -> str:
    """Name a session's thread after its prompt."""
    return texts.plain(f"🎨 {session.prompt}", texts.THREAD_NAME)


def picture(
    session: Session,
    step: Step,
    encoding: images.Encoding | None,
    *,
    original: int,
    lineage: Lineage,
    part: str = "picture",
    heading: str = "",
) -> Sheet:
    """Show a step's picture. `original` is the size in bytes of the file that is kept; None = none fits.

    `heading` says why a picture is shown once more, as the part of that name; in English, like `step.notes`.
    """
    lines = [translated(heading)] if heading else []
    if step.kind is StepKind.TWEAK and step.asked_by:  # who asked may have been forgotten
        lines.append(f"✏️ <@{step.asked_by}>: {texts.quote(step.request, 1000)}")
    if lineage.again and step.asked_by:
        lines.append(f"{DICE} <@{step.asked_by}>: {tr('the same again with another seed')}")
    elif step.kind is not StepKind.TWEAK and step.asked_by not in ("", session.owner):
        lines.append(f"{AGAIN} <@{step.asked_by}>")
    if lineage.parent is not None:
        named = texts.title(lineage.parent)
        named = f"[{named}]({lineage.link})" if lineage.link else named
        branched = f"{BRANCH} {tr('Branch from {picture}', picture=named)}"
        lines.append(branched if lineage.branch else f"-# {tr('from {picture}', picture=named)}")
    if lineage.kept:
        names = ", ".join(f"{item.number} {item.name}" for item in lineage.kept)
        lines.append(f"-# {LOCK} {tr('kept: {names}', names=texts.quote(names, 250))}")
    lines += [f"-# {texts.quote(translated(note), 250)}" for note in step.notes[:8]]
    if encoding is None:
        lines.append(
            tr(
                "The picture has {size}, and no version of it fits this channel. It is kept.",
                size=texts.size_of(original),
            )
        )
    elif encoding.remark:
        remark = tr(
            "The picture has {size}, too much here: {remark}.",
            size=texts.size_of(original),
            remark=translated(encoding.remark),
        )
        lines.append(f"-# {remark}")
    advice = tr("{emoji} goes one recursion deeper from here · a reply changes one thing in it", emoji=AGAIN)
    lines.append(f"-# {advice}")
    embed = discord.Embed(title=texts.title(step), description="\n".join(lines), colour=_INK)
    footer = f"{texts.marker(step.id, part)} · depth {step.depth} · seed {step.seed} · {step.model}"
    embed.set_footer(text=texts.plain(footer, 512))
    below = views.below_picture(step)
    if encoding is None:
        return Sheet((embed,), view=below)
    alt = texts.plain(f"{texts.title(step)}: {session.prompt}", 1000)
    return Sheet((embed,), ((f"step-{step.id}.{encoding.extension}", encoding.data, alt),), below)


def copy(session: Session, step: Step, encoding: images.Encoding | None, *, link: str, part: str) -> Sheet:
    """Show a picture outside its thread: in a gallery, in a member's DMs."""
    lines = [texts.quote(session.prompt, 1500)]
    if link:
        lines.append(f"[{texts.title(step)}]({link}) · <@{session.owner}>")
    if encoding is None:
        lines.append(tr("No version of the picture fits here; it is kept where it was made."))
    elif encoding.remark:
        lines.append(f"-# {translated(encoding.remark)}")
    embed = discord.Embed(description="\n".join(lines), colour=_INK)
    footer = f"{texts.marker(step.id, part)} · depth {step.depth} · seed {step.seed} · {step.model}"
    embed.set_footer(text=texts.plain(footer, 512))
    if encoding is None:
        return Sheet((embed,))
    alt = texts.plain(f"{texts.title(step)}: {session.prompt}", 1000)
    return Sheet((embed,), ((f"step-{step.id}.{encoding.extension}", encoding.data, alt),))


async def notes(step: Step, objects: Sequence[SceneObject], png: bytes) -> list[Sheet]:
    """Show a step's story and each repainted object with a thumbnail; nothing for a first picture."""
    repainted = [item for item in objects if item.repaint]
    if not repainted:
        return []
    overlay, cuts = await asyncio.gather(
        asyncio.to_thread(_overlay, png, objects), asyncio.to_thread(images.thumbnails, png, repainted)
    )
    name = f"step-{step.id}-objects.webp"
    head = discord.Embed(colour=_INK)
    if step.kind is not StepKind.TWEAK:  # a tweak has its parent's story, which was told
        head.description = texts.quote(step.story, 2000)
    if step.source:
        written = tr("written by {source}", source=texts.quote(translated(step.source), 100))
        head.description = f"{head.description or ''}\n-# {written}".strip()
    head.set_image(url=f"attachment://{name}")
    listed = texts.plain(", ".join(f"{item.number} {item.name}" for item in objects), 1000)
    entries = [(head, (name, overlay, listed))]
    for item, cut in zip(repainted, cuts, strict=True):
        entries.append(_object(step, item, cut))
    return _pack(step, entries)


def failure(step: Step, waiting: int) -> Sheet:
    """Say why a step failed and what to do; `waiting` steps wait for it."""
    lines = [texts.clip(translated(step.error), 1500)]
    if waiting == 1:
        lines.append(tr("1 more picture waits for this one."))
    elif waiting:
        lines.append(tr("{count} more pictures wait for this one.", count=waiting))
    named = texts.title(step)
    if step.state is StepState.CANCELLED:
        title, colour = tr("{picture}: cancelled", picture=named), _GREY
        lines.append(tr("React {emoji} to this message to take it up again.", emoji=AGAIN))
    else:
        title, colour = tr("{picture}: not done", picture=named), _RED
        lines.append(tr("React {emoji} to this message to try again.", emoji=AGAIN))
    if step.parent_id is not None:
        lines.append(tr("React {emoji} to an earlier picture to go on from there.", emoji=AGAIN))
    embed = discord.Embed(title=title, description="\n".join(lines), colour=colour)
    embed.set_footer(text=texts.marker(step.id, f"error:{step.attempt}"))
    return Sheet((embed,))


def progress(step: Step, latest: Progress, whole: bytes | None, crop: bytes | None) -> Sheet:
    """Show how far a step is: `whole` is the picture so far, `crop` the window being repainted (WebP)."""
    doing = {
        "paint": tr("Painting"),
        "find": tr("Looking for objects"),
        "describe": tr("Writing the story and the notes"),
        "repaint": tr(
            "Repainting object {number} of {count}: {name}",
            number=latest.done + 1,
            count=latest.total,
            name=texts.quote(latest.label, 100),
        ),
    }[latest.stage]
    embed = discord.Embed(
        title=texts.title(step),
        description=f"{doing}\n{texts.bar(latest.share)} {latest.share:.0%}",
        colour=_GREY,
    )
    embed.set_footer(text=texts.marker(step.id, f"progress:{step.attempt}"))
    files: list[tuple[str, bytes, str]] = []
    if whole is not None:
        files.append(("so-far.webp", whole, tr("The picture so far")))
        embed.set_image(url="attachment://so-far.webp")
    if crop is not None:
        files.append(("now.webp", crop, tr("The object being repainted")))
        embed.set_thumbnail(url="attachment://now.webp")
    return Sheet((embed,), tuple(files))


def queued(step: Step, turn: Forecast, now: float) -> Sheet:
    """Show a step's place in the queue. `now` is in seconds since 1970."""
    if turn.ahead == 0:
        lines = [tr("It is next.")]
    elif turn.ahead == 1:
        lines = [tr("1 picture is before it.")]
    else:
        lines = [tr("{count} pictures are before it.", count=turn.ahead)]
    if turn.starts is None:
        lines.append(tr("When it begins is not known: too few such pictures were painted here so far."))
    else:
        # Discord goes on counting in such a time by itself.
        lines.append(tr("It should begin {time}.", time=f"<t:{round(now + turn.starts)}:R>"))
    title = tr("{picture}: waiting", picture=texts.title(step))
    embed = discord.Embed(title=title, description="\n".join(lines), colour=_GREY)
    embed.set_footer(text=texts.marker(step.id, f"progress:{step.attempt}"))
    return Sheet((embed,))


def _overlay(png: bytes, objects: Sequence[SceneObject]) -> bytes:
    return images.overview(outlined(png, [item.detection for item in objects]))


def _object(step: Step, item: SceneObject, cut: bytes) -> tuple[discord.Embed, tuple[str, bytes, str]]:
    name = f"step-{step.id}-object-{item.number}.webp"
    tags = texts.quote(", ".join(item.tags), 400)
    sure = tr("{label}, {share} sure", label=item.detection.label, share=f"{item.detection.score:.0%}")
    embed = discord.Embed(
        title=f"{item.number} · {texts.quote(item.name, 100)}",
        description=f"{tags}\n-# {texts.quote(sure, 80)}",
        colour=discord.Colour.from_rgb(*outline_colour(item.number)),
    )
    embed.set_thumbnail(url=f"attachment://{name}")
    return embed, (name, cut, texts.plain(item.name, 200))


def _pack(step: Step, entries: Sequence[tuple[discord.Embed, tuple[str, bytes, str]]]) -> list[Sheet]:
    """Share embeds among as few messages as Discord's limits allow: ten each, ten files, 6000 characters."""
    room = texts.EMBED_TOTAL - 100  # for the footer
    pages: list[list[tuple[discord.Embed, tuple[str, bytes, str]]]] = [[]]
    used = 0
    for entry in entries:
        if len(pages[-1]) == 10 or used + len(entry[0]) > room:
            pages.append([])
            used = 0
        pages[-1].append(entry)
        used += len(entry[0])
    sheets: list[Sheet] = []
    for number, page in enumerate(pages, start=1):
        page[-1][0].set_footer(text=f"{texts.marker(step.id, f'notes:{number}')} of {len(pages)}")
        sheets.append(Sheet(tuple(embed for embed, _ in page), tuple(file for _, file in page)))
    return sheets
