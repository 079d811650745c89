"""Buttons, selects, modals and context menus, before and after a restart of the bot."""

from __future__ import annotations

import io
import re
from typing import Any

import discord
import pytest
from discord import ui
from discord.http import Route

from playground import Playground, RefusedError
from tests.playground.small_bot import Run, SmallBot, png, running


class Deeper(ui.DynamicItem[ui.Button[Any]], template=r"deeper:(?P<step>\d+)"):
    def __init__(self, step: int) -> None:
        super().__init__(ui.Button(label="Deeper", custom_id=f"deeper:{step}"))
        self.step = step

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Deeper:
        return cls(int(match["step"]))

    async def callback(self, interaction: discord.Interaction) -> None:
        await interaction.response.edit_message(
            content=f"step {self.step} by {interaction.user.display_name}"
        )


class Form(ui.Modal, title="Tweak"):
    tags: ui.TextInput[Form] = ui.TextInput(label="Tags", default="red", max_length=20)
    note = ui.Label(
        text="Where",
        component=ui.Select(options=[discord.SelectOption(label="a"), discord.SelectOption(label="b")]),
    )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        assert isinstance(self.note.component, ui.Select)
        await interaction.response.send_message(f"{self.tags.value} {self.note.component.values}")


class Panel(ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.add_item(Deeper(41))

    @ui.button(label="Form", custom_id="form")
    async def form(self, interaction: discord.Interaction, button: ui.Button[Panel]) -> None:
        await interaction.response.send_modal(Form())

    @ui.button(label="Off", custom_id="off", disabled=True)
    async def off(self, interaction: discord.Interaction, button: ui.Button[Panel]) -> None: ...

    @ui.select(
        custom_id="object",
        min_values=1,
        max_values=2,
        options=[discord.SelectOption(label=x, value=x) for x in ("hat", "bag", "sky")],
    )
    async def choose(self, interaction: discord.Interaction, select: ui.Select[Panel]) -> None:
        await interaction.response.defer(thinking=True, ephemeral=True)
        await interaction.followup.send(" and ".join(select.values))

    @ui.select(cls=ui.UserSelect, custom_id="who")
    async def who(self, interaction: discord.Interaction, select: ui.UserSelect[Panel]) -> None:
        await interaction.response.send_message(select.values[0].display_name)


async def panel(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("panel", view=Panel())


async def tweak(interaction: discord.Interaction, message: discord.Message) -> None:
    await interaction.response.send_message(f"tweak {message.content}", ephemeral=True)


async def who(interaction: discord.Interaction, member: discord.Member) -> None:
    await interaction.response.send_message(member.display_name)


class PanelBot(SmallBot):
    async def setup_hook(self) -> None:
        self.add_dynamic_items(Deeper)
        self.tree.command(description="Shows the panel.")(panel)
        self.tree.context_menu(name="Tweak object")(tweak)
        self.tree.context_menu(name="Who")(who)
        await super().setup_hook()


@pytest.fixture
async def bot(run: Run) -> PanelBot:
    bot = PanelBot()
    await run(bot)
    return bot


def fields_of(modal: dict[str, Any]) -> list[str]:
    """Return the custom ids of a modal's fields."""
    inner = [[row.get("component"), *row.get("components", [])] for row in modal["components"]]
    return [field["custom_id"] for row in inner for field in row if field]


async def test_buttons_selects_and_modals(server: Playground, bot: PanelBot) -> None:
    alice, bob = server.member("alice"), server.member("bob")
    panel = (await alice.slash(server.general, "panel")).response
    assert panel is not None
    pressed = await bob.click(panel, "deeper:41")
    assert pressed.callback_type == 7
    assert panel.content == "step 41 by Bob"
    chosen = await alice.select(panel, "object", "hat", "sky")
    await server.wait_for(lambda: chosen.response is not None and not chosen.response.loading)
    assert chosen.response is not None
    assert chosen.response.content == "hat and sky"
    assert chosen.response.visible_to == alice.id
    named = await alice.select(panel, "who", bob)
    assert named.response is not None
    assert named.response.content == "Bob"
    assert named.response.reference is not None
    assert named.response.reference.message_id == panel.id

    opened = await alice.click(panel, "form")
    assert opened.modal is not None
    assert opened.modal["title"] == "Tweak"
    text_id, select_id = fields_of(opened.modal)
    done = await alice.submit_modal(opened, {select_id: ["b"]})
    assert done.response is not None
    assert done.response.content == "red ['b']"
    with pytest.raises(RefusedError, match="no modal"):
        await alice.submit_modal(opened, {select_id: ["b"]})
    opened = await alice.click(panel, "form")
    assert opened.modal is not None
    text_id, select_id = fields_of(opened.modal)
    for values in ({text_id: "x" * 21, select_id: ["a"]}, {text_id: "x"}, {"other": "x"}, {select_id: ["c"]}):
        with pytest.raises(RefusedError):
            await alice.submit_modal(opened, values)
    with pytest.raises(RefusedError, match="another member"):
        await bob.submit_modal(opened)
    done = await alice.submit_modal(opened, {text_id: "blue", select_id: ["a"]})
    assert done.response is not None
    assert done.response.content == "blue ['a']"


async def test_what_the_client_does_not_let_through(server: Playground, bot: PanelBot) -> None:
    alice = server.member("alice")
    panel = (await alice.slash(server.general, "panel")).response
    assert panel is not None
    for values in ((), ("hat", "bag", "sky"), ("shoe",)):
        with pytest.raises(RefusedError):
            await alice.select(panel, "object", *values)
    with pytest.raises(RefusedError, match="disabled"):
        await alice.click(panel, "off")
    with pytest.raises(RefusedError, match="it has"):
        await alice.click(panel, "nothing")
    server.delete_message(panel)
    with pytest.raises(RefusedError, match="gone"):
        await alice.click(panel, "deeper:41")


async def test_context_menus(server: Playground, bot: PanelBot) -> None:
    alice = server.member("alice")
    message = await alice.send(server.general, "a text that the bot was not shown")
    sent = await alice.context_menu(message, "Tweak object")
    assert sent.response is not None
    assert sent.response.content == "tweak a text that the bot was not shown"
    sent = await alice.context_menu(server.member("bob"), "Who", channel=server.general)
    assert sent.response is not None
    assert sent.response.content == "Bob"


async def test_a_button_outlives_its_bot(server: Playground) -> None:
    alice = server.member("alice")
    async with running(PanelBot(), server):
        panel = (await alice.slash(server.general, "panel")).response
    assert panel is not None
    waiting = await alice.click(panel, "deeper:41", settle=False)
    server.advance(3)
    assert waiting.failed
    async with running(PanelBot(), server):
        pressed = await alice.click(panel, "deeper:41")
        assert pressed.acknowledged_after is not None
        assert panel.content == "step 41 by Alice"


async def test_components_are_checked(server: Playground, bot: PanelBot) -> None:
    channel = bot.get_channel(server.general.id)
    assert isinstance(channel, discord.TextChannel)

    async def send(*buttons: dict[str, Any]) -> None:
        rows = [{"type": 1, "components": list(buttons)}]
        body = {"content": "x", "components": rows}
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=channel.id)
        await bot.http.request(route, json=body)

    button = {"type": 2, "style": 1, "label": "b", "custom_id": "b"}
    await send(button)
    for wrong in (
        [button | {"custom_id": "x" * 101}],
        [button, button],
        [button | {"label": "l" * 81}],
        [button | {"custom_id": str(i)} for i in range(6)],
        [{"type": 3, "custom_id": "s", "options": [{"label": str(i), "value": str(i)} for i in range(26)]}],
        [],
    ):
        with pytest.raises(discord.HTTPException) as error:
            await send(*wrong)
        assert error.value.code == 50035
    assert len(server.messages(server.general)) == 1


async def test_a_layout_with_a_picture(server: Playground, bot: PanelBot) -> None:
    class Layout(ui.LayoutView):
        text = ui.TextDisplay[Any]("# Before and after")
        gallery = ui.MediaGallery[Any](discord.MediaGalleryItem("attachment://p.png"))

    channel = bot.get_channel(server.general.id)
    assert isinstance(channel, discord.TextChannel)
    message = await channel.send(view=Layout(), file=discord.File(io.BytesIO(png()), "p.png"))
    assert message.flags.components_v2
    (gallery,) = [c for c in message.components if isinstance(c, discord.MediaGalleryComponent)]
    assert server.file(gallery.items[0].media.url) == png()
    with pytest.raises(discord.HTTPException) as error:
        await message.edit(content="not both", view=Layout())
    assert error.value.code == 50035
