"""Draw a labelled scene from a seed or from a SceneSpec."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Window
from .people import draw_person
from .spec import SceneSpec
from .street import draw_surroundings, sky_stops

MIN_AREA = 12  # visible pixels below which a thing is not listed


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture with what is in it; lists and arrays run over the visible things, far to near."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    masks: NDArray[np.bool_]  # [N, H, W], the visible part; a window or shelf lies in its building's mask too
    labels: tuple[str, ...]  # [N] class names
    tags: tuple[tuple[str, ...], ...]  # [N] look, then noun: ("red", "striped", "jacket")
    boxes: NDArray[np.int32]  # [N, (y1, x1, y2, x2)] pixels, half-open
    ids: tuple[int, ...]  # [N] a thing keeps its number in every window, size and dress of one spec
    prompt: str
    spec: SceneSpec


def draw(
    seed: int,
    *,
    height: int = 192,
    width: int = 192,
    window: Window | None = None,
    spec: SceneSpec | None = None,
) -> Scene:
    """Draw a scene, or only a window of it, at height x width pixels.

    `window` is (y1, x1, y2, x2) in shares of the whole scene; without it the whole is drawn. The whole
    scene's shape follows from window and pixels, so that nothing is stretched. `spec` takes the place of
    what the seed would choose; its aspect must fit too, else ValueError.
    """
    frame = window or (0.0, 0.0, 1.0, 1.0)
    if not (frame[0] < frame[2] and frame[1] < frame[3] and height > 0 and width > 0):
        raise ValueError(f"empty window {frame} or size {height}x{width}")
    aspect = width / height * (frame[2] - frame[0]) / (frame[3] - frame[1])
    if spec is None:
        spec = SceneSpec.from_seed(seed, aspect)
    elif abs(spec.aspect / aspect - 1) > 0.02:
        raise ValueError(f"the spec's scene has aspect {spec.aspect:.3f}, window and size give {aspect:.3f}")
    canvas = Canvas(height, width, frame, spec.aspect, sky_stops(spec)[2])
    draw_surroundings(canvas, spec)
    for person in sorted(spec.people, key=lambda p: p.foot):
        draw_person(canvas, person)
    image, masks = canvas.finish()
    keep = np.flatnonzero(masks.sum((1, 2)) >= MIN_AREA)
    return Scene(
        image=image,
        masks=masks[keep],
        labels=tuple(canvas.things[i].label for i in keep),
        tags=tuple(canvas.things[i].tags for i in keep),
        boxes=_boxes(masks[keep]),
        ids=tuple(int(i) for i in keep),
        prompt=prompt_for(spec, seed),
        spec=spec,
    )


def prompt_for(spec: SceneSpec, seed: int) -> str:
    """Word a scene as a member would: comma-separated tags, some left out, in changing order."""
    rng = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFFFFFF, 31]))

    def said(tags: tuple[str, ...]) -> str:
        return " ".join(tag for tag in tags if tag not in ("plain", "clear", "calm"))

    first: list[str] = []
    wearing: list[str] = []
    if len(spec.people) == 1:
        person = spec.people[0]
        first = [
            f"1{person.kind}",
            "upper body" if person.foot > 1.2 else "full body",
            "city background",
            person.pose,
        ]
    elif spec.people:
        kinds = {p.kind for p in spec.people}
        first = [f"2{kinds.pop()}s" if len(kinds) == 1 else "1girl, 1boy", "full body", "city background"]
    else:
        first = ["no people", "city background"]
    for person in spec.people:
        if person.top == "dress":
            wearing.append(said((*person.dress.tags, "dress")))
        else:
            if person.top == "jacket":
                wearing.append(said((*person.jacket.tags, "jacket")))
            wearing.append(said((*person.shirt.tags, "shirt")))
            wearing.append(
                said((*person.skirt.tags, "skirt"))
                if person.bottom == "skirt"
                else f"{person.trousers} trousers"
            )
        wearing.append(said((*person.shoes.tags, "shoes")))
        wearing.append(f"{person.hair} hair")
        if person.hat:
            wearing.append(said((*person.hat.tags, "hat")))
        if person.bag:
            wearing.append(said((*person.bag.tags, "bag")))
    around = [
        said(
            (
                *block.look.tags,
                {"Buildings": "building", "Residentialcomplex": "house"}.get(block.kind, "shop"),
            )
        )
        for block in spec.blocks
        if block.x > -0.05
    ]
    around += [said((*car.look.tags, "car")) for car in spec.cars]
    if spec.ground != "road":
        around.append(said((*spec.water.tags, "water")))
    if spec.lamp_x is not None:
        around.append(f"{spec.glow} light")
    if spec.celestial is not None:
        around.append("moon" if spec.time == "night" else "sun")
    sky = said((spec.sky_colour or spec.time, spec.weather, "sky"))
    around = [tag for tag in around if rng.random() < 0.55]
    wearing = [tag for tag in wearing if rng.random() < 0.85]
    rest = [*wearing, *around, *([sky] if rng.random() < 0.92 else [])]
    first = [tag for tag in first if tag[0] in "12n" or rng.random() < 0.8]
    return ", ".join(dict.fromkeys([*first, *(rest[int(i)] for i in rng.permutation(len(rest)))]))


def _boxes(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    boxes = np.zeros((len(masks), 4), np.int32)
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[index] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes
