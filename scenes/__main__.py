"""Write drawn scenes: `python -m scenes coco|via|sheet`."""

import argparse
from pathlib import Path

from .datasets import write_coco, write_sheet, write_via


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scenes", description="Draw labelled pastel street scenes."
    )
    parser.add_argument(
        "what", choices=("coco", "via", "sheet"), help="data set in COCO or VIA format, or a sheet"
    )
    parser.add_argument("out", type=Path, help="folder of the data set; the PNG of a sheet")
    parser.add_argument("--count", type=int, default=12, help="how many scenes (12)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene (0)")
    parser.add_argument("--height", type=int, default=192, help="pixels (192)")
    parser.add_argument("--width", type=int, default=192, help="pixels (192); 16:9 scenes draw well too")
    chosen = parser.parse_args(arguments)
    if chosen.count < 1 or chosen.seed < 0 or min(chosen.height, chosen.width) < 32:
        parser.error("--count must be 1 or more, --seed 0 or more, --height and --width 32 or more")
    write = {"coco": write_coco, "via": write_via, "sheet": write_sheet}[chosen.what]
    path = write(chosen.out, count=chosen.count, seed=chosen.seed, height=chosen.height, width=chosen.width)
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
