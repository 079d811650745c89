"""python -m mrcnn export: weights to a file that is served without Keras."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mrcnn import weights
from mrcnn.config import BACKBONES, Config


def export(
    path: str | Path,
    out: str | Path,
    config: Config | None = None,
    classes: Sequence[str] | None = None,
) -> Path:
    """Write weights (`.h5`) as `.onnx` for ONNX Runtime or as `.pb`, a frozen graph of TensorFlow.

    `config` and `classes` are for files that hold neither, such as Matterport's. Both are kept in what is
    written. Raises ValueError for another kind of file, and WeightsError where the weights do not fit.
    """
    out = Path(out)
    if config is None:
        config, classes = weights.read_description(path)
    if classes is None:
        classes = [f"class {i}" for i in range(1, config.num_classes)]
    if len(classes) != config.num_classes - 1:
        raise ValueError(
            f"{len(classes)} classes for num_classes {config.num_classes}, which counts the background"
        )
    if out.suffix == ".onnx":
        from mrcnn import onnx_graph

        model = onnx_graph.build(weights.read_groups(path), config, classes, name=str(path))
        data = model.SerializeToString(deterministic=True)
    elif out.suffix == ".pb":
        from mrcnn import frozen  # TensorFlow comes with it

        data = frozen.freeze(path, config, classes).SerializeToString(deterministic=True)
    else:
        raise ValueError(f"{out}: the name must end in .onnx or .pb")
    temporary = Path(f"{out}.part")
    temporary.write_bytes(data)
    temporary.replace(out)
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("weights", type=Path, help="weights file: ours, or Matterport's with --backbone")
    parser.add_argument(
        "out", type=Path, help="file to write: NAME.onnx (ONNX Runtime) or NAME.pb (TensorFlow)"
    )
    parser.add_argument(
        "--backbone", choices=BACKBONES, help="network of a file that does not say it, such as Matterport's"
    )
    parser.add_argument(
        "--classes", help="class names of such a file, comma-separated, without the background"
    )
    parser.add_argument("--config", help='other settings of such a file as JSON: {"image_max_dim": 512}')


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    config, classes = None, None
    if args.backbone or args.classes or args.config:
        given = json.loads(args.config) if args.config else {}
        if args.backbone:
            given["backbone"] = args.backbone
        if args.classes:
            classes = [name.strip() for name in args.classes.split(",")]
            given["num_classes"] = len(classes) + 1
        config = Config.from_json(json.dumps(given))
    out = export(args.weights, args.out, config, classes)
    print(f"wrote {out}, {out.stat().st_size / 2**20:.1f} MB")
