"""The model's command line: `python -m ldm draw | train | sample | paint-scenes | evaluate`."""

import argparse
import os
import sys
from pathlib import Path

DEFAULT_WEIGHTS = Path("weights/ldm.npz")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; give the exit code."""
    chosen = _parser().parse_args(arguments)
    # Said before TensorFlow is loaded, which happens inside the commands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return chosen.run(chosen)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ldm", description="A small latent diffusion model.")
    commands = parser.add_subparsers(required=True, metavar="command")

    draw = commands.add_parser("draw", help="draw the training pictures")
    draw.add_argument("--cache", type=Path, required=True, help="folder for the drawn shards")
    draw.add_argument(
        "--shards", type=int, default=12, help="shards of 500 square pictures, scenes and inpaints each"
    )
    draw.add_argument("--workers", type=int, default=2)
    draw.set_defaults(run=_draw)

    train = commands.add_parser("train", help="train a part; resumes its run folder")
    parts = train.add_subparsers(required=True, metavar="part")
    for name, steps, rate, text in (
        ("autoencoder", 4000, 1.2e-3, "encoder and decoder"),
        ("decoder", 1500, 4e-4, "the decoder alone, from a trained autoencoder"),
        ("denoiser", 20000, 8e-4, "the denoiser, on a trained autoencoder's latents"),
    ):
        part = parts.add_parser(name, help=text)
        part.add_argument("--cache", type=Path, required=True, help="folder of the drawn shards")
        part.add_argument(
            "--folder", type=Path, default=Path("runs") / name, help="checkpoint, log and sheets"
        )
        part.add_argument("--steps", type=int, default=steps, help=f"steps in all ({steps})")
        part.add_argument("--rate", type=float, default=rate, help=f"learning rate ({rate})")
        part.add_argument(
            "--decay", type=float, default=0.3, help="share of the steps over which it falls to 0"
        )
        part.add_argument("--batch", type=int, default=32 if name == "denoiser" else 16)
        part.add_argument("--every", type=int, default=500, help="steps between checkpoints")
        part.add_argument("--out", type=Path, required=True, help="weights file to write at each checkpoint")
        if name == "decoder":
            part.add_argument("--autoencoder", type=Path, required=True, help="trained autoencoder or model")
        if name == "denoiser":
            part.add_argument(
                "--start", type=Path, required=True, help="trained autoencoder, or a model to train on from"
            )
            part.add_argument(
                "--inpainting", type=float, default=0.31, help="share of batches that repaint (0.31)"
            )
        part.set_defaults(run={"denoiser": _train_denoiser}.get(name, _train_autoencoder))

    sample = commands.add_parser("sample", help="paint a prompt")
    sample.add_argument("prompt")
    sample.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    sample.add_argument("--out", type=Path, required=True, help="PNG to write")
    sample.add_argument("--negative", default="")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--count", type=int, default=1, help="pictures, with the seeds that follow")
    sample.add_argument("--steps", type=int, default=20)
    sample.add_argument("--guidance", type=float, default=3.0)
    sample.add_argument("--height", type=int, default=192)
    sample.add_argument("--width", type=int, default=192)
    sample.set_defaults(run=_sample)

    paint = commands.add_parser(
        "paint-scenes", help="paint drawn scenes over, as pictures with masks (COCO) to train segmenters on"
    )
    paint.add_argument("out", type=Path, help="folder of the data set; what it holds is not painted again")
    paint.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    paint.add_argument("--count", type=int, default=600, help="pictures (600)")
    paint.add_argument("--seed", type=int, default=2_000_000, help="seed of the first scene (2000000)")
    paint.add_argument("--workers", type=int, default=2)
    paint.set_defaults(run=_paint_scenes)

    check = commands.add_parser("evaluate", help="measure on held-out seeds")
    check.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    check.add_argument("--cases", type=int, default=50, help="cases a class")
    check.add_argument("--steps", type=int, default=20)
    check.add_argument("--guidance", type=float, default=3.0)
    check.set_defaults(run=_evaluate)
    return parser


def _draw(chosen: argparse.Namespace) -> int:
    from .data import KINDS, draw_shards

    # A shard of wide pictures for every four of square ones.
    wanted = [(kind, number) for number in range(chosen.shards) for kind in KINDS[:2]]
    wanted += [(kind, number) for number in range((chosen.shards + 3) // 4) for kind in KINDS[2:]]
    for folder in draw_shards(chosen.cache, wanted, 500, chosen.workers):
        print(folder, flush=True)
    return 0


def _train_autoencoder(chosen: argparse.Namespace) -> int:
    from .config import AutoencoderConfig
    from .running import Schedule
    from .train_autoencoder import train_autoencoder

    train_autoencoder(
        chosen.cache,
        chosen.folder,
        config=AutoencoderConfig(),
        schedule=Schedule(chosen.steps, chosen.rate, decay=chosen.decay),
        snapshot=chosen.out,
        batch=chosen.batch,
        every=chosen.every,
        keep_encoder=getattr(chosen, "autoencoder", None),
    )
    return 0


def _train_denoiser(chosen: argparse.Namespace) -> int:
    from .config import DenoiserConfig
    from .running import Schedule
    from .train_denoiser import train_denoiser

    train_denoiser(
        chosen.cache,
        chosen.folder,
        start=chosen.start,
        config=DenoiserConfig(),
        schedule=Schedule(chosen.steps, chosen.rate, decay=chosen.decay),
        snapshot=chosen.out,
        batch=chosen.batch,
        every=chosen.every,
        inpainting=chosen.inpainting,
    )
    return 0


def _sample(chosen: argparse.Namespace) -> int:
    from .model import LatentDiffusion
    from .sheets import write_sheet

    model = LatentDiffusion.load(chosen.weights)
    ignored = model.vocabulary.parse(chosen.prompt).ignored
    if ignored:
        print("not understood: " + ", ".join(ignored), file=sys.stderr)
    pictures = []
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        state = model.start(
            chosen.prompt,
            negative=chosen.negative,
            seed=seed,
            steps=chosen.steps,
            guidance=chosen.guidance,
            height=chosen.height,
            width=chosen.width,
        )
        pictures.append(model.decode(model.advance(state, chosen.steps)))
    write_sheet(chosen.out, [pictures], gap=4 if len(pictures) > 1 else 0)
    return 0


def _paint_scenes(chosen: argparse.Namespace) -> int:
    from .painted import paint_scenes

    seeds = range(chosen.seed, chosen.seed + chosen.count)
    print(paint_scenes(chosen.out, seeds, chosen.weights, chosen.workers))
    return 0


def _evaluate(chosen: argparse.Namespace) -> int:
    from .evaluate import evaluate
    from .model import LatentDiffusion

    model = LatentDiffusion.load(chosen.weights)
    evaluate(model, cases=chosen.cases, steps=chosen.steps, guidance=chosen.guidance)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
