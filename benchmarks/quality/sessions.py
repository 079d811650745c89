"""Whole sessions through the product's pipeline, without Discord: seconds, memory, pictures to look at."""

import asyncio
import os
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline import provenance
from pipeline.assembly import open_pipeline
from pipeline.domain import ObjectsFound, StepFailed
from pipeline.engine import Pipeline
from pipeline.settings import Settings
from pipeline.store import migrate

from .figures import Figure, Record, add_record, mean, read_records
from .studio import SESSION_SEEDS, Files
from .text import ask

RECURSIONS = 2
SHEET = 12  # sessions
_PANEL = 320  # pixels a picture in the sheet
_SHORT = (
    "red jacket",
    "a girl in a blue dress, starry night",
    "sunset, yellow hat, white shirt, green skirt",
    "purple dress by the river",
)


def prompt_of(number: int) -> str:
    """Word a session: every third one short, as members write, the others in full."""
    return _SHORT[number // 3 % len(_SHORT)] if number % 3 == 2 else ask(1000 + number).prompt


def run(files: Files, folder: Path, count: int) -> list[Record]:
    """Run the sessions that have no record yet, in one process after the other's start."""
    path = folder / "sessions.jsonl"
    done = {record["key"] for record in read_records(path)}
    missing = [number for number in range(count) if str(number) not in done]
    database = (folder / f"sessions-{os.getpid()}.sqlite").resolve()
    settings = Settings(
        database_url=f"sqlite+aiosqlite:///{database}",
        diffusion_url=f"embedded:{files.painter.resolve()}",
        segmenters={0: str(files.surface), 1: str(files.detail)},
    )
    if missing:
        migrate(settings.database_url)
        asyncio.run(_run(settings, folder, path, missing))
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    return read_records(path)


async def _run(settings: Settings, folder: Path, path: Path, numbers: list[int]) -> None:
    async with open_pipeline(settings) as pipeline:
        # A bot has been running for long when it is asked: the first session loads the models.
        warm = asyncio.get_running_loop().time()
        await _session(pipeline, folder, "warm", "1girl, red jacket, day sky", 1, save=False)
        print(f"start and a first session: {asyncio.get_running_loop().time() - warm:.0f} s", flush=True)
        for number in numbers:
            record = await _session(pipeline, folder, str(number), prompt_of(number), number, save=True)
            add_record(path, record)
            print(f"session {number}: {record['seconds']:.0f} s, {record['memory']:.2f} GB", flush=True)


async def _session(
    pipeline: Pipeline, folder: Path, key: str, prompt: str, number: int, *, save: bool
) -> Record:
    with Memory() as memory:
        began = time.monotonic()
        session = await pipeline.imagine(
            prompt,
            client="benchmark",
            owner="",
            request=key,
            seed=(SESSION_SEEDS + number) % 2**32,
            depth=RECURSIONS,
        )
        seconds, objects, errors = [], [], []
        for step in await pipeline.store.steps(session.id):
            start = time.monotonic()
            async for event in pipeline.run(step.id):
                if isinstance(event, ObjectsFound):
                    objects.append([item.detection.label for item in event.objects])
                elif isinstance(event, StepFailed):
                    errors.append(event.message)
            seconds.append(time.monotonic() - start)
        took = time.monotonic() - began
    stories = []
    for number, step in enumerate(await pipeline.store.steps(session.id)):
        png = await pipeline.store.picture(step.id)
        stories.append(step.story)
        if png is not None and save:
            target = folder / "sheet" / f"{key}-{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png)
    return {
        "key": key,
        "prompt": prompt,
        "seconds": took,
        "steps": seconds,
        "memory": memory.peak / 2**30,
        "objects": objects,
        "stories": stories,
        "errors": errors,
    }


class Memory:
    """Watch what this process and all below it hold together: proportional set sizes, sampled."""

    def __init__(self, every: float = 0.5) -> None:
        self.peak = 0  # bytes
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, held())

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.peak = max(self.peak, held())


def held() -> int:
    """Give the bytes that this process and its descendants hold now; memory they share counts once."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in brackets may hold anything: what follows the last bracket is plain.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for pid in family:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it ended
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def figures(records: list[Record]) -> list[Figure]:
    """Sum up."""
    good = [r for r in records if not r["errors"]]
    return [
        mean("seconds a session of two recursions, after start", [r["seconds"] for r in good], (0.0, 60.0)),
        mean("  the longest", [max((r["seconds"] for r in good), default=0.0)] if good else []),
        mean("objects repainted a session", [sum(map(len, r["objects"])) for r in good]),
        mean("peak memory of all processes, GB", [r["memory"] for r in good], (0.0, 3.0)),
        mean("  the highest", [max((r["memory"] for r in good), default=0.0)] if good else []),
        mean("sessions that ended with an error", [float(bool(r["errors"])) for r in records]),
    ]


def sheet(folder: Path, records: list[Record], out: Path) -> None:
    """Draw the sessions' pictures: first picture, recursion 1, recursion 2; two sessions a row."""
    font = ImageFont.load_default(15)
    cells = []
    for record in sorted(records, key=lambda r: int(r["key"]))[:SHEET]:
        cell = Image.new("RGB", (_PANEL * 3 + 24, _PANEL + 28), (250, 247, 242))
        ImageDraw.Draw(cell).text((4, 5), record["prompt"][:130], (42, 40, 54), font)
        for number in range(RECURSIONS + 1):
            file = folder / "sheet" / f"{record['key']}-{number}.png"
            if file.exists():
                picture = Image.fromarray(provenance.decode(file.read_bytes()))
                cell.paste(
                    picture.resize((_PANEL, _PANEL), Image.Resampling.LANCZOS), (number * (_PANEL + 4), 26)
                )
        cells.append(np.asarray(cell))
    if not cells:
        return
    cells += [np.full_like(cells[0], 250)] * (len(cells) % 2)
    rows = [np.concatenate(cells[i : i + 2], 1) for i in range(0, len(cells), 2)]
    Image.fromarray(np.concatenate(rows)).save(out)
