"""What made a picture, written into its file: our JSON, and AUTOMATIC1111's `parameters` text beside it.

A PNG carries both as texts of its own, and the JSON once more in an XMP packet: programs that make
another kind of file of it leave such texts behind and take XMP along. A WebP carries XMP, and the parameters
in EXIF's UserComment, where AUTOMATIC1111 looks for them.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin
from pydantic import BaseModel, Field, ValidationError

from pipeline.domain import GenerationRequest, SceneObject, Session, Step
from pipeline.masks import Picture

VERSION = "0.1.0"
KEY = "contextual-diffusion"
PARAMETERS = "parameters"
XMP = "XML:com.adobe.xmp"  # what a PNG calls the text that holds an XMP packet

_NAMESPACE = "urn:contextual-diffusion:1"
_PACKED = re.compile(rb"cd:record(?:=[\"']|>)\s*([A-Za-z0-9+/=\s]+)")
_UNICODE = b"UNICODE\0"  # how a UserComment says that UTF-16 follows
_LONGEST = 2**20  # characters of a text that is worth looking at


class ObjectRecord(BaseModel):
    """An object as a file tells of it."""

    number: int
    label: str = ""
    name: str = ""
    tags: list[str] = []
    repainted: bool = False


class SourceRecord(BaseModel):
    """The picture that a session began with, as a file tells of it."""

    sha256: str = ""
    strength: float = 0.0


class Record(BaseModel):
    """What a file tells of itself. Anyone may have written it: it is checked for its shape, not believed."""

    software: str = ""
    kind: str = ""
    depth: int = 0
    prompt: str = ""
    negative_prompt: str = ""
    session_seed: int = 0
    seed: int = 0
    width: int = 0
    height: int = 0
    steps: int = 0
    guidance: float = 0.0
    reply: str = ""
    story: str = ""
    written_by: str = ""
    models: dict[str, str] = {}
    objects: list[ObjectRecord] = Field(default=[], max_length=1000)
    source: SourceRecord | None = None


def encode(picture: Picture, texts: dict[str, str] | None = None) -> bytes:
    """Encode a picture [H, W, 3] as PNG with international text chunks; equal input gives equal bytes."""
    info = PngImagePlugin.PngInfo()
    for key, text in (texts or {}).items():
        info.add_itxt(key, text)
    if texts and KEY in texts:
        info.add_itxt(XMP, _packet(texts[KEY]).decode())
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()


def decode(png: bytes) -> Picture:
    """Decode an image file to RGB [H, W, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def describe(
    session: Session,
    step: Step,
    objects: Sequence[SceneObject],
    request: GenerationRequest,
    *,
    story: str,
    source: str,
    picture_model: str,
    segmentation_model: str,
) -> dict[str, str]:
    """Return the text chunks of a step's picture. No ids and no times: equal pictures have equal files."""
    source_picture = session.source and {
        "sha256": session.source.sha256,
        "strength": session.source.strength,
    }
    record: dict[str, Any] = {
        "software": f"Contextual Diffusion {VERSION}",
        "kind": step.kind.value,
        "depth": step.depth,
        "prompt": session.prompt,
        "negative_prompt": session.negative_prompt,
        "style": session.style,
        "style_words": session.style_words,
        "asked_for": {"model": session.model, "sampler": session.sampler},
        "session_seed": session.seed,
        "seed": step.seed,
        "width": session.width,
        "height": session.height,
        "steps": request.steps,
        "guidance": request.guidance,
        "reply": step.request,
        "story": story,
        "written_by": source,
        "models": {"picture": picture_model, "segmentation": segmentation_model},
        "objects": [_object(item) for item in objects],
        **({"source": source_picture} if source_picture else {}),
    }
    return {
        PARAMETERS: _a1111(record),
        KEY: json.dumps(record, ensure_ascii=False, sort_keys=True),
    }


def read(data: bytes) -> dict[str, Any] | None:
    """Read our JSON back from a picture's file, None where there is none or it is damaged."""
    with Image.open(io.BytesIO(data)) as image:
        text = texts_of(image).get(KEY)
    try:
        record = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def texts_of(image: Image.Image) -> dict[str, str]:
    """Return the texts that tell of an opened picture: KEY our JSON, PARAMETERS AUTOMATIC1111's line."""
    found: dict[str, str] = {}
    info = image.info
    packet = info.get("xmp") or info.get(XMP) or b""
    packet = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    for key, text in ((KEY, info.get(KEY)), (PARAMETERS, info.get(PARAMETERS))):
        if isinstance(text, str) and 0 < len(text) <= _LONGEST:
            found[key] = str(text)
    if KEY not in found and len(packet) <= 2 * _LONGEST and (match := _PACKED.search(packet)):
        with suppress(binascii.Error, UnicodeDecodeError):
            found[KEY] = base64.b64decode(match[1]).decode("utf-8")
    if PARAMETERS not in found and (comment := _user_comment(image)):
        found[PARAMETERS] = comment
    return found


def record_of(texts: dict[str, str]) -> Record | None:
    """Check what a file tells of itself; None where it is damaged or of another shape."""
    try:
        return Record.model_validate_json(texts[KEY])
    except (KeyError, ValidationError):
        return None


def webp_metadata(png: bytes) -> dict[str, bytes]:
    """Return what Pillow must be given so that a WebP of this PNG tells the same: `xmp` and `exif`."""
    with Image.open(io.BytesIO(png)) as image:
        texts = texts_of(image)
    given: dict[str, bytes] = {}
    if KEY in texts:
        given["xmp"] = _packet(texts[KEY])
    if PARAMETERS in texts:
        exif = Image.Exif()
        comment = _UNICODE + texts[PARAMETERS].encode("utf-16-be", "replace")
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
        given["exif"] = exif.tobytes()
    return given


def without_reply(png: bytes) -> bytes:
    """Return a PNG of ours whose texts have lost a member's words; its pixels are the same."""
    with Image.open(io.BytesIO(png)) as image:
        texts = texts_of(image)
        picture = np.asarray(image.convert("RGB"))
    record = json.loads(texts[KEY]) if KEY in texts else {}
    if not record.get("reply"):
        return png
    record["reply"] = ""
    return encode(picture, texts | {KEY: json.dumps(record, ensure_ascii=False, sort_keys=True)})


def _packet(record: str) -> bytes:
    """Wrap our JSON as an XMP packet; in base 64, which no program that rewrites a packet can spoil."""
    packed = base64.b64encode(record.encode()).decode()
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:cd="{_NAMESPACE}"><cd:record>{packed}</cd:record>'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def _user_comment(image: Image.Image) -> str:
    try:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except Exception:  # Pillow tells broken EXIF in many ways
        return ""
    if not isinstance(comment, bytes) or not comment.startswith(_UNICODE) or len(comment) > 2 * _LONGEST:
        return ""
    words = comment[len(_UNICODE) :]
    # Big-endian is what AUTOMATIC1111 writes; letters of the Latin script tell the other order.
    return words.decode("utf-16-le" if words[1:2] == b"\0" else "utf-16-be", "replace").strip("\0 ")


def _object(item: SceneObject) -> dict[str, Any]:
    box = item.detection.box
    return {
        "number": item.number,
        "label": item.detection.label,
        "score": round(float(item.detection.score), 4),
        "box": [box.y1, box.x1, box.y2, box.x2],
        "name": item.name,
        "tags": list(item.tags),
        "repainted": item.repaint,
        "seed": item.seed,
        "params": asdict(item.params),
    }


def _a1111(record: dict[str, Any]) -> str:
    lines = [", ".join(filter(None, (record["prompt"], record["style_words"])))]
    if record["negative_prompt"]:
        lines.append(f"Negative prompt: {record['negative_prompt']}")
    fields = {
        "Steps": record["steps"],
        "CFG scale": record["guidance"],
        "Seed": record["seed"],
        "Size": f"{record['width']}x{record['height']}",
        "Model": record["models"]["picture"],
        "Recursion": record["depth"],
        "Version": record["software"],
    }
    if "source" in record:
        fields["Denoising strength"] = record["source"]["strength"]
        fields["Source"] = record["source"]["sha256"][:16]
    for item in record["objects"]:
        if item["repainted"]:
            fields[f"Object {item['number']}"] = json.dumps(
                f"{item['name']}: {', '.join(item['tags'])}", ensure_ascii=False
            )
    lines.append(", ".join(f"{key}: {value}" for key, value in fields.items()))
    return "\n".join(lines)
