"""The playground's screenshots in docs/, of a real session: `uv run python -m benchmarks.screenshots`.

Starts `bot.py` without a token in an empty folder, with the models that come with it, and does in headless
Chromium what a newcomer would.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.keys import Keys

from pipeline.settings import ROOT, Settings
from tests.playground.browser import Browser, open_browser

PROMPT = "1girl, full body, green striped shirt, brown trousers, yellow hat, red car, sunset sky"
SECONDS = 240.0


def shoot(browser: Browser, name: str) -> None:
    """Save what the page shows as WebP, once nothing moves."""
    browser.until(lambda: browser.run("return !document.getAnimations().length"), "a page at rest")
    png = browser.chrome.get_screenshot_as_png()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(ROOT / "docs" / f"{name}.webp", quality=82, method=6)
    print(f"docs/{name}.webp")


def imagine(browser: Browser, seed: int) -> None:
    """Ask for a picture."""
    browser.see("#bot-text", "Bot online")
    browser.click("#text")
    browser.keys("/imagine ")
    browser.see(".command")
    browser.keys(PROMPT)
    for option, value in (("seed", str(seed)), ("depth", "1")):
        browser.click(".more-option", f"+ {option}")
        browser.keys(value)
    browser.keys(Keys.ENTER)


def photograph(browser: Browser) -> None:
    """Watch the picture come, change one thing in it, and photograph both."""
    browser.click(".thread-card")
    browser.see(".embed-footer", "notes 1 of")
    browser.run("document.querySelectorAll('img').forEach((i) => { i.loading = 'eager'; })")
    title = browser.see(".embed-title", "Recursion 1")
    message = browser.run("return arguments[0].closest('li.message').dataset.id", title)
    place = f'[data-id="{message}"]'
    browser.run("document.querySelector(arguments[0]).focus()", place)
    browser.keys("r")
    browser.see(".composer-note", "Replying to")
    browser.keys("make the hat red")
    browser.run("document.querySelector(arguments[0]).scrollIntoView({block: 'start'})", place)
    shoot(browser, "playground")
    browser.keys(Keys.ENTER)
    browser.until(
        lambda: sum("· notes" in t for t in browser.texts(".embed-footer")) > 1, "the changed picture"
    )
    browser.prefer(dark=False)
    browser.resize(390, 844)
    changed = browser.see(".embed-title", "one thing changed")
    browser.run("arguments[0].closest('li.message').scrollIntoView({block: 'start'})", changed)
    shoot(browser, "playground-phone")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.screenshots", description=__doc__)
    parser.add_argument("--seed", type=int, default=6)
    seed = parser.parse_args().seed
    hidden = {name.upper() for name in Settings.model_fields} | {"DISPLAY", "WAYLAND_DISPLAY"}
    environment = {k: v for k, v in os.environ.items() if k.upper() not in hidden}
    with tempfile.TemporaryDirectory() as folder:
        bot = subprocess.Popen(
            [sys.executable, str(ROOT / "bot.py"), "--no-browser"],
            cwd=Path(folder),
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert bot.stdout is not None
        try:
            links = (re.search(r"http://127\.0\.0\.1:\d+/#\S+", line) for line in bot.stdout)
            url = next(link for link in links if link)[0]
            with open_browser(width=1240, height=860, patience=SECONDS) as browser:
                browser.prefer(dark=True)
                browser.open(url)
                imagine(browser, seed)
                photograph(browser)
        finally:
            bot.terminate()
            bot.wait()


if __name__ == "__main__":
    main()
