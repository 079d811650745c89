"""What made a picture, written into its PNG: our JSON, and AUTOMATIC1111's `parameters` text beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pipeline.domain import GenerationRequest, SceneObject, Session, Step
from pipeline.masks import Picture

VERSION = "0.1.0"
KEY = "contextual-diffusion"


def encode(picture: Picture, texts: dict[str, str] | None = None) -> bytes:
    """Encode a picture [H, W, 3] as PNG with international text chunks; equal input gives equal bytes."""
    info = PngImagePlugin.PngInfo()
    for key, text in (texts or {}).items():
        info.add_itxt(key, text)
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
    }
    return {
        "parameters": _a1111(record),
        KEY: json.dumps(record, ensure_ascii=False, sort_keys=True),
    }


def read(png: bytes) -> dict[str, Any] | None:
    """Read our JSON back from a PNG, None where there is none or it is damaged."""
    with Image.open(io.BytesIO(png)) as image:
        text = image.info.get(KEY)
    try:
        record = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


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
    for item in record["objects"]:
        if item["repainted"]:
            fields[f"Object {item['number']}"] = json.dumps(
                f"{item['name']}: {', '.join(item['tags'])}", ensure_ascii=False
            )
    lines.append(", ".join(f"{key}: {value}" for key, value in fields.items()))
    return "\n".join(lines)
