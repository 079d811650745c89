"""The parts of the page, with a small bot that uses all that Discord has."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
from discord import app_commands, ui
from selenium.webdriver.common.keys import Keys

from playground import Actor, Playground
from tests.playground.browser import Browser, open_browser
from tests.playground.small_bot import Run, SmallBot, png

STUMBLES = Path(__file__).with_name("accessible.js").read_text()


class Form(ui.Modal, title="Tell me"):
    words: ui.TextInput[Form] = ui.TextInput(label="Words", min_length=3, max_length=20)
    where = ui.Label(
        text="Where",
        description="One of two",
        component=ui.Select(options=[discord.SelectOption(label=x) for x in ("here", "there")]),
    )
    who = ui.Label(text="Who", component=ui.UserSelect(custom_id="form-who"))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        assert isinstance(self.where.component, ui.Select)
        assert isinstance(self.who.component, ui.UserSelect)
        chosen, person = self.where.component.values[0], self.who.component.values[0]
        await interaction.response.send_message(f"{self.words.value} {chosen} {person.display_name}")


class Panel(ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.add_item(ui.Button(label="Far away", url="https://example.org/"))

    @ui.button(label="Form", style=discord.ButtonStyle.primary, emoji="✏️")
    async def form(self, interaction: discord.Interaction, button: ui.Button[Panel]) -> None:
        await interaction.response.send_modal(Form())

    @ui.button(label="Off", disabled=True)
    async def off(self, interaction: discord.Interaction, button: ui.Button[Panel]) -> None: ...

    @ui.button(label="Silent", style=discord.ButtonStyle.danger)
    async def silent(self, interaction: discord.Interaction, button: ui.Button[Panel]) -> None:
        """Never answer."""

    @ui.select(
        max_values=2, options=[discord.SelectOption(label=x, description=f"a {x}") for x in ("hat", "bag")]
    )
    async def things(self, interaction: discord.Interaction, select: ui.Select[Panel]) -> None:
        await interaction.response.send_message(" and ".join(select.values))

    @ui.select(cls=ui.UserSelect, placeholder="Who?")
    async def who(self, interaction: discord.Interaction, select: ui.UserSelect[Panel]) -> None:
        await interaction.response.edit_message(content=f"it is {select.values[0].display_name}")


class EverythingBot(SmallBot):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def setup_hook(self) -> None:
        @self.tree.command(description="Shows the panel.")
        async def panel(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("the panel", view=Panel())

        @self.tree.command(description="Takes its time.")
        async def slow(interaction: discord.Interaction) -> None:
            await interaction.response.defer(thinking=True)
            await self.go_on.wait()
            await interaction.followup.send("at last")

        @self.tree.command(description="Takes everything.")
        @app_commands.choices(size=[app_commands.Choice(name="Small", value=1)])
        async def all_of(
            interaction: discord.Interaction,
            colour: str,
            size: app_commands.Choice[int],
            member: discord.Member,
            loud: bool,
            file: discord.Attachment | None = None,
        ) -> None:
            told = f"{colour} {size.value} {member.display_name} {loud}"
            seen = file and f"{file.filename} {file.width}x{file.height}"
            await interaction.response.send_message(f"{told} {seen}", ephemeral=True)

        @all_of.autocomplete("colour")
        async def colours(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
            found = [c for c in ("crimson", "cream", "teal") if typed in c]
            return [app_commands.Choice(name=c.title(), value=c) for c in found]

        @self.tree.context_menu(name="Weigh")
        async def weigh(interaction: discord.Interaction, message: discord.Message) -> None:
            await interaction.response.send_message(f"{len(message.content)} letters", ephemeral=True)

        @self.tree.command(description="For moderators.")
        @app_commands.default_permissions(manage_messages=True)
        async def tidy(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("tidy")

        await super().setup_hook()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
async def people(server: Playground) -> tuple[Actor, Actor]:
    return server.member("robin"), server.member("mika", permissions="manage_messages manage_threads")


@pytest.fixture
async def bot(people: tuple[Actor, Actor], run: Run) -> EverythingBot:
    bot = EverythingBot()
    await run(bot)
    return bot


@pytest.fixture
async def page(chrome: Browser, server: Playground, bot: EverythingBot) -> AsyncIterator[Browser]:
    chrome.resize(1100, 800)
    chrome.prefer(dark=False)
    await asyncio.to_thread(chrome.open, server.page_url)
    chrome.complaints()
    yield chrome
    assert chrome.complaints() == []


def slash(page: Browser, name: str) -> None:
    page.click("#text")
    page.keys(f"/{name}")
    page.see(".suggestion", f"/{name}")
    page.keys(Keys.ENTER)
    page.see(".command")


async def test_options_of_all_kinds(page: Browser, server: Playground, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("files") / "in.png"
    path.write_bytes(png("teal", (60, 40)))

    def act() -> None:
        slash(page, "all_of")
        page.keys("cr")
        page.see(".suggestion", "Cream")
        page.click(".suggestion", "Crimson")
        page.see(".suggestion", "Small")
        page.keys(Keys.ENTER)
        page.see(".suggestion", "Mika")
        page.keys("mik", Keys.ENTER)
        page.see(".suggestion", "True")
        assert page.run(STUMBLES) == []
        page.keys("maybe", Keys.ENTER)
        page.see(".command-hint", "loud takes True or False.")
        page.choose_all()
        page.keys("tr")
        page.see(".suggestion", "True")
        page.keys(Keys.ENTER)
        page.click(".more-option", "+ file")
        page.see("#option-file").send_keys(str(path))
        page.click(".composer .send")
        page.see(".message.ephemeral .text", "crimson 1 Mika True in.png 60x40")
        page.click(".message.ephemeral .text-button", "Dismiss")
        page.gone(".message.ephemeral")

    await asyncio.to_thread(act)


async def test_buttons_menus_and_forms(page: Browser, server: Playground) -> None:
    def act() -> None:
        slash(page, "panel")
        page.keys(Keys.ENTER)
        page.see(".message", "the panel")
        link = page.see("a.component", "Far away")
        assert link.get_attribute("href") == "https://example.org/"
        assert "noopener" in str(link.get_attribute("rel"))
        assert not page.see(".component", "Off").is_enabled()
        page.click(".select", "Make a selection")
        page.keys(Keys.ENTER, Keys.ARROW_DOWN, Keys.ENTER, Keys.ESCAPE)
        page.see(".message .text", "hat and bag")
        page.click(".select", "Who?")
        page.click(".select-list [role=option]", "Robin")
        page.see(".message", "it is Robin")
        page.click(".component", "Form")
        page.see("dialog.form")
        assert page.run(STUMBLES) == []
        page.keys("ab")
        page.click("dialog [type=submit]")
        page.see(".form-error", "Write at least 3 characters.")
        page.see(".form-error", "Make a selection.")
        page.keys("cd")
        page.click("dialog .select", "Make a selection")  # the last of the two
        page.click("dialog [role=option]", "Mika")
        page.see("dialog .select", "Mika")
        page.click("dialog .select", "Make a selection")
        page.click("dialog [role=option]", "there")
        page.click("dialog [type=submit]")
        page.gone("dialog.form")
        page.see(".message .text", "abcd there Mika")
        assert page.run(STUMBLES) == []
        page.click(".component", "Silent")
        page.see(".component.busy")

    await asyncio.to_thread(act)
    server.advance(4)
    await asyncio.to_thread(page.see, ".failure", "This interaction failed")


async def test_thinking_editing_deleting_and_context_menus(
    page: Browser, server: Playground, bot: EverythingBot, people: tuple[Actor, Actor]
) -> None:
    _, mika = people

    def begin() -> None:
        slash(page, "slow")
        page.keys(Keys.ENTER)
        page.see(".thinking", "is thinking")

    def after() -> None:
        page.gone(".thinking")
        page.see(".message .text", "at last")
        page.menu(page.see(".message .text", "hello"))
        page.see(".menu-heading", "Apps")
        page.click(".menu [role=menuitem]", "Weigh")
        page.see(".message.ephemeral", "5 letters")
        page.see(".message .text", "hello").click()
        page.keys(Keys.ARROW_DOWN)

    await asyncio.to_thread(begin)
    bot.go_on.set()
    hello = await mika.send(server.general, "hello")
    await asyncio.to_thread(after)
    await mika.edit(hello, "hello again")
    await asyncio.to_thread(page.see, ".message .text", "hello again (edited)")
    await mika.delete(hello)
    await asyncio.to_thread(page.gone, ".message .text", "hello again")


async def test_two_members_with_their_rights(
    page: Browser, server: Playground, people: tuple[Actor, Actor]
) -> None:
    _, mika = people
    note = await mika.send(server.general, "a note", files=[("n.png", png())])

    def as_robin() -> None:
        page.menu(page.see(".message .text", "a note"))
        page.see(".menu [role=menuitem]", "Reply")
        assert not [e for e in page.all(".menu button") if "Delete" in e.text]
        page.keys(Keys.ESCAPE)
        page.click("#text")
        page.keys("/")
        page.see(".suggestion", "/panel")
        assert not [e for e in page.all(".suggestion") if "/tidy" in e.text]
        page.keys(Keys.ESCAPE)
        page.choose_all()
        page.keys("mine @mik")
        page.see(".suggestion", "Mika")
        page.keys(Keys.TAB, "look", Keys.ENTER)
        page.see(".message .mention", "@Mika")

    def as_mika() -> None:
        page.click("#me")
        page.see(".menu button", "Robin")
        page.click(".menu button", "Mika")
        page.see(".me-name", "Moderator")
        page.see(".message.pinged", "look")
        page.menu(page.see(".message .text", "look"))
        page.click(".menu button", "Delete message")
        page.click("dialog .button.danger")
        page.gone(".message .text", "look")

    await asyncio.to_thread(as_robin)
    await asyncio.to_thread(as_mika)
    assert [m.content for m in server.messages(server.general)] == ["a note"]
    assert not note.deleted


async def test_markdown_is_text_and_never_markup(
    page: Browser, server: Playground, people: tuple[Actor, Actor]
) -> None:
    robin, _ = people
    evil = "<img src=x onerror=\"document.title='taken'\"> [x](javascript:alert(1)) <b>bold</b>"
    await robin.send(server.general, evil)
    await robin.send(
        server.general, "**strong** *slanted* __under__ ~~gone~~ `co*d*e` ||secret|| snake_case_word"
    )
    await robin.send(server.general, "> quoted\n# Head\n- one\n- two\n-# small\n```py\n<script>\n```")
    await robin.send(server.general, "[named](https://example.org/a_b_c) https://example.org/x_y_z.")

    def look() -> None:
        assert page.see(".message .text", "onerror").text == evil
        shown = page.see(".message .text", "strong")
        assert [e.text for e in shown.find_elements("css selector", "strong, em, u, s, code")] == [
            *("strong", "slanted", "under", "gone", "co*d*e"),
        ]
        assert "snake_case_word" in shown.text
        page.click(".spoiler")
        page.see(".spoiler.seen", "secret")
        assert page.text(".message blockquote") == "quoted"
        assert page.text(".message .h1") == "Head"
        assert page.text(".message ul") == "one\ntwo"
        assert page.text(".message pre") == "<script>"
        links = [e.get_attribute("href") for e in page.all(".message .text a")]
        assert links == ["https://example.org/a_b_c", "https://example.org/x_y_z"]
        assert "taken" not in page.chrome.title
        assert not page.all(".message img, .message b, .message script")

    await asyncio.to_thread(look)


async def test_phone_keyboard_and_pictures(
    page: Browser, server: Playground, people: tuple[Actor, Actor]
) -> None:
    _, mika = people
    await mika.send(server.general, "two", files=[("a.png", png()), ("b.png", png("blue", (80, 60)))])
    await mika.start_thread(server.general, "side talk")

    def act() -> None:
        page.resize(390, 800)
        page.see(".message", "two")
        fits = "return document.documentElement.scrollWidth <= innerWidth"
        page.until(lambda: page.run(fits), "a page as wide as the phone")
        page.gone("#channels .channel")
        page.click("#open-drawer")
        page.click("#channels .channel", "side talk")
        page.see("#title", "side talk")
        page.gone("#channels .channel")
        assert page.run(STUMBLES) == []
        page.resize(1100, 800)
        page.click("#channels .channel", "general")
        # By keyboard alone: from the message box up to the messages, into the picture, and back.
        page.see(".message", "two")
        page.click("#text")
        page.run("document.querySelector('li.message[tabindex=\"0\"]').focus()")
        page.keys(Keys.ARROW_UP)
        assert "two" in str(page.run("return document.activeElement.innerText"))
        page.keys(Keys.TAB, Keys.ENTER)
        page.see("dialog.lightbox figcaption", "a.png")
        assert page.run(STUMBLES) == []
        page.keys(Keys.ARROW_RIGHT)
        page.see("dialog.lightbox figcaption", "b.png · 80 × 60 · 2 of 2")
        page.keys(Keys.ESCAPE)
        page.gone("dialog.lightbox")
        assert page.run("return document.activeElement.matches('.picture')")
        before = page.run("return getComputedStyle(document.body).backgroundColor")
        page.prefer(dark=True)
        page.until(
            lambda: page.run("return getComputedStyle(document.body).backgroundColor") != before, "dark"
        )
        page.click("#theme")
        page.until(
            lambda: page.run("return getComputedStyle(document.body).backgroundColor") == before, "light"
        )

    await asyncio.to_thread(act)


async def test_the_line_is_lost_and_found(
    page: Browser, server: Playground, people: tuple[Actor, Actor]
) -> None:
    robin, _ = people
    sockets = (
        "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/state')).length"
    )
    asked = await asyncio.to_thread(page.run, sockets)
    await server.admin.hang_up()
    await robin.send(server.general, "meanwhile")
    await asyncio.to_thread(page.see, ".message .text", "meanwhile")
    assert await asyncio.to_thread(page.run, sockets) == asked  # caught up from the feed, nothing asked anew


async def test_without_the_key_it_says_where_the_key_is(page: Browser, server: Playground) -> None:
    def look() -> None:
        page.run("localStorage.clear()")
        page.chrome.get(server.url)
        page.see("#notice", "needs the link that the terminal shows")
        assert not page.see("body").find_element("id", "app").is_displayed()
        page.complaints()  # of the 401

    await asyncio.to_thread(look)


async def test_other_pages_and_names_are_kept_out(server: Playground) -> None:
    robin = server.member("robin")
    key = {"Authorization": f"Bearer {server.admin_token}"}
    sent = await robin.send(server.general, "x", files=[("evil.html", b"<script>alert(1)</script>")])
    async with aiohttp.ClientSession() as http:

        async def status(path: str, **headers: str) -> int:
            async with http.get(server.url + path, headers=headers) as response:
                return response.status

        assert await status("/playground/state", **key) == 200
        assert await status("/playground/state", Host="evil.example", **key) == 403
        assert await status("/playground/state", Origin="http://evil.example", **key) == 403
        assert await status("/playground/state", Origin="null", **key) == 403
        assert await status("/playground/state", Origin="http://127.0.0.1:1", **key) == 403
        assert await status("/playground/state", **{"Sec-Fetch-Site": "cross-site"}, **key) == 403
        assert await status("/", Host="evil.example") == 403
        assert await status("/api/v10/gateway", Host="evil.example") == 403
        led_here = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert await status("/", **led_here) == 200
        for name in ("..%2Fserver.py", "nothing.js", "%2e%2e/server.py"):
            assert await status(f"/page/{name}") == 404
        events = f"{server.url}/playground/events?token={server.admin_token}"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(events, headers={"Origin": "http://evil.example"})
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(f"{server.url}/playground/events?token=wrong")
        async with http.get(server.url + sent.attachments[0].path) as response:
            assert response.headers["Content-Security-Policy"].startswith("sandbox;")
        async with http.get(server.url + "/") as response:
            policy = response.headers["Content-Security-Policy"]
            text = await response.text()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        # Nothing from elsewhere, and nothing inline.
        assert not re.search(r"(?:src|href)=\"(?!/page/)", text)
        assert not re.search(r"<style|<script>|\son\w+=|style=", text)
