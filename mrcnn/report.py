"""What a training run says of itself: a table in the terminal, a log, TensorBoard's files, a picture."""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mrcnn.draw import curves

LOSSES = ("rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask")
PRECISIONS = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


class Report:
    """Tell how the run in the folder `out` goes, from step `first` on; a context manager.

    `log.jsonl` has a line a step and one a measurement. What it says of steps after `first` is of a run that
    was killed after its last checkpoint: it goes, for those steps come again. `tensorboard` and `curves.png`
    are made from the log, and so go on as if nothing had happened.
    """

    def __init__(self, out: Path, first: int, steps: int, console: Console | None = None) -> None:
        self._out, self._first, self._steps = out, first, steps
        self._console = console or Console()
        self._smooth, self._rate = np.zeros(len(LOSSES)), 0.0
        self._began = time.monotonic()
        self._step = first
        self._entries = [entry for entry in _read(out / "log.jsonl") if entry["step"] <= first]
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(out / "tensorboard"))
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> "Report":
        part = self._out / "log.jsonl.part"
        part.write_text("".join(json.dumps(entry) + "\n" for entry in self._entries))
        part.replace(self._out / "log.jsonl")
        self._log = (self._out / "log.jsonl").open("a")
        for entry in self._entries:
            self._summarise(entry)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._log.close()
        self._writer.close()
        if self._entries:
            self._draw().save(self._out / "curves.png")

    def flush(self) -> None:
        """Bring what was said so far to the disk."""
        self._log.flush()
        self._writer.flush()

    def stepped(self, step: int, rate: float, values: NDArray[np.float32]) -> None:
        """Tell of a step: its number, learning rate and losses [5], in the order of `LOSSES`."""
        self._step, self._rate = step, rate
        share = max(0.02, 1 / (step - self._first))
        self._smooth += share * (values - self._smooth)
        self._note({"step": step, "rate": rate, **dict(zip(LOSSES, values.tolist(), strict=True))})
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
        elif step % 20 == 0 or step == self._steps:
            parts = "  ".join(f"{n} {v:.3f}" for n, v in zip(LOSSES, self._smooth, strict=True))
            seconds, left = self._pace()
            print(
                f"step {step}/{self._steps}  loss {self._smooth.sum():.3f}  {parts}  {seconds:.2f} s  {left}",
                flush=True,
            )

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Tell of a measurement after `step`: the `PRECISIONS`."""
        self._note({"step": step, **values})
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
        else:
            print(f"step {step}/{self._steps}  " + "  ".join(f"{k} {v:.3f}" for k, v in values.items()))
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print a line; in a terminal it stands above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _note(self, entry: dict[str, Any]) -> None:
        self._entries.append(entry)
        self._log.write(json.dumps(entry) + "\n")
        self._summarise(entry)

    def _summarise(self, entry: Mapping[str, float]) -> None:
        """Write an entry's numbers for TensorBoard, which need not be installed for that."""
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        )
        losses = [entry[name] for name in LOSSES if name in entry]
        values = {**entry, "loss": sum(losses)} if losses else dict(entry)
        with self._writer.as_default():
            for name, value in values.items():
                if name != "step" and np.isfinite(value):
                    folder = "precision" if name in PRECISIONS else "loss" if name in LOSSES else "run"
                    scalar = tf.constant(value, tf.float32)
                    tf.summary.write(f"{folder}/{name}", scalar, step=int(entry["step"]), metadata=metadata)

    def _pace(self) -> tuple[float, str]:
        """Return seconds a step and the time left, in words."""
        seconds = (time.monotonic() - self._began) / max(1, self._step - self._first)
        minutes = round((self._steps - self._step) * seconds / 60)
        return seconds, f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

    def _table(self) -> Table:
        seconds, left = self._pace()
        table = Table(
            title=f"step {self._step} of {self._steps} · {seconds:.2f} s a step · {left} left", min_width=50
        )
        for name in ("", "now", "at best"):
            table.add_column(name, justify="left" if not name else "right")
        table.add_row("loss", f"{self._smooth.sum():.3f}")
        for name, value in zip(LOSSES, self._smooth, strict=True):
            table.add_row(f"  {name}", f"{value:.3f}", style="dim")
        table.add_row("learning rate", f"{self._rate:.2g}", end_section=True)
        measured = [entry for entry in self._entries if PRECISIONS[0] in entry]
        for name in PRECISIONS if measured else ():
            best = max(entry[name] for entry in measured)
            table.add_row(
                name.replace("_", " ").replace("ap", "AP"), f"{measured[-1][name]:.3f}", f"{best:.3f}"
            )
        return table

    def _draw(self) -> Any:
        steps = [entry for entry in self._entries if LOSSES[0] in entry]
        measured = [entry for entry in self._entries if PRECISIONS[0] in entry]
        return curves(
            [entry["step"] for entry in steps],
            {name: [entry[name] for entry in steps] for name in LOSSES},
            [entry["step"] for entry in measured],
            {name: [entry[name] for entry in measured] for name in PRECISIONS} if measured else {},
        )


def _read(path: Path) -> list[dict[str, Any]]:
    """Read a log; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
