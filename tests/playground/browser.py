"""A headless Chromium that does what a person would, and waits for what a person would see."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--force-device-scale-factor=1", "--lang=en-US"),
)
_SHOWN = """
const [selector, text] = arguments;
const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && e.innerText.includes(text);
return [...document.querySelectorAll(selector)].filter(shown);
"""
# What a person would not even notice: the element was drawn anew, or has not come to rest.
_PASSING = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementNotInteractableException,
    ElementClickInterceptedException,
    IndexError,
)
_SECONDS = 45.0  # only how long a failure takes


def programs() -> tuple[str, str]:
    """Return Chromium and its driver; a missing one fails with what to install."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise AssertionError(
            "the page is tested in Chromium: install it and its driver, on Debian with "
            "`apt-get install -y --no-install-recommends chromium chromium-driver fonts-noto-color-emoji`"
        )
    return chromium, driver


@contextlib.contextmanager
def open_browser(*, width: int = 1200, height: int = 850, patience: float = _SECONDS) -> Iterator[Browser]:
    """Start a browser with an empty profile. Sizes are those of the page, in pixels; patience in seconds."""
    chromium, driver = programs()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        chrome = webdriver.Chrome(options=options, service=Service(driver))
        try:
            browser = Browser(chrome, patience)
            browser.resize(width, height)
            browser.prefer(dark=False)
            yield browser
        finally:
            chrome.quit()


class Browser:
    """One tab. Places are CSS selectors; waits end with what is on the page in the message."""

    def __init__(self, chrome: webdriver.Chrome, patience: float) -> None:
        self.chrome = chrome
        self._patience = patience  # seconds

    def resize(self, width: int, height: int) -> None:
        """Set the page's size, a phone's too, which no window could have."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, *, dark: bool) -> None:
        """Set what the system's colours are."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, url: str) -> None:
        """Go to an address and wait until the page can be used."""
        self.chrome.get(url)
        self.see("#text, .command")

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Return the condition's first true result."""

        def tried(_: object) -> T:
            return condition()

        wait = WebDriverWait(
            self.chrome,
            self._patience,
            0.05,
            _PASSING,
        )
        try:
            return wait.until(tried)
        except Exception as error:
            raise AssertionError(f"not seen: {what}; the page shows:\n{self.text('body')}") from error

    def see(self, selector: str, text: str = "") -> WebElement:
        """Return the last shown element of a selector that has this text."""
        return self.until(lambda: self._shown(selector, text)[-1], f"{selector} {text!r}")

    def _shown(self, selector: str, text: str) -> list[WebElement]:
        # In one call: asked element by element, a busy machine is busier with asking than with the page.
        found: list[WebElement] = self.chrome.execute_script(_SHOWN, selector, text)
        return found

    def gone(self, selector: str, text: str = "") -> None:
        """Wait until nothing of a selector with this text is shown."""
        self.until(lambda: not self._shown(selector, text), f"the end of {selector} {text!r}")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of what is shown of a selector, now."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        found: list[str] = self.chrome.execute_script(script, selector)
        return found

    def all(self, selector: str) -> list[WebElement]:
        """Return every element of a selector, now."""
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return an element's text, now."""
        return self.chrome.find_element(By.CSS_SELECTOR, selector).text

    def click(self, selector: str, text: str = "") -> None:
        """Click on what is shown, as soon as it stands still enough to be clicked."""

        def clicked() -> bool:
            self.see(selector, text).click()
            return True

        self.until(clicked, f"{selector} {text!r} to click on")

    def hover(self, selector: str, text: str = "") -> WebElement:
        """Put the pointer over an element."""
        element = self.see(selector, text)
        self.hover_over(element)
        return element

    def hover_over(self, element: WebElement) -> None:
        """Put the pointer over an element that was found."""
        ActionChains(self.chrome).move_to_element(element).perform()

    def menu(self, element: WebElement) -> None:
        """Open an element's context menu with the right button."""
        ActionChains(self.chrome).context_click(element).perform()

    def keys(self, *keys: str) -> None:
        """Press keys wherever the keyboard is."""
        chain = ActionChains(self.chrome)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def choose_all(self) -> None:
        """Mark all of a text, so that what is typed takes its place."""
        ActionChains(self.chrome).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()

    def run(self, script: str, *arguments: object) -> object:
        """Run a script's body in the page and return what it returns."""
        return self.chrome.execute_script(script, *arguments)

    def shoot(self, path: Path) -> None:
        """Save a screenshot (PNG)."""
        path.write_bytes(self.chrome.get_screenshot_as_png())

    def complaints(self) -> list[str]:
        """Return the errors that the page wrote to its console since the last call."""
        entries = self.chrome.get_log("browser")  # type: ignore[attr-defined]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
