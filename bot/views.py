"""Buttons, menus and the form below pictures. They carry ids only and outlive the process that sent them.

A custom id names the step and a few letters of its origin's digest: a step of another database, which counts
from 1 again, has the number but not the letters. What an item does is read from the database when it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import discord
from discord import ui

from bot import texts
from bot.translations import tr
from pipeline.domain import MAX_PROMPT, SceneObject, Step

if TYPE_CHECKING:
    from bot.client import Client

_REF = r"(?P<id>\d{1,18}):(?P<key>[0-9a-f]{6})"
_FORM = re.compile(rf"tell:{_REF}:(?P<number>\d{{1,3}})")
_OPTIONS = 25  # of a menu


@dataclass(frozen=True, slots=True)
class Ref:
    """A step as a custom id names it."""

    step_id: int
    key: str

    @classmethod
    def of(cls, step: Step) -> Ref:
        return cls(step.id, hashlib.sha256(step.origin.encode()).hexdigest()[:6])

    @classmethod
    def read(cls, match: re.Match[str]) -> Ref:
        return cls(int(match["id"]), match["key"])

    def __str__(self) -> str:
        return f"{self.step_id}:{self.key}"


class ActionButton(ui.DynamicItem[ui.Button[Any]], template=rf"step:{_REF}:(?P<action>[a-z]+)"):
    """A button that does one thing with one step."""

    def __init__(self, button: ui.Button[Any], ref: Ref, action: str) -> None:
        super().__init__(button)
        self._ref = ref
        self._action = action

    @classmethod
    def make(cls, ref: Ref, action: str, **looks: Any) -> ActionButton:
        return cls(ui.Button(custom_id=f"step:{ref}:{action}", **looks), ref, action)

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> ActionButton:
        return cls(cast("ui.Button[Any]", item), Ref.read(match), match["action"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        client: Client = interaction.client
        await client.actions.press(interaction, self._ref, self._action)


class ActionMenu(ui.DynamicItem[ui.Select[Any]], template=rf"pick:{_REF}:(?P<menu>[a-z]+)"):
    """A menu about one step."""

    def __init__(self, select: ui.Select[Any], ref: Ref, menu: str) -> None:
        super().__init__(select)
        self._ref = ref
        self._menu = menu

    @classmethod
    def make(cls, ref: Ref, menu: str, options: list[discord.SelectOption], **looks: Any) -> ActionMenu:
        return cls(ui.Select(custom_id=f"pick:{ref}:{menu}", options=options, **looks), ref, menu)

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> ActionMenu:
        return cls(cast("ui.Select[Any]", item), Ref.read(match), match["menu"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        client: Client = interaction.client
        await client.actions.pick(interaction, self._ref, self._menu, self.item.values)


DYNAMIC = (ActionButton, ActionMenu)


def below_picture(step: Step) -> ui.View:
    """What members can do with a step's picture. A first picture has nothing to undo."""
    ref = Ref.of(step)
    # action: emoji, label. The first row below every picture.
    row = {
        "deeper": ("🔁", tr("Deeper")),
        "tweak": ("✏️", tr("Tweak")),
        "again": ("🎲", tr("Again")),
        "undo": ("↩️", tr("Undo")),
        "look": ("🔍", tr("Look")),
    }
    # What the menu below it offers: emoji, label, what it does.
    more = {
        "branch": ("🌿", tr("Branch from here"), tr("Show this picture again and go on from it")),
        "keep": ("🔒", tr("Keep objects…"), tr("Choose what stays untouched in all that follows")),
        "film": ("🎞️", tr("Animation"), tr("All pictures from the first to this one, for you alone")),
        "gallery": ("⭐", tr("To the gallery"), tr("Show it in this server's gallery channel")),
        "dm": ("✉️", tr("To my DMs"), tr("Send me a copy")),
        "delete": ("🗑️", tr("Delete…"), tr("This picture and all that was made from it")),
    }
    items: list[ui.Item[Any]] = [
        ActionButton.make(
            ref,
            action,
            emoji=emoji,
            label=label,
            row=0,
            disabled=action == "undo" and step.parent_id is None,
        )
        for action, (emoji, label) in row.items()
    ]
    options = [
        discord.SelectOption(value=action, emoji=emoji, label=label, description=what)
        for action, (emoji, label, what) in more.items()
    ]
    return _view(*items, ActionMenu.make(ref, "more", options, placeholder=tr("More…"), row=1))


def choose_object(step: Step, objects: Sequence[SceneObject], *, kept: Collection[int]) -> ui.View:
    """Ask which object to tweak; one that is kept is not offered."""
    options = [_option(item) for item in objects if item.number not in kept]
    menu = ActionMenu.make(Ref.of(step), "tweak", options[:_OPTIONS], placeholder=tr("Which object?"))
    return _view(menu)


def choose_kept(step: Step, objects: Sequence[SceneObject], *, kept: Collection[int]) -> ui.View:
    """Ask which objects are kept; those that are now are chosen."""
    options = [_option(item, chosen=item.number in kept) for item in objects][:_OPTIONS]
    menu = ActionMenu.make(
        Ref.of(step),
        "keep",
        options,
        placeholder=tr("Nothing is kept"),
        min_values=0,
        max_values=len(options),
    )
    return _view(menu)


def looks(step: Step, shown: str) -> ui.View:
    """Switch between a picture's outlines, the picture and the one before it; what is shown is pressed."""
    ref = Ref.of(step)
    labels = {"outlines": tr("Outlines"), "plain": tr("Picture"), "before": tr("Before")}
    return _view(
        *(
            ActionButton.make(ref, look, label=label, disabled=look == shown)
            for look, label in labels.items()
            if look != "before" or step.parent_id is not None
        )
    )


def confirm_delete(step: Step) -> ui.View:
    """Ask whether a deletion is meant."""
    button = ActionButton.make(
        Ref.of(step), "really", emoji="🗑️", label=tr("Delete"), style=discord.ButtonStyle.danger
    )
    return _view(button)


def form(step: Step, item: SceneObject) -> ui.Modal:
    """Ask what an object should become, its tags filled in. What is sent is read by `read_form`."""
    title = texts.plain(f"{item.number} · {item.name}", 45)
    modal = ui.Modal(title=title, custom_id=f"tell:{Ref.of(step)}:{item.number}", timeout=None)
    field = ui.TextInput[Any](
        custom_id="words",
        style=discord.TextStyle.paragraph,
        default=", ".join(item.tags)[:1000] or None,
        placeholder=tr("red leather, striped"),
        max_length=min(1000, MAX_PROMPT),
    )
    modal.add_item(
        ui.Label(text=tr("What it should become"), description=tr("Tags, or plain words"), component=field)
    )
    modal.stop()  # nothing waits for it here: the answer may come to another process
    return modal


def read_form(data: dict[str, Any]) -> tuple[Ref, int, str] | None:
    """Return the step, the object's number and the words of a form that was sent, None for another one."""
    match = _FORM.fullmatch(str(data.get("custom_id", "")))
    if match is None:
        return None
    fields = [row.get("component") or {} for row in data.get("components", [])]
    words = next((str(field["value"]) for field in fields if field.get("custom_id") == "words"), "")
    return Ref.read(match), int(match["number"]), ", ".join(filter(None, map(str.strip, words.splitlines())))


def _option(item: SceneObject, *, chosen: bool = False) -> discord.SelectOption:
    return discord.SelectOption(
        value=str(item.number),
        label=texts.plain(f"{item.number} · {item.name}", 100),
        description=texts.plain(", ".join(item.tags), 100) or None,
        default=chosen,
    )


def _view(*items: ui.Item[Any]) -> ui.View:
    view = ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    # discord.py must not remember it: what it does is in its custom ids.
    view.stop()
    return view
