"""A session as zip files: every picture and mask, and a JSON with all that painting it again needs."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from PIL import Image

from pipeline import provenance, tree
from pipeline.domain import SceneObject, Session, Step, StepState
from pipeline.render import outlined
from pipeline.store import Store, mask_to_png

FORMAT = "contextual-diffusion session"
FORMAT_VERSION = 1

_ENTRY, _END = 200, 200  # bytes that an entry and the end of a zip need at most beside names and data
_STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: equal sessions give equal files


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One file of an export; a preview may be left out, for it can be made again."""

    path: str
    data: bytes
    preview: bool = False

    @property
    def cost(self) -> int:
        """Bytes that the entry takes in a zip, at most."""
        packed = len(zlib.compress(self.data)) if self._is_text else len(self.data)
        return packed + 2 * len(self.path.encode()) + _ENTRY

    @property
    def _is_text(self) -> bool:
        return self.path.endswith((".json", ".txt"))

    def write(self, archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(self.path, _STAMP)
        info.external_attr = 0o644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if self._is_text else zipfile.ZIP_STORED
        archive.writestr(info, self.data)


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """Zip files none of which is over the limit, and what had to give way for it."""

    parts: tuple[bytes, ...]
    without_previews: bool = False
    converted: tuple[str, ...] = ()  # files that are lossless WebP instead of PNG
    left_out: tuple[str, ...] = ()  # files that are too large for any part


def pack(entries: Sequence[Entry], *, limit: int) -> Export:
    """Share entries among zip files of at most `limit` bytes: one if need be without previews, else more."""
    fitting: list[Entry] = []
    left_out: list[str] = []
    converted: list[str] = []
    room = limit - _END
    for entry in entries:
        smaller = entry
        if entry.cost > room and entry.path.endswith(".png"):
            smaller = Entry(f"{entry.path.removesuffix('.png')}.webp", _webp(entry.data), entry.preview)
            if smaller.cost <= room:
                converted.append(smaller.path)
        if smaller.cost <= room:
            fitting.append(smaller)
        elif not entry.preview:
            left_out.append(entry.path)
    without_previews = any(entry.preview for entry in entries) and sum(e.cost for e in fitting) > room
    if without_previews:
        fitting = [entry for entry in fitting if not entry.preview]
    groups: list[list[Entry]] = [[]]
    used = 0
    for entry in fitting:
        if groups[-1] and used + entry.cost > room:
            groups.append([])
            used = 0
        groups[-1].append(entry)
        used += entry.cost
    parts = tuple(_zip(group) for group in groups if group)
    return Export(parts, without_previews, tuple(converted), tuple(left_out))


async def session_entries(
    store: Store, session: Session, *, folder: str = "", with_source: bool = True
) -> list[Entry]:
    """Read a session's files: its JSON first, then the pictures it began with and made, masks, previews.

    Without its source what is there can be looked at, though the first picture cannot be painted again.
    """
    at = f"{folder}/" if folder else ""
    steps = await store.steps(session.id)
    source = await store.source(session.id) if with_source else None
    files: dict[str, Entry] = {}
    if source is not None:
        files["source"] = Entry(f"{at}source.png", source)
    pictures: dict[int, bytes] = {}
    told: list[dict[str, Any]] = []
    previews: list[Entry] = []
    for number, step in enumerate(steps):
        png = await store.picture(step.id) if step.state is StepState.DONE else None
        objects = await store.objects(step.id)
        name = f"{number:03d}-{step.kind.value}-step-{step.id}"
        if png is not None:
            pictures[step.id] = png
            files[name] = Entry(f"{at}pictures/{name}.png", png)
        masks = await asyncio.to_thread(lambda found=objects: [mask_to_png(o.detection.mask) for o in found])
        # A tweak keeps the masks of the picture before it: each is written once.
        digests = [hashlib.sha256(mask).hexdigest()[:24] for mask in masks]
        for digest, mask in zip(digests, masks, strict=True):
            files[digest] = Entry(f"{at}masks/{digest}.png", mask)
        told.append(_step(session, step, objects, digests, f"pictures/{name}.png", png))
        before = pictures.get(step.parent_id or 0)
        if png is not None and before is not None and objects:
            data = await asyncio.to_thread(_overlay, before, objects)
            previews.append(Entry(f"{at}previews/{name}-objects.webp", data, preview=True))
    nodes = await tree_nodes(store, session, steps, pictures=pictures, with_source=with_source)
    pages = await asyncio.to_thread(lambda: list(tree.draw(nodes)))
    previews += [
        Entry(f"{at}previews/tree-{number}.webp", page, preview=True)
        for number, page in enumerate(pages, start=1)
    ]
    record = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "software": f"Contextual Diffusion {provenance.VERSION}",
        "session": _session(session),
        "steps": told,
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    return [Entry(f"{at}session.json", text.encode()), *files.values(), *previews]


async def export_session(store: Store, session: Session, *, limit: int, with_source: bool = True) -> Export:
    """Pack a session into zip files of at most `limit` bytes."""
    entries = await session_entries(store, session, folder=f"session-{session.id}", with_source=with_source)
    return await asyncio.to_thread(pack, entries, limit=limit)


async def tree_nodes(
    store: Store,
    session: Session,
    steps: Sequence[Step],
    *,
    pictures: dict[int, bytes] | None = None,
    with_source: bool = True,
) -> list[tree.Node]:
    """Read what is drawn of a session's tree; `pictures` saves reading those again that are at hand."""
    changes = await store.changes(session.id)
    source = await store.source(session.id) if with_source else None
    inset = await asyncio.to_thread(tree.shrunk, source) if source else None
    nodes: list[tree.Node] = []
    for step in steps:
        png = None
        if step.state is StepState.DONE:
            png = pictures.get(step.id) if pictures is not None else await store.picture(step.id)
        small = await asyncio.to_thread(tree.shrunk, png) if png else None
        first = inset if step.parent_id is None else None
        nodes.append(tree.Node(step, small, changes.get(step.id, ()), first))
    return nodes


def _session(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "prompt": session.prompt,
        "negative_prompt": session.negative_prompt,
        "seed": session.seed,
        "width": session.width,
        "height": session.height,
        "steps": session.steps,
        "guidance": session.guidance,
        "created_at": session.created_at.isoformat(),
        "source": None
        if session.source is None
        else {
            "file": "source.png",
            "sha256": session.source.sha256,
            "strength": session.source.strength,
        },
    }


def _step(
    session: Session,
    step: Step,
    objects: Sequence[SceneObject],
    masks: Sequence[str],
    file: str,
    png: bytes | None,
) -> dict[str, Any]:
    return {
        "id": step.id,
        "parent": step.parent_id,
        "kind": step.kind.value,
        "state": step.state.value,
        "depth": step.depth,
        "seed": step.seed,
        # Who the others are is nothing that an export needs.
        "asked_by": "owner" if step.asked_by == session.owner else "another member",
        "reply": step.request,
        "story": step.story,
        "written_by": step.source,
        "model": step.model,
        "notes": list(step.notes),
        "error": step.error,
        "created_at": step.created_at.isoformat(),
        "finished_at": step.finished_at.isoformat() if step.finished_at else None,
        "picture": None if png is None else {"file": file, "sha256": hashlib.sha256(png).hexdigest()},
        "objects": [
            {
                "number": item.number,
                "label": item.detection.label,
                "score": item.detection.score,
                "box": list(astuple(item.detection.box)),  # y1, x1, y2, x2
                "name": item.name,
                "tags": list(item.tags),
                "seed": item.seed,
                "params": asdict(item.params),
                "repaint": item.repaint,
                "mask": f"masks/{digest}.png",
            }
            for item, digest in zip(objects, masks, strict=True)
        ],
    }


def _overlay(png: bytes, objects: Sequence[SceneObject]) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(outlined(png, [item.detection for item in objects]))) as image:
        image.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()


def _webp(png: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(buffer, "WEBP", lossless=True, method=4, **provenance.webp_metadata(png))
    return buffer.getvalue()


def _zip(entries: Sequence[Entry]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry in entries:
            entry.write(archive)
    return buffer.getvalue()
