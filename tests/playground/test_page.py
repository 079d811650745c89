"""The page in a real browser: what a person does, with the unmodified bot on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from pipeline.store import migrate
from playground import Limits, Playground, connect_here
from tests.bot.conftest import House
from tests.playground.browser import Browser, open_browser, programs

pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine 'Client._run_event' was never awaited:RuntimeWarning"
)
MODERATES = "manage_messages manage_threads"
# The id of the newest message whose embed has this title and shows a finished picture.
_PAINTED = """
return [...document.querySelectorAll('.embed')].filter((embed) =>
  embed.querySelector('.embed-title')?.innerText === arguments[0] &&
  embed.querySelector('.embed-footer')?.innerText.includes('· picture')
).at(-1)?.closest('li.message').dataset.id;
"""


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for all; each test's server has a port, and so a storage, of its own."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser) -> Browser:
    chrome.resize(1200, 850)
    chrome.prefer(dark=False)
    chrome.complaints()
    return chrome


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    migrate(url)
    return url


@contextlib.asynccontextmanager
async def playing(directory: Path, database: str, port: int = 0) -> AsyncIterator[House]:
    """Everything that `bot.py` starts without a token, with fast models."""
    async with Playground(limits=Limits.loose(), directory=directory, port=port) as server:
        connect_here(server.rest_url)
        server.member("robin")
        server.member("mika", permissions=MODERATES)
        house = House(server, database)
        await house.start()
        try:
            yield house
        finally:
            await house.stop()
            await house.store.aclose()


async def do(work: Callable[..., object], *arguments: object) -> None:
    """Let the person act while the servers go on."""
    await asyncio.to_thread(work, *arguments)


def titles(browser: Browser) -> list[str]:
    return [text for text in browser.texts(".embed-title") if "·" not in text]


def picture_is_there(browser: Browser) -> None:
    script = """return [...document.querySelectorAll('.embed img')].every((image) => {
        image.loading = 'eager';  // those further up wait until they are scrolled to
        return image.complete && image.naturalWidth > 0;
    })"""
    browser.until(lambda: browser.run(script), "all pictures, loaded")


def imagine(browser: Browser) -> None:
    """Write /imagine with completion, watch the picture come."""
    browser.click("#text")
    browser.keys("/ima")
    browser.see(".suggestion", "/imagine")
    browser.keys(Keys.TAB)
    browser.see(".command-hint", "prompt")
    browser.keys("1girl, red jacket, night sky")
    browser.click(".more-option", "+ depth")
    browser.keys("9", Keys.ENTER)
    browser.see(".command-hint", "depth takes 0 to 8.")
    browser.keys(Keys.BACKSPACE, "1", Keys.ENTER)
    browser.see(".quote .mention", "/imagine")
    browser.until(lambda: opened_thread(browser), "the thread, opened")
    browser.see(".embed-title", "First picture")
    browser.see(".embed-title", "Recursion 1")
    browser.see(".embed-footer", "notes 1 of 1")
    picture_is_there(browser)


def opened_thread(browser: Browser) -> bool:
    """Click on the thread's card unless the thread is open: the card moves while its messages are counted."""
    if not browser.texts(".embed-title"):
        browser.click(".thread-card")
    return bool(browser.texts(".embed-title"))


def at_picture(browser: Browser, title: str) -> str:
    """Put the pointer over a picture's message; return a selector for the message."""

    def found() -> str:
        ident = browser.run(_PAINTED, title)
        if not ident:
            return ""
        place = f'[data-id="{ident}"]'
        browser.hover(f"{place} .embed-title")
        return place

    return browser.until(found, f"the picture {title!r}")


def press_tool(browser: Browser, title: str, label: str) -> str:
    """Press a button at a picture's corner; return a selector for the message."""

    def pressed() -> str:
        # What arrives meanwhile moves the messages away from under the pointer: then it follows.
        place = at_picture(browser, title)
        browser.all(f"{place} .toolbar [aria-label='{label}']")[0].click()
        return place

    return browser.until(pressed, f"{label} at {title}")


def react(browser: Browser, title: str) -> None:
    message = press_tool(browser, title, "Add reaction")
    browser.see(".emoji-search")
    browser.keys("repeat")
    browser.click(".emoji-cell[data-emoji='🔁']")
    chip = browser.see(f"{message} .reaction[aria-pressed=true]", "🔁")
    assert chip.text.split() == ["🔁", "2"]  # the bot's own, and mine


def reply(browser: Browser) -> None:
    press_tool(browser, "Recursion 2", "Reply")
    browser.see(".composer-note", "Replying to Contextual Diffusion")
    assert browser.text("#ping") == "@ ON"
    browser.keys("2: yellow", Keys.ENTER)
    browser.see(".message .text", "2: yellow")
    browser.see(".embed-text", "yellow")


def tweak(browser: Browser) -> None:
    """The button, the select that is for me alone, the form with the tags filled in."""
    message = at_picture(browser, "Recursion 1")
    browser.click(f"{message} .component", "Tweak")
    browser.see(".message.ephemeral", "Only you can see this")
    browser.click(".message.ephemeral .select")
    browser.click(".select-list [role=option]", "3 · hat")
    field = browser.see("dialog.form textarea")
    assert field.get_attribute("value") == "hat, pastel, soft light"
    assert browser.run("return document.activeElement === arguments[0]", field)
    browser.choose_all()
    browser.keys("straw, wide")
    browser.click("dialog.form [type=submit]")
    browser.gone("dialog.form")
    browser.see(".embed-text", "straw, wide")


def undo(browser: Browser) -> None:
    message = at_picture(browser, "Recursion 1, one thing changed")
    browser.click(f"{message} .component", "Undo")
    browser.see(".embed-footer", "· shown")  # the picture before it, once more
    picture_is_there(browser)


async def test_a_session_from_imagine_to_restart(browser: Browser, tmp_path: Path, database: str) -> None:
    kept = tmp_path / "kept"
    async with playing(kept, database) as house:
        server = house.discord
        port = int(server.url.rsplit(":", 1)[1])
        await do(browser.open, server.page_url)
        assert server.admin_token not in browser.chrome.current_url  # the address may be shown to others
        await do(imagine, browser)
        await do(react, browser, "Recursion 1")
        await do(browser.see, ".embed-title", "Recursion 2")
        await do(reply, browser)
        await do(tweak, browser)
        await do(undo, browser)
        thread = await house.thread()
        await house.delivered(*[step.id for step in await house.store.steps(1)])
        await do(browser.until, lambda: len(titles(browser)) == shown_pictures(house), "every picture")
        told = titles(browser)

        await do(browser.chrome.refresh)  # not here: the server has to answer meanwhile
        await do(browser.see, ".embed-title", "Recursion 2")
        await do(browser.until, lambda: titles(browser) == told, "the same after a reload")
        await do(picture_is_there, browser)

        await house.stop()
        await do(browser.see, "#bot-text", "Bot not running")
        await house.start()
        await do(browser.see, "#bot-text", "Bot online")
        await do(press_deeper, browser, "First picture")
        told = titles(browser)
        assert server.messages(thread)[0] is not None
        assert not server.violations
        assert not server.unknown_routes

    # Everything is stopped, and started again: the open page finds its way back by itself.
    await do(browser.see, "#notice", "The line to the playground is lost")
    async with playing(kept, database, port) as house:
        await do(browser.gone, "#notice")
        await do(browser.see, "#bot-text", "Bot online")
        assert titles(browser) == told
        await do(picture_is_there, browser)
        # Not the same button again: all this took less than the two seconds of a double click.
        await do(press_deeper, browser, "Recursion 2")
        assert not house.discord.unknown_routes
    # The server was away for a while, and a live preview may be replaced while it is being loaded.
    expected = ("ERR_CONNECTION_REFUSED", "WebSocket", "/now.webp")
    assert [line for line in browser.complaints() if not any(word in line for word in expected)] == []


def shown_pictures(house: House) -> int:
    return sum(
        bool(re.search(r"· (picture|shown)", (e.get("footer") or {}).get("text", "")))
        for thread in house.discord.threads()
        for message in house.discord.messages(thread)
        for e in message.embeds
    )


def press_deeper(browser: Browser, title: str) -> None:
    """Go one deeper from a picture by its button; a further picture comes, and its notes."""

    def parts(kind: str) -> int:
        return sum(f"· {kind}" in text for text in browser.texts(".embed-footer"))

    pictures, notes = parts("picture"), parts("notes")
    message = at_picture(browser, title)
    browser.click(f"{message} .component", "Deeper")
    # What was asked for before may still come meanwhile.
    browser.until(lambda: parts("picture") > pictures and parts("notes") > notes, "a picture")
    picture_is_there(browser)


def test_a_missing_browser_fails_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssertionError, match=r"apt-get install .* chromium chromium-driver"):
        programs()
