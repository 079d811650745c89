"""python -m mrcnn download coco | imagenet: fetch published weights to start a training from."""

import argparse
import dataclasses
import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file lies, how many bytes it has, and the checksum that its publisher gives, if any."""

    url: str
    size: int
    md5: str = ""


# ResNet-101, 81 classes. Its publisher gives no checksum.
COCO = Source("https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5", 257_557_808)
# ResNet-50 without its classifier, as Keras publishes it with this checksum.
IMAGENET = Source(
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    94_653_016,
    "a268eb855778b3df3c7506639542a6af",
)
SOURCES = {"coco": COCO, "imagenet": IMAGENET}
PLACES = {"coco": Path("data/mask_rcnn_coco.h5"), "imagenet": Path("data/resnet50_imagenet.h5")}


class DownloadError(OSError):
    """A file could not be fetched, or is not what it should be; the message says what to do."""


def fetch(source: Source, path: Path, *, sha256: str | None = None, timeout: float = 30) -> str:
    """Bring `source` to `path` and return its SHA-256; a broken download is gone on with.

    What came so far lies in `path` + ".part". The first time, the checksum is recorded in `path` +
    ".sha256"; from then on, and where `sha256` is given, another one raises DownloadError. `timeout` is in
    seconds, for the silence of a server.
    """
    record = Path(f"{path}.sha256")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(f"{path}.part")
        _complete(source, part, path, timeout)
        part.replace(path)
    if path.stat().st_size != source.size:
        raise DownloadError(
            f"{path} has {path.stat().st_size:,} bytes and should have {source.size:,}: "
            "delete it and try again"
        )
    if source.md5:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if digest != source.md5:
            raise DownloadError(
                f"{path} has the MD5 {digest}, its publisher says {source.md5}: delete it and try again"
            )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    known = record.read_text().split()[0] if record.exists() else None
    for wanted, whose in ((sha256, "--sha256"), (known, str(record))):
        if wanted and wanted.lower() != found:
            raise DownloadError(
                f"{path} has the SHA-256 {found}, and {whose} says {wanted}: delete it and try again"
            )
    if known is None:
        record.write_text(f"{found}  {path.name}\n")
    return found


def _complete(source: Source, part: Path, path: Path, timeout: float) -> None:
    """Fetch what is missing of `part`, with a bar on the terminal."""
    have = part.stat().st_size if part.exists() else 0
    if have > source.size:
        part.unlink()
        have = 0
    if have == source.size:
        return
    request = urllib.request.Request(source.url)  # noqa: S310 (ours, or the caller's own)
    if have:
        request.add_header("Range", f"bytes={have}-")
    columns = (
        TextColumn(path.name),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            if answer.status != 206:  # it knows no ranges: from the start
                have = 0
            length = answer.headers.get("Content-Length")
            if length is not None and have + int(length) != source.size:
                raise DownloadError(
                    f"{source.url} offers {have + int(length):,} bytes where {source.size:,} are right: "
                    "nothing was kept; see whether a proxy answered in its place"
                )
            with part.open("ab" if have else "wb") as file, Progress(*columns) as progress:
                task = progress.add_task("", total=source.size, completed=have)
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))
    except urllib.error.HTTPError as err:
        raise DownloadError(
            f"{source.url} answered {err.code} {err.reason}: {_by_hand(source, path)}"
        ) from err
    except (OSError, http.client.HTTPException) as err:
        if isinstance(err, DownloadError):
            raise
        kept = f"{part.stat().st_size:,} bytes are kept, the same command goes on; " if part.exists() else ""
        raise DownloadError(f"{source.url}: {err}; {kept}{_by_hand(source, path)}") from err
    if (got := part.stat().st_size) < source.size:
        raise DownloadError(
            f"the connection ended after {got:,} of {source.size:,} bytes; the same command goes on"
        )


def _by_hand(source: Source, path: Path) -> str:
    return (
        f"without a connection, fetch {source.url} on another machine, put it at {path} and run the same "
        "command, which then checks it"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "what",
        choices=tuple(SOURCES),
        help="Matterport's ResNet-101 for COCO's 80 classes, or Keras' ResNet-50 backbone for ImageNet",
    )
    parser.add_argument("--out", type=Path, help="where to put it (below data/)")
    parser.add_argument("--sha256", help="checksum that it must have, if you know one")
    parser.add_argument("--url", help="another place to fetch it from")


def run(args: argparse.Namespace) -> None:
    """Fetch the file, check it, and say what it is."""
    source, path = SOURCES[args.what], args.out or PLACES[args.what]
    source = dataclasses.replace(source, url=args.url or source.url)
    found = fetch(source, path, sha256=args.sha256)
    Console().print(f"{path}: {source.size:,} bytes, sha256 {found}", highlight=False, soft_wrap=True)
    if not source.md5:
        print("recorded beside it; its publisher gives none to compare with")
    from mrcnn import Config, MaskRCNN  # TensorFlow comes with it

    if args.what == "imagenet":
        from mrcnn.layers import Maker
        from mrcnn.network import build
        from mrcnn.weights import load_backbone

        load_backbone(path, build(Config(backbone="resnet50"), Maker()))
        print("every layer is there: train --backbone resnet50 --weights imagenet")
        return
    MaskRCNN(Config()).load_weights(path)
    print("every layer is there: train --weights coco, or export and detect with --backbone resnet101")
