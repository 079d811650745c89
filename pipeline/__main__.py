"""The pipeline on the command line, without Discord: imagine, show, replay."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import sys
import uuid
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

from pipeline import provenance, sheet
from pipeline.assembly import open_pipeline
from pipeline.domain import Progress as Going
from pipeline.domain import Session, Step, StepFailed, StepKind, StepState
from pipeline.engine import Pipeline
from pipeline.errors import ContextualDiffusionError, InvalidRequest
from pipeline.render import outlined
from pipeline.settings import Settings, explain
from pipeline.store import Store, migrate

CLIENT = "cli"
console = Console(highlight=False)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the process's exit status."""
    args = _parser().parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        console.print(f"[red]{escape(explain(error))}")
        return 2
    logging.basicConfig(level=settings.log_level if args.verbose else "ERROR")
    try:
        migrate(settings.database_url)
        return asyncio.run(_COMMANDS[args.command](args, settings))
    except ContextualDiffusionError as error:
        console.print(f"[red]{escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. What was painted is kept: `python -m pipeline resume` goes on.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="log what happens to the terminal")
    commands = parser.add_subparsers(dest="command", required=True)
    imagine = commands.add_parser("imagine", help="paint a prompt and make it richer, object by object")
    imagine.add_argument("prompt")
    imagine.add_argument("--depth", type=int, default=1, help="recursions after the first picture (1)")
    imagine.add_argument("--seed", type=int, help="0 to 4294967295; the same seed gives the same pictures")
    imagine.add_argument("--negative", default="", help="what the picture should not show")
    imagine.add_argument("--width", type=int)
    imagine.add_argument("--height", type=int)
    imagine.add_argument("--image", type=Path, help="a PNG, JPEG or WebP picture to start from")
    imagine.add_argument("--strength", type=float, help="how far to leave that picture, up to 1 (0.6)")
    show = commands.add_parser("show", help="list sessions, or show one with its story and notes")
    show.add_argument("session", type=int, nargs="?")
    tweak = commands.add_parser("tweak", help='change objects of a picture: tweak STEP "2: red leather"')
    tweak.add_argument("step", type=int)
    tweak.add_argument("reply")
    deeper = commands.add_parser("recurse", help="one recursion deeper from a step's picture")
    deeper.add_argument("step", type=int)
    resume = commands.add_parser("resume", help="go on with a session that was interrupted or failed")
    resume.add_argument("session", type=int)
    replay = commands.add_parser("replay", help="paint a session again from its record and compare")
    replay.add_argument("session", type=int)
    for command in (imagine, show, tweak, deeper, resume, replay):
        command.add_argument("--out", type=Path, default=Path("out"), help="where pictures are written (out)")
    return parser


async def _imagine(args: argparse.Namespace, settings: Settings) -> int:
    try:
        image = None if args.image is None else args.image.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{args.image} cannot be read ({error.strerror}).") from error
    async with open_pipeline(settings) as pipeline:
        session = await pipeline.imagine(
            args.prompt,
            client=CLIENT,
            owner="",
            request=uuid.uuid4().hex,
            seed=args.seed,
            depth=args.depth,
            negative_prompt=args.negative,
            width=args.width,
            height=args.height,
            image=image,
            strength=args.strength,
        )
        return await _work(pipeline, session, args.out)


async def _tweak(args: argparse.Namespace, settings: Settings) -> int:
    async with open_pipeline(settings) as pipeline:
        step = await pipeline.tweak(args.step, args.reply, asked_by="", origin=f"cli:{uuid.uuid4().hex}")
        return await _work(pipeline, await pipeline.store.session(step.session_id), args.out)


async def _recurse(args: argparse.Namespace, settings: Settings) -> int:
    async with open_pipeline(settings) as pipeline:
        step = await pipeline.recurse(args.step, asked_by="", origin=f"cli:{uuid.uuid4().hex}")
        return await _work(pipeline, await pipeline.store.session(step.session_id), args.out)


async def _resume(args: argparse.Namespace, settings: Settings) -> int:
    async with open_pipeline(settings) as pipeline:
        session = await pipeline.store.session(args.session)
        for step in await pipeline.store.steps(session.id):
            await pipeline.retry(step.id)
        return await _work(pipeline, session, args.out)


async def _replay(args: argparse.Namespace, settings: Settings) -> int:
    async with open_pipeline(settings) as pipeline:
        copy = await pipeline.replay(args.session, client=CLIENT, request=uuid.uuid4().hex)
        status = await _work(pipeline, copy, args.out)
        table = Table("step", "replayed as", "SHA-256", "result", title=f"Replay of session {args.session}")
        for step in await pipeline.store.steps(copy.id):
            original = int(step.origin.rsplit(":", 1)[1])
            then, now = [await pipeline.store.picture(number) for number in (original, step.id)]
            same = then is not None and then == now
            status = status if same else 1
            digest = hashlib.sha256(now or b"").hexdigest()
            table.add_row(str(original), str(step.id), digest[:16], "identical" if same else "[red]different")
        console.print(table)
        return status


async def _show(args: argparse.Namespace, settings: Settings) -> int:
    store = Store(settings.database_url)
    try:
        if args.session is None:
            table = Table("session", "made", "from", "seed", "prompt")
            for session in await store.sessions():
                made = f"{session.created_at.astimezone():%Y-%m-%d %H:%M}"
                table.add_row(
                    str(session.id), made, session.client, str(session.seed), escape(session.prompt[:80])
                )
            console.print(table)
            return 0
        session = await store.session(args.session)
        await _tell(store, session)
        await _write(store, session, args.out)
        return 0
    finally:
        await store.aclose()


async def _work(pipeline: Pipeline, session: Session, out: Path) -> int:
    """Run a session's unfinished steps, parents first, then show and write what there is."""
    failed = False
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        for step in await pipeline.store.steps(session.id):
            if step.state not in (StepState.QUEUED, StepState.RUNNING):
                continue
            bar = bars.add_task(_title(step), total=1.0)
            async for event in pipeline.run(step.id):
                if isinstance(event, Going):
                    words = {"paint": "painting", "find": "finding objects", "describe": "writing the story"}
                    doing = words.get(event.stage, f"repainting {event.label}")
                    bars.update(bar, completed=event.share, description=escape(f"{_title(step)}: {doing}"))
                elif isinstance(event, StepFailed):
                    failed = True
                    bars.update(bar, description=f"{_title(step)}: failed")
                    console.print(f"[red]{escape(event.message)}")
            if failed:
                break
            bars.update(bar, completed=1.0, description=_title(step))
    await _tell(pipeline.store, session)
    await _write(pipeline.store, session, out)
    if failed:
        console.print(f"To go on from here: python -m pipeline resume {session.id}")
    return 1 if failed else 0


def _title(step: Step) -> str:
    if step.kind is StepKind.GENERATE:
        return "First picture"
    return f"Recursion {step.depth}" if step.kind is StepKind.RECURSE else f"Tweak: {step.request[:40]}"


async def _tell(store: Store, session: Session) -> None:
    """Print a session's tree with its stories and notes."""
    tree = Tree(f"[bold]Session {session.id}[/] seed {session.seed}: {escape(session.prompt)}")
    branches: dict[int | None, Tree] = {None: tree}
    for step in await store.steps(session.id):
        state = "" if step.state is StepState.DONE else f" [red]({step.state})[/]"
        node = branches[step.parent_id].add(f"[bold]{escape(_title(step))}[/] · step {step.id}{state}")
        branches[step.id] = node
        if step.story:
            node.add(f"[italic]{escape(step.story)}[/] [dim]({escape(step.source)})")
        for item in await store.objects(step.id):
            if item.repaint:
                node.add(f"{item.number} [cyan]{escape(item.name)}[/]: {escape(', '.join(item.tags))}")
        for note in (*step.notes, *filter(None, [step.error])):
            node.add(f"[yellow]{escape(note)}")
    console.print(tree)


async def _write(store: Store, session: Session, out: Path) -> None:
    """Write a session's pictures, overlays, contact sheet and JSON below `out`."""
    folder = out / f"session-{session.id}"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[sheet.Row] = []
    record = []
    pictures: dict[int, bytes] = {}
    for step in await store.steps(session.id):
        png = await store.picture(step.id)
        if step.state is not StepState.DONE or png is None:
            continue
        pictures[step.id] = png
        objects = await store.objects(step.id)
        name = f"{len(rows)}-{step.kind.value}"
        (folder / f"{name}.png").write_bytes(png)
        before = None
        if step.parent_id is not None and objects:
            overlay = outlined(pictures[step.parent_id], [item.detection for item in objects])
            (folder / f"{name}-objects.png").write_bytes(overlay)
            before = provenance.decode(overlay)
        rows.append(
            sheet.Row(f"{_title(step)} · step {step.id}", before, provenance.decode(png), step.story, objects)
        )
        record.append(
            {
                "step": step.id,
                "parent": step.parent_id,
                "picture": f"{name}.png",
                "sha256": hashlib.sha256(png).hexdigest(),
                "notes": list(step.notes),
                **(provenance.read(png) or {}),
            }
        )
    if not rows:
        return
    sheet.contact_sheet(session.prompt, rows).save(folder / "contact-sheet.png")
    text = json.dumps(
        {"session": session.id, "prompt": session.prompt, "seed": session.seed, "steps": record},
        ensure_ascii=False,
        indent=2,
    )
    (folder / "session.json").write_text(text + "\n", encoding="utf-8")
    console.print(f"Pictures, contact sheet and session.json are in [bold]{escape(str(folder))}")


_COMMANDS = {
    "imagine": _imagine,
    "show": _show,
    "tweak": _tweak,
    "recurse": _recurse,
    "resume": _resume,
    "replay": _replay,
}

if __name__ == "__main__":
    sys.exit(main())
