"""The command line: python -m mrcnn train | detect | evaluate | inspect | export | download."""

import argparse
import collections
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn import download, export

# A network of few channels for weights of a few megabytes; anchors for objects of 4 to 300 pixels at 320.
SMALL: dict[str, Any] = {
    "backbone": "small",
    "fpn_classif_fc_layers_size": 192,
    "top_down_pyramid_size": 64,
    "rpn_conv_size": 64,
    "mask_conv_size": 64,
    "rpn_anchor_scales": (12, 24, 48, 96, 192),
    "image_min_dim": 320,
    "image_max_dim": 320,
    "images_per_gpu": 4,
    "train_bn": True,
    "train_rois_per_image": 64,
    "rpn_train_anchors_per_image": 128,
    "pre_nms_limit": 1500,
    "post_nms_rois_training": 300,
    "post_nms_rois_inference": 200,
    "max_gt_instances": 50,
    "detection_max_instances": 50,
    "detection_min_confidence": 0.5,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mrcnn", description="Mask R-CNN: find objects in pictures."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    data = "COCO or VIA JSON, a folder with one or of LabelMe files, scenes:FIRST-LAST or shapes:FIRST-LAST"

    train = commands.add_parser("train", help="learn from labelled pictures", formatter_class=_Help)
    train.add_argument("dataset", nargs="+", help=data)
    train.add_argument(
        "--out", type=Path, default=Path("runs/mrcnn"), help="folder of checkpoint and weights"
    )
    train.add_argument("--weights", default="none", help="file to start from, coco, imagenet, or none")
    train.add_argument("--classes", help="comma-separated: learn these only")
    train.add_argument(
        "--backbone", choices=("small", "resnet50", "resnet101"), default="small", help="network"
    )
    train.add_argument("--layers", default="all", help="heads, 3+, 4+, 5+ or all; in stages: heads,4+,all")
    train.add_argument("--steps", default="2000", help="steps, a resumed run's too; in stages: 400,800,800")
    train.add_argument("--lr", type=float, help="learning rate (default: 0.001)")
    train.add_argument("--validate", help="data set to measure on; the best weights are kept")
    train.add_argument("--every", type=int, default=500, help="steps between measurements")
    train.add_argument(
        "--patience", type=int, default=0, help="stop after so many without progress; 0: never"
    )
    train.add_argument("--limit", type=int, default=50, help="pictures of each measurement")
    train.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="sgd is Matterport's")
    train.add_argument("--batch", type=int, help="pictures a step (default: the network's)")
    train.add_argument("--size", type=int, help="side of the network's input, a multiple of 64")
    train.add_argument("--seed", type=int, default=0, help="decides data order, changes and choices")
    train.add_argument(
        "--float32", action="store_true", help="no bfloat16 (slower where the processor has it)"
    )
    train.add_argument(
        "--freeze-bn", action="store_true", help="keep the normalisation statistics of --weights"
    )
    train.add_argument("--no-augment", action="store_true", help="pictures as they are")

    detect = commands.add_parser(
        "detect", help="find objects; writes overlays and JSON", formatter_class=_Help
    )
    detect.add_argument("images", nargs="+", type=Path, help="pictures")
    detect.add_argument("--weights", type=Path, required=True, help="a weights file of ours")
    detect.add_argument("--out", type=Path, default=Path("out"), help="folder of the results")
    detect.add_argument("--score", type=float, help="least score (default: the file's)")

    evaluate = commands.add_parser("evaluate", help="measure average precision", formatter_class=_Help)
    evaluate.add_argument("dataset", help=data)
    evaluate.add_argument("--weights", type=Path, required=True, help="a weights file of ours")
    evaluate.add_argument("--limit", type=int, default=50, help="pictures")
    evaluate.add_argument("--score", type=float, default=0.05, help="least score counted")

    inspect = commands.add_parser(
        "inspect", help="count and draw what a data set holds", formatter_class=_Help
    )
    inspect.add_argument("dataset", help=data)
    inspect.add_argument("--out", type=Path, default=Path("out/inspect.png"), help="contact sheet")
    inspect.add_argument("--limit", type=int, default=200, help="pictures looked at")

    export.add_arguments(commands.add_parser("export", help="write a file for serving, .onnx or .pb"))
    download.add_arguments(
        commands.add_parser("download", help="fetch published weights", formatter_class=_Help)
    )
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults."""


def _train(args: argparse.Namespace) -> None:
    from mrcnn.config import Config
    from mrcnn.data import together, with_classes
    from mrcnn.schedule import Schedule, Validation
    from mrcnn.train import open_any, train

    sets = [open_any(name) for name in args.dataset]
    if args.classes:
        wanted = [name.strip() for name in args.classes.split(",")]
        sets = [with_classes(d, wanted) for d in sets]
    dataset = together(sets)
    validation = None
    if args.validate:
        validation = Validation(open_any(args.validate), args.every, args.patience, args.limit)
    elif args.patience:
        raise ValueError("--patience needs pictures to measure on: --validate")
    settings = dict(SMALL) if args.backbone == "small" else {"backbone": args.backbone}
    if args.batch:
        settings["images_per_gpu"] = args.batch
    if args.size:
        settings["image_max_dim"] = args.size
        settings["image_min_dim"] = args.size if args.backbone == "small" else min(800, args.size)
    if args.freeze_bn:
        settings["train_bn"] = False
    config = Config(num_classes=len(dataset.classes) + 1, **settings)
    schedule = Schedule(
        steps=1,
        learning_rate=args.lr or config.learning_rate,
        optimizer=args.optimizer,
        warmup=50,
        decay=True,
        own_objects=args.backbone == "small",
        augment=not args.no_augment,
        mixed_precision=not args.float32,
        seed=args.seed,
    )
    print(f"{dataset.name}: {dataset.size} pictures, classes {', '.join(dataset.classes)}")
    _warn(dataset)
    stages, steps = args.layers.split(","), [int(n) for n in args.steps.split(",")]
    if len(stages) != len(steps):
        raise ValueError(f"{len(stages)} stages of --layers and {len(steps)} numbers of --steps")
    path: str | Path | None = None if args.weights == "none" else args.weights
    if args.weights in download.PLACES:
        path = download.PLACES[args.weights]
        if not path.is_file():
            raise ValueError(f"{path} is not there: python -m mrcnn download {args.weights}")
    if args.weights == "imagenet" and args.backbone != "resnet50":
        raise ValueError("ImageNet's weights are those of --backbone resnet50")
    for i, (layers, count) in enumerate(zip(stages, steps, strict=True), start=1):
        out = args.out if len(stages) == 1 else args.out / f"{i}-{layers.rstrip('+')}"
        stage = dataclasses.replace(schedule, layers=layers, steps=count)
        backbone = args.weights == "imagenet" and i == 1
        path = train(dataset, config, stage, out, path, only_backbone=backbone, validation=validation)
        print(f"weights: {path}; curves: {out / 'curves.png'}")
    if args.validate:
        args.dataset, args.weights, args.score = args.validate, path, 0.05
        _evaluate(args)


def _warn(dataset: Any, limit: int = 30) -> None:
    """Print what is odd about a data set."""
    for warning in dataset.warnings[:limit]:
        print(f"note: {warning}")
    if len(dataset.warnings) > limit:
        print(f"note: ... and {len(dataset.warnings) - limit} more; inspect lists them all")


def _detect(args: argparse.Namespace) -> None:
    import numpy as np
    from PIL import Image

    from mrcnn.draw import overlay
    from mrcnn.evaluate import found_in

    model = _open(args.weights, args.score)
    args.out.mkdir(parents=True, exist_ok=True)
    found = []
    for number, path in enumerate(args.images, start=1):
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        result = model.detect([image])[0]
        found += [{**f, "file_name": str(path)} for f in found_in(result, number)]
        target = args.out / f"{path.stem}-found.png"
        overlay(image, result, model.classes).save(target)
        names = collections.Counter(model.classes[i - 1] for i in result["class_ids"])
        print(f"{path}: {', '.join(f'{n} {name}' for name, n in names.items()) or 'nothing'} -> {target}")
    categories = [{"id": i, "name": name} for i, name in enumerate(model.classes, start=1)]
    document = {"categories": categories, "annotations": found}
    (args.out / "found.json").write_text(json.dumps(document), encoding="utf-8")


def _evaluate(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from mrcnn.data import with_classes
    from mrcnn.evaluate import evaluate
    from mrcnn.train import open_any

    model = _open(args.weights, args.score)
    dataset = with_classes(open_any(args.dataset), model.classes, absent=True)
    box, mask = evaluate(model, dataset, range(min(args.limit, dataset.size)))
    table = Table("", "objects", "box AP", "box AP50", "mask AP", "mask AP50")
    for name, (ap, ap50, count) in mask.classes.items():
        table.add_row(name, str(count), *(f"{v:.3f}" for v in (*box.classes[name][:2], ap, ap50)))
    table.add_section()
    for kind, b, m in (("small", box.small, mask.small), ("medium", box.medium, mask.medium)):
        table.add_row(kind, "", f"{b:.3f}", "", f"{m:.3f}", "")
    table.add_row("large", "", f"{box.large:.3f}", "", f"{mask.large:.3f}", "")
    total = str(sum(c for _, _, c in mask.classes.values()))
    table.add_row("all", total, *(f"{v:.3f}" for v in (box.ap, box.ap50, mask.ap, mask.ap50)))
    Console().print(table)


def _inspect(args: argparse.Namespace) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from mrcnn.boxes import around_masks
    from mrcnn.data import DatasetError
    from mrcnn.draw import contact_sheet, overlay
    from mrcnn.train import open_any

    try:
        dataset = open_any(args.dataset)
    except DatasetError as err:
        if not err.problems:
            raise
        print("\n".join(err.problems))
        raise ValueError(f"{args.dataset}: {len(err.problems)} problems, listed above") from err
    _warn(dataset, len(dataset.warnings))
    sides: dict[str, list[float]] = {name: [] for name in dataset.classes}
    sizes: collections.Counter[str] = collections.Counter()
    pictures = []
    for index in range(min(args.limit, dataset.size)):
        example = dataset.load(index)
        height, width = example.image.shape[:2]
        sizes[f"{width} x {height}"] += 1
        for mask, class_id in zip(example.masks, example.class_ids, strict=True):
            sides[dataset.classes[abs(class_id) - 1]].append(float(np.sqrt(mask.sum())))
        if len(pictures) < 16:
            masks = example.masks.transpose(1, 2, 0)
            shown = {
                "rois": around_masks(masks),
                "class_ids": np.abs(example.class_ids),
                "scores": np.ones(len(example.class_ids)),
                "masks": masks,
            }
            pictures.append(overlay(example.image, shown, dataset.classes))
    table = Table(
        "class", "objects", "smallest", "median", "largest", title=f"{dataset.name}: pixels, root of area"
    )
    for name, values in sides.items():
        numbers = (min(values), float(np.median(values)), max(values)) if values else ()
        table.add_row(name, str(len(values)), *(f"{v:.0f}" for v in numbers))
    Console().print(table)
    print("pictures:", ", ".join(f"{n} of {size}" for size, n in sizes.most_common(8)))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures).save(args.out)
    print(f"contact sheet: {args.out}")


def _open(path: Path, score: float | None) -> Any:
    """Open a weights file of ours, with another least score if one is given."""
    from mrcnn import MaskRCNN
    from mrcnn.weights import read_description

    config, classes = read_description(path)
    if score is not None:
        config = dataclasses.replace(config, detection_min_confidence=score)
    model = MaskRCNN(config, classes)
    model.load_weights(path)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what is wrong with the input is said in plain words."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = _parser().parse_args(argv)
    command = {
        "train": _train,
        "detect": _detect,
        "evaluate": _evaluate,
        "inspect": _inspect,
        "export": export.run,
        "download": download.run,
    }[args.command]
    try:
        command(args)
    except (ValueError, OSError, FloatingPointError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
