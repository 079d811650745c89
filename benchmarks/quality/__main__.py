"""Print and draw how good the shipped models are, on held-out seeds, with 95 % intervals.

    python -m benchmarks.quality                            (everything; hours on a busy machine)
    python -m benchmarks.quality --part inpaint --cases 50 --workers 2
    python -m benchmarks.quality --part sheet               (twelve sessions to look at)

Results are kept line by line in runs/quality/<weights>/: a stopped run goes on, other weights have a folder
of their own. `--part report` only prints and draws what there is. Shares have Wilson's interval, means one
from the bootstrap.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from . import chart
from .figures import Figure, fingerprint, read_records

if TYPE_CHECKING:
    from .studio import Files

PARTS = ("text", "inpaint", "segmenters", "session", "sheet")
Group = tuple[str, list[Figure]]


def main() -> None:
    """Measure the parts that are asked for, then print and draw all that is there."""
    args = _parser().parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if args.workers > 1:
        # Two processes with a thread each paint more than one with two.
        os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    from .studio import Files

    files = Files(args.painter, args.surface, args.detail)
    folder = args.out / fingerprint((files.painter, files.surface, files.detail))
    folder.mkdir(parents=True, exist_ok=True)
    for part in args.part or PARTS:
        _measure(part, args, files, folder)
    console = Console(width=150)
    groups = report(console, folder)
    if groups:
        chart.draw_chart(folder / "figures.png", groups)
        console.print(f"drawn: {folder / 'figures.png'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=(*PARTS, "report"), action="append", help="all if none is named")
    parser.add_argument("--cases", type=int, default=50, help="cases a class, pictures a kind (50)")
    parser.add_argument("--baselines", type=int, default=4, help="cases a class with the baselines too (4)")
    parser.add_argument("--sessions", type=int, default=3, help="sessions that are timed (3)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1); sessions run one by one")
    parser.add_argument("--painter", type=Path, default=Path("weights/ldm.npz"))
    parser.add_argument("--surface", type=Path, default=Path("weights/surface.h5"))
    parser.add_argument("--detail", type=Path, default=Path("weights/detail.h5"))
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    return parser


def _measure(part: str, args: argparse.Namespace, files: Files, folder: Path) -> None:
    from . import inpaint, segmenters, sessions, text

    if part == "text":
        text.run(files, folder, args.cases, args.workers)
    elif part == "inpaint":
        _, accuracy = inpaint.run(files, folder, args.cases, min(args.baselines, args.cases), args.workers)
        (folder / "pattern-judge.txt").write_text(f"{accuracy:.3f}", "utf-8")
    elif part == "segmenters":
        segmenters.run(files, folder, args.cases, args.workers)
    elif part in ("session", "sheet"):
        records = sessions.run(files, folder, sessions.SHEET if part == "sheet" else args.sessions)
        sessions.sheet(folder, records, folder / "sheet.png")


def report(console: Console, folder: Path) -> list[Group]:
    """Print all that was measured; give the groups of figures to draw."""
    from . import inpaint, segmenters, sessions, text

    groups: list[Group] = []
    if records := read_records(folder / "text.jsonl"):
        groups.append((f"Text to image, {len(records)} prompts", text.figures(records)))
        _print(console, *groups[-1])
    if records := read_records(folder / "inpaint.jsonl"):
        judge = folder / "pattern-judge.txt"
        if judge.exists():
            console.print(f"The judge of patterns: {judge.read_text()} right on held-out drawn crops.")
        _print_wide(console, "Repainting, by way", _by_method(records))
        ours = [r for r in records if r["method"] == inpaint.OURS]
        groups.append((f"Repainting, {len(ours)} cases", inpaint.figures(ours)))
        _print_wide(console, "Repainting, by the mask's area", inpaint.by_bucket(records))
        classes = inpaint.by_class(records)
        _print_wide(console, "Repainting, by class", classes)
        groups.append(
            (
                "Asked colour, by class",
                [
                    Figure(name, f.value, f.low, f.high, f.count, f.target)
                    for name, (f, *_) in classes.items()
                ],
            )
        )
    if records := read_records(folder / "segmenters.jsonl"):
        groups.append(("Segmenters", segmenters.figures(records)))
        _print(console, *groups[-1])
        _print_wide(console, "Segmenters, by class", segmenters.by_class(records))
    if records := read_records(folder / "sessions.jsonl"):
        groups.append((f"Sessions, {len(records)}", sessions.figures(records)))
        _print(console, *groups[-1])
    return groups


def _by_method(records: list[dict]) -> dict[str, list[Figure]]:
    """Compare the ways on the cases that all of them have; ours stands there with all its cases too."""
    from . import inpaint

    def case(record: dict) -> str:
        return record["key"].removesuffix(record["method"])

    shared = {case(r) for r in records if r["method"] == inpaint.METHODS[-1]}
    columns = {"ours, all": inpaint.figures([r for r in records if r["method"] == inpaint.OURS])}
    for method in inpaint.METHODS:
        columns[method] = inpaint.figures([r for r in records if r["method"] == method and case(r) in shared])
    return columns


def _print(console: Console, title: str, figures: Sequence[Figure]) -> None:
    table = Table("what", "value, 95 % interval", "cases", "asked", title=title, title_justify="left")
    for figure in figures:
        table.add_row(figure.name, _said(figure), str(figure.count), _wanted(figure))
    console.print(table)


def _print_wide(console: Console, title: str, columns: dict[str, list[Figure]]) -> None:
    """Print one table with a row a column when there are many, else a column each."""
    names = [figure.name for figure in next(iter(columns.values()))]
    if len(columns) > len(names):
        table = Table("", *names, title=title, title_justify="left")
        for name, figures in columns.items():
            table.add_row(name, *(f"{_said(f)} n={f.count}" for f in figures))
    else:
        table = Table("what", *columns, title=title, title_justify="left")
        for row in zip(*columns.values(), strict=True):
            table.add_row(row[0].name, *(f"{_said(f)} n={f.count}" for f in row))
    console.print(table)


def _said(figure: Figure) -> str:
    if figure.target is None or not figure.count:
        return str(figure)
    met = figure.target[0] <= figure.value <= figure.target[1]
    return f"[{'green' if met else 'red'}]{figure}[/]"


def _wanted(figure: Figure) -> str:
    return "" if figure.target is None else f"{figure.target[0]:g} to {figure.target[1]:g}"


if __name__ == "__main__":
    main()
