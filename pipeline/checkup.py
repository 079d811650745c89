"""Try out what the settings name, piece by piece, and say what to do about what does not work.

Each probe is independent and bounded in time; none of them paints, changes the database or needs Discord.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import shutil
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.assembly import EMBEDDED_WEIGHTS, TEMPLATE, make_generator, make_writer
from pipeline.domain import Box, Detection
from pipeline.errors import ContextualDiffusionError
from pipeline.executors import make_executor
from pipeline.generators.automatic1111 import Automatic1111
from pipeline.language_server import find_model
from pipeline.process_lock import FileLock
from pipeline.segmentation import SegmentParams, classes_of
from pipeline.settings import ROOT, Settings
from pipeline.store import revisions, sqlite_file

log = logging.getLogger(__name__)

State = Literal["ok", "warn", "fail"]
_LITTLE, _TIGHT = 200 * 2**20, 2 * 2**30  # bytes of disk


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `todo` is a sentence for the operator unless all is well."""

    what: str
    state: State
    said: str
    todo: str = ""


Probe = Callable[[Settings, float], Awaitable[Sequence[Finding]]]  # with the seconds that it has


async def examine(settings: Settings, probes: Mapping[str, Probe], *, timeout: float) -> list[Finding]:
    """Run all probes at once, each for at most `timeout` seconds; the findings are in the probes' order."""

    async def one(what: str, probe: Probe) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(timeout):
                return await probe(settings, timeout)
        except TimeoutError:
            return [
                Finding(
                    what,
                    "fail",
                    f"no answer within {timeout:g} seconds",
                    "Try again when the machine is less busy, or with a larger --timeout.",
                )
            ]
        except ContextualDiffusionError as error:
            said, _, todo = str(error).partition(": ")
            return [Finding(what, "fail", said, _sentence(todo) or "Mend the setting that is named here.")]
        except Exception as error:
            log.debug("the probe of %s broke", what, exc_info=error)
            return [
                Finding(
                    what,
                    "fail",
                    f"{type(error).__name__}: {error}",
                    "This should not happen: report it, with this line.",
                )
            ]

    found = await asyncio.gather(*(one(what, probe) for what, probe in probes.items()))
    return [finding for findings in found for finding in findings]


async def database(settings: Settings, timeout: float) -> list[Finding]:
    """Look whether the database can be reached, is of today's form, is writable, and is free."""
    current, newest = await revisions(settings.database_url)
    file = sqlite_file(settings.database_url)
    kind = "SQLite" if file is not None else "server"
    if current is None:
        return [Finding("database", "ok", f"{kind}: nothing there yet, the first start makes it")]
    if current != newest:
        said = f"{kind}: migration {current}; the next start brings it to {newest}"
        return [Finding("database", "warn", said, "Make a backup before the next start.")]
    said = f"{kind}: migration {current}, writable"
    if file is not None:
        said += f", {await asyncio.to_thread(_size, file)}"
        said += "; a bot is at work on it" if await asyncio.to_thread(_in_use, file) else ""
    return [Finding("database", "ok", said)]


async def disk(settings: Settings, timeout: float) -> list[Finding]:
    """Look how much room there is where the database grows."""
    file = sqlite_file(settings.database_url)
    place = (file or Path("data/x")).absolute()
    folder = next(parent for parent in place.parents if parent.exists())
    free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
    said = f"{free / 2**30:.1f} GiB free where the data is"
    todo = "Make room: each picture takes 0.5 to 3 MiB, and without room nothing can be kept."
    if free < _LITTLE:
        return [Finding("disk", "fail", said, todo)]
    return [Finding("disk", "warn" if free < _TIGHT else "ok", said, todo if free < _TIGHT else "")]


async def executor(settings: Settings, timeout: float) -> list[Finding]:
    """Look whether a worker process starts and answers."""
    async with _opened(settings, timeout) as workers:
        await asyncio.wrap_future(workers.submit(os.getpid))
    return [Finding("executor", "ok", f"{settings.executor_url} starts and answers")]


async def segmenter(settings: Settings, timeout: float) -> list[Finding]:
    """Look whether the weights of each depth are there, whole, and run."""
    params = SegmentParams(min_score=settings.min_score, engine=settings.segmenter_engine)
    found: list[Finding] = []
    async with _opened(settings, timeout) as workers:
        for depth, name in settings.segmenters.items():
            what = f"Mask R-CNN, depth {depth}"
            file = _resolve(name)
            if file is None:
                found.append(
                    Finding(
                        what, "fail", f"there is no file {name}", "Name another in SEGMENTERS, or get it."
                    )
                )
                continue
            origin, broken = await asyncio.to_thread(_origin, file)
            if broken:
                found.append(Finding(what, "fail", f"{name}: {broken}", "Get the file again."))
                continue
            try:
                classes = await asyncio.wrap_future(workers.submit(classes_of, str(file), params))
            except ContextualDiffusionError as error:
                found.append(
                    Finding(what, "fail", str(error), "Name weights that fit, or get the file again.")
                )
                continue
            said = f"{name} ({origin}): {len(classes)} classes, {', '.join(classes[:5])}"
            found.append(Finding(what, "ok", said + (" …" if len(classes) > 5 else "")))
    return found


async def picture_backend(settings: Settings, timeout: float) -> list[Finding]:
    """Look whether what paints is there, and has the checkpoint and the sampler that are asked for."""
    what = "picture backend"
    scheme, _, name = settings.diffusion_url.partition(":")
    if scheme == "embedded":
        return [await asyncio.to_thread(_embedded, what, name or EMBEDDED_WEIGHTS)]
    with ThreadPoolExecutor(1) as nowhere:  # a server needs no workers
        generator = make_generator(settings, nowhere)
    try:
        if isinstance(generator, Automatic1111):
            return await _server(generator, settings, timeout)
        return [Finding(what, "ok", f"{generator.info.name}, not tried")]
    finally:
        await generator.aclose()


async def _server(server: Automatic1111, settings: Settings, timeout: float) -> list[Finding]:
    what = "picture backend"
    checkpoints, samplers = await server.survey(timeout=timeout)
    lacking: list[Finding] = []
    for asked, there, setting in (
        (settings.diffusion_checkpoint, checkpoints, "DIFFUSION_CHECKPOINT"),
        (settings.diffusion_sampler, samplers, "DIFFUSION_SAMPLER"),
    ):
        # Servers take a part of a checkpoint's title or name, and newer ones a sampler with its schedule.
        if asked and not any(
            name.casefold() in asked.casefold() or asked.casefold() in name.casefold() for name in there
        ):
            todo = f"Choose one that the server has: {', '.join(there[:6])}{', …' if len(there) > 6 else ''}."
            lacking.append(Finding(what, "warn", f"the server does not have the {setting} asked for", todo))
    count = f"{len(checkpoints)} names of checkpoints, {len(samplers)} samplers"
    if not checkpoints:
        return [Finding(what, "warn", "the server has no checkpoint", "Put a model into it."), *lacking]
    return [Finding(what, "ok", f"the Stable Diffusion server answers: {count}"), *lacking]


def _embedded(what: str, name: str) -> Finding:
    file = _resolve(name)
    if file is None:
        return Finding(what, "fail", f"there is no file {name}", "Get the whole repository.")
    origin, broken = _origin(file)
    if broken:
        return Finding(what, "fail", f"{name}: {broken}", "Get the file again.")
    if find_spec("tensorflow") is None:
        return Finding(
            what,
            "fail",
            f"{name} needs TensorFlow, which is not installed",
            "Run uv sync, or set DIFFUSION_URL to a Stable Diffusion server.",
        )
    return Finding(what, "ok", f"embedded, {name} ({origin})")


async def language_model(settings: Settings, timeout: float) -> list[Finding]:
    """Have the language model write about one grey thing."""
    what = "language model"
    local = settings.openai_api_key is None and not settings.openai_base_url
    if settings.llm_model == TEMPLATE:
        return [Finding(what, "ok", "none, as LLM_MODEL says: a plain template writes the notes")]
    if local and find_model() is None:
        todo = "Run uv sync, or set OPENAI_API_KEY or OPENAI_BASE_URL; or LLM_MODEL=template to keep it so."
        return [Finding(what, "warn", "none is installed: a plain template writes the notes", todo)]
    writer = make_writer(settings, None)
    try:
        picture, mask = io.BytesIO(), np.zeros((64, 64), np.bool_)  # [H, W]
        mask[16:48, 16:48] = True
        Image.new("RGB", (64, 64), "grey").save(picture, "PNG")
        hat = Detection("Hat", 0.9, Box(16, 16, 48, 48), mask)
        scene = await writer.describe("a hat", [hat], picture=picture.getvalue(), seed=1)
    finally:
        await writer.aclose()
    place = "OPENAI_BASE_URL" if settings.openai_base_url else "OpenAI"
    name = "the embedded one" if local else f"{settings.llm_model} at {place}"
    if not scene.source.startswith("template"):
        return [Finding(what, "ok", f"{name} answers ({scene.source})")]
    why = scene.source.removeprefix("template").strip(" ()")
    todo = "Look into the log." if local else _WHAT_THEN.get(why, _WHAT_THEN[""])
    return [Finding(what, "fail", f"{name}: {why}", todo)]


_WHAT_THEN = {
    "the language model refused the key": "Set OPENAI_API_KEY to a key that this server accepts.",
    "the language model was not found": "Set LLM_MODEL to a model of this server, and check OPENAI_BASE_URL.",
    "the language model had no time": "Try later; check the account's limits.",
    "the language model's answer could not be used": "Choose a model that can answer in JSON.",
    "": "Check OPENAI_BASE_URL, and that the server runs.",
}

PROBES: Mapping[str, Probe] = {
    "database": database,
    "disk": disk,
    "executor": executor,
    "picture backend": picture_backend,
    "Mask R-CNN": segmenter,
    "language model": language_model,
}


def name_writer(settings: Settings) -> str:
    """Name what writes stories and tags, without asking it."""
    if settings.llm_model == TEMPLATE:
        return TEMPLATE
    if settings.openai_api_key is None and not settings.openai_base_url:
        model = find_model()
        return model.name.split(".")[0] if model else TEMPLATE
    return settings.llm_model


@asynccontextmanager
async def _opened(settings: Settings, timeout: float) -> AsyncIterator[Executor]:
    """Open the executor with a deadline, and leave it without waiting for what it may be stuck in."""
    workers = make_executor(
        settings.executor_url, timeout=timeout, threads=settings.worker_threads, retries=0
    )
    try:
        yield workers
    finally:
        workers.shutdown(wait=False, cancel_futures=True)


def _resolve(name: str) -> Path | None:
    return next((path for path in (Path(name), ROOT / name) if path.is_file()), None)


def _origin(file: Path) -> tuple[str, str]:
    """Return where a weights file comes from, and what is wrong with it, "" if nothing is."""
    with file.open("rb") as opened:
        start = opened.read(64)
        if start.startswith(b"version https://git-lfs"):
            return "", "it is only a pointer to a file; run git lfs pull"
        opened.seek(0)
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return "", "it is damaged"
        except zipfile.BadZipFile:
            return "", "it is damaged"
    elif file.suffix == ".npz":
        return "", "it is damaged"
    listed = ROOT / "weights" / "README.md"
    shipped = listed.is_file() and digest in listed.read_text("utf-8")
    return f"{'as shipped' if shipped else 'your own'}, sha256 {digest[:10]}", ""


def _size(file: Path) -> str:
    return f"{file.stat().st_size / 2**20:.1f} MiB"


def _in_use(file: Path) -> bool:
    lock = Path(f"{file}.discord.lock")
    if not lock.exists():
        return False
    with FileLock(lock) as free:
        return not free


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
