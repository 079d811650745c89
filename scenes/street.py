"""Draw what is around the figures: sky, houses, shops, lamps, water, cars."""

import numpy as np

from .canvas import Canvas, Point, smooth
from .palette import COLOURS, TIMES, Rgb, accent, mix
from .spec import Block, Car, Look, SceneSpec

_INK: Rgb = (64, 56, 80)
_NIGHT: Rgb = (44, 42, 96)
_GOODS: tuple[str, ...] = ("red", "yellow", "green", "blue", "pink", "orange", "purple", "white")


def draw_surroundings(canvas: Canvas, spec: SceneSpec) -> None:
    """Draw everything but the figures, from far to near."""
    rng = np.random.Generator(np.random.PCG64([spec.detail_seed, 7]))
    tint = _NIGHT if spec.time == "night" else None
    _sky(canvas, spec, rng)
    _hills(canvas, spec, rng)
    goods = [int(g) for g in rng.integers(len(_GOODS), size=64)]
    for block in spec.blocks:
        _block(canvas, spec, block, tint, goods)
    _ground(canvas, spec, rng)
    if spec.lamp_x is not None:
        _lamp(canvas, spec, spec.lamp_x)
    for car in spec.cars:
        _car(canvas, car, spec)


def sky_stops(spec: SceneSpec) -> tuple[Rgb, Rgb, Rgb]:
    """Give the sky's colours at the top, the middle and the horizon."""
    if spec.sky_colour is None:
        return TIMES[spec.time]
    colour = COLOURS[spec.sky_colour]
    return (mix(colour, _INK, 0.08), mix(colour, (255, 255, 255), 0.06), mix(colour, (255, 246, 232), 0.4))


def _sky(canvas: Canvas, spec: SceneSpec, rng: np.random.Generator) -> None:
    stops = sky_stops(spec)
    owner = canvas.add("Sky", (spec.sky_colour or spec.time, spec.weather, "sky"))
    canvas.gradient(-0.5, spec.horizon + 0.02, (stops[0], stops[0], stops[0], stops[1], stops[2]), owner)
    places = rng.random((40, 3))
    dark = spec.time == "night" and spec.sky_colour is None
    if spec.weather == "starry":
        for x, y, size in places:
            canvas.ellipse(
                x * spec.aspect, y * 0.5, 0.004 + 0.006 * size, 0.004 + 0.006 * size, (255, 250, 220), owner
            )
    if spec.celestial is not None:
        x, y = spec.celestial
        noun, colour = ("moon", (255, 246, 210)) if spec.time == "night" else ("sun", (255, 232, 140))
        if spec.time == "sunset":
            y, colour = y + 0.16, (255, 208, 120)
        canvas.glow(x, y, 0.2, colour, 0.45)
        body = canvas.add("Lightsource", (noun,), owner)
        canvas.ellipse(x, y, 0.062, 0.062, colour, body)
        if noun == "moon":
            canvas.ellipse(x + 0.018, y - 0.01, 0.012, 0.012, mix(colour, _INK, 0.16), body)
            canvas.ellipse(x - 0.02, y + 0.018, 0.016, 0.016, mix(colour, _INK, 0.12), body)
    if spec.weather == "cloudy":
        base = mix(stops[1], (255, 255, 255), 0.28 if dark else 0.72)
        count = 4 if spec.aspect < 1.4 else 6
        for index, (x, y, size) in enumerate(places[:count]):
            cx, cy = ((index + 0.2 + 0.6 * x) / count) * spec.aspect, 0.06 + 0.26 * y
            _cloud(canvas, cx, cy, 0.07 + 0.05 * size, base, owner)


def _cloud(canvas: Canvas, x: float, y: float, r: float, colour: Rgb, owner: int) -> None:
    shade = mix(colour, _INK, 0.08)
    canvas.ellipse(x, y + 0.25 * r, 1.55 * r, 0.36 * r, shade, owner)
    for dx, dy, size in ((-0.8, 0.02, 0.45), (0.0, -0.25, 0.62), (0.75, 0.0, 0.5)):
        canvas.ellipse(x + dx * r, y + dy * r, size * r, size * r * 0.85, colour, owner)
    canvas.ellipse(x, y + 0.14 * r, 1.35 * r, 0.32 * r, colour, owner)


def _hills(canvas: Canvas, spec: SceneSpec, rng: np.random.Generator) -> None:
    far = mix(mix((150, 190, 160), sky_stops(spec)[2], 0.5), _NIGHT, 0.4 if spec.time == "night" else 0.0)
    for x, y, size in rng.random((7, 3)):
        canvas.ellipse(x * spec.aspect, spec.horizon + 0.03, 0.18 + 0.12 * size, 0.07 + 0.09 * y, far, 0)


def _block(canvas: Canvas, spec: SceneSpec, block: Block, tint: Rgb | None, goods: list[int]) -> None:
    noun = {"Buildings": "building", "Residentialcomplex": "house", "Alleyshops": "shop"}[block.kind]
    owner = canvas.add(block.kind, (*block.look.tags, noun))
    if block.kind == "Alleyshops":
        _shop(canvas, spec, block, tint, owner, goods)
        return
    x1, x2 = block.x, block.x + block.width
    base, top = spec.horizon + 0.03, spec.horizon - block.height
    wall = COLOURS[block.look.colour]
    if block.kind == "Residentialcomplex":
        roof = mix(wall, (120, 60, 70), 0.45)
        peak = 0.09 + 0.02 * block.roof
        middle = (x1 + x2) / 2
        gable: list[Point] = [(x1 - 0.02, top), (middle, top - peak), (x2 + 0.02, top)]
        if block.roof == 2:
            gable = [(x1 - 0.02, top), (x1 + 0.04, top - 0.07), (x2 - 0.04, top - 0.07), (x2 + 0.02, top)]
        canvas.polygon(gable, roof, owner)
    elif block.roof == 1:
        canvas.rectangle(x1 + 0.04, top - 0.04, x2 - 0.04, top, mix(wall, _INK, 0.25), owner)
    elif block.roof == 2:
        canvas.line([((x1 + x2) / 2, top), ((x1 + x2) / 2, top - 0.08)], 0.01, mix(wall, _INK, 0.4), owner)
    canvas.rectangle(x1, top, x2, base, block.look, owner, unit=0.055, vertical=True, tint=tint)
    canvas.rectangle(x1, top, x2, top + 0.018, mix(wall, _INK, 0.28), owner)
    canvas.rectangle(x2 - 0.016, top, x2, base, mix(wall, _INK, 0.2), owner)
    _windows(canvas, spec, block, owner, tint)
    if block.kind == "Residentialcomplex":
        middle = (x1 + x2) / 2
        canvas.rectangle(
            middle - 0.028, base - 0.1, middle + 0.028, base, mix(wall, (110, 66, 60), 0.65), owner
        )


def _windows(canvas: Canvas, spec: SceneSpec, block: Block, owner: int, tint: Rgb | None) -> None:
    wall = COLOURS[block.look.colour]
    glass = (92, 98, 148) if tint else (196, 220, 236)
    glow = mix(COLOURS[spec.glow], (255, 252, 226), 0.2)
    frame = mix(wall, _INK, 0.3) if sum(wall) > 560 else mix(wall, (255, 255, 255), 0.55)
    top = spec.horizon - block.height + 0.045
    room = (block.height - 0.06 - (0.06 if block.kind == "Residentialcomplex" else 0.0)) / block.rows
    step = block.width / block.columns
    for index in range(block.columns * block.rows):
        row, column = divmod(index, block.columns)
        cx, cy = block.x + (column + 0.5) * step, top + (row + 0.42) * room
        half_w, half_h = 0.026, min(0.034, room * 0.36)
        lit = index in block.lit
        part = canvas.add("Brightwindow", (spec.glow, "window"), owner) if lit else owner
        if lit:
            canvas.glow(cx, cy, 0.07, glow, 0.4)
        canvas.rectangle(
            cx - half_w - 0.006, cy - half_h - 0.006, cx + half_w + 0.006, cy + half_h + 0.006, frame, part
        )
        canvas.rectangle(cx - half_w, cy - half_h, cx + half_w, cy + half_h, glow if lit else glass, part)
        canvas.line([(cx, cy - half_h), (cx, cy + half_h)], 0.006, frame, part)
        if block.kind == "Residentialcomplex":
            canvas.rectangle(
                cx - half_w - 0.012,
                cy + half_h + 0.004,
                cx + half_w + 0.012,
                cy + half_h + 0.018,
                mix(wall, _INK, 0.35),
                owner,
            )


def _shop(
    canvas: Canvas, spec: SceneSpec, block: Block, tint: Rgb | None, owner: int, goods: list[int]
) -> None:
    x1, x2 = block.x, block.x + block.width
    base, top = spec.horizon + 0.035, spec.horizon - block.height
    wall = COLOURS[block.look.colour]
    canvas.rectangle(x1, top, x2, base, block.look, owner, unit=0.055, vertical=True, tint=tint)
    canvas.rectangle(x1, top, x2, top + 0.02, mix(wall, _INK, 0.3), owner)
    canvas.rectangle(x1 + 0.06, top + 0.035, x2 - 0.06, top + 0.075, accent(wall), owner)
    for index in range(4):
        cx = x1 + 0.09 + index * (block.width - 0.18) / 3
        canvas.line(
            [(cx - 0.008, top + 0.055), (cx + 0.012, top + 0.055)], 0.012, mix(wall, _INK, 0.45), owner
        )
    inner1, inner2, head = x1 + 0.035, x2 - 0.035, top + 0.125
    inside = mix((255, 232, 176), COLOURS[spec.glow], 0.2) if tint else mix(wall, (70, 56, 72), 0.62)
    canvas.rectangle(inner1, head, inner2, base - 0.02, inside, owner)
    if block.shelf is not None:
        _shelf(canvas, block.shelf, inner1 + 0.012, head + 0.03, inner2 - 0.012, base - 0.012, goods, owner)
    count = 5
    width = (block.width + 0.03) / count
    for index in range(count):
        left = x1 - 0.015 + index * width
        colour = wall if index % 2 == 0 else accent(wall)
        drop: list[Point] = [
            (left, top + 0.082),
            (left + width, top + 0.082),
            (left + width, head + 0.012),
            (left + width / 2, head + 0.034),
            (left, head + 0.012),
        ]
        canvas.polygon(drop, colour, owner)


def _shelf(
    canvas: Canvas, look: Look, x1: float, y1: float, x2: float, y2: float, goods: list[int], shop: int
) -> None:
    owner = canvas.add("Shelfs", (*look.tags, "shelf"), shop)
    canvas.rectangle(x1, y1, x2, y2, look, owner, unit=0.04)
    dark = mix(COLOURS[look.colour], _INK, 0.35)
    middle = (y1 + y2) / 2
    canvas.line([(x1, middle), (x2, middle)], 0.012, dark, owner)
    canvas.line([(x1, y2 - 0.005), (x2, y2 - 0.005)], 0.012, dark, owner)
    count = max(3, int((x2 - x1) / 0.055))
    for row, floor in enumerate((middle - 0.006, y2 - 0.01)):
        for index in range(count):
            kind = goods[(row * 17 + index * 5) % len(goods)]
            if (kind + index) % 3 == 0:
                continue
            cx = x1 + (index + 0.5) * (x2 - x1) / count
            colour = COLOURS[_GOODS[kind]]
            if kind % 2:
                canvas.rectangle(cx - 0.012, floor - 0.036, cx + 0.012, floor, colour, owner)
            else:
                canvas.ellipse(cx, floor - 0.014, 0.015, 0.015, colour, owner)


def _ground(canvas: Canvas, spec: SceneSpec, rng: np.random.Generator) -> None:
    night = spec.time == "night"
    walk: Rgb = (128, 122, 156) if night else (226, 214, 206)
    road: Rgb = (88, 86, 124) if night else (172, 168, 178)
    h, wide = spec.horizon, spec.aspect
    canvas.rectangle(-0.5, h + 0.025, wide + 0.5, 2.0, walk, 0)
    canvas.line([(-0.5, h + 0.03), (wide + 0.5, h + 0.03)], 0.01, mix(walk, _INK, 0.18), 0)
    marks = rng.random((10, 3))
    if spec.ground == "canal":
        low = 0.9
        for x in np.arange(-0.2, wide + 0.2, 0.16):
            canvas.line(
                [(float(x), h + 0.04), (float(x) - 0.08, low - 0.02)], 0.005, mix(walk, _INK, 0.12), 0
            )
        canvas.rectangle(-0.5, h + 0.09, wide + 0.5, low - 0.055, walk, 0)
        owner = canvas.add("BodyofWater", (*spec.water.tags, "water"))
        canvas.rectangle(-0.5, h + 0.075, wide + 0.5, low - 0.03, spec.water, owner)
        canvas.line([(-0.5, h + 0.072), (wide + 0.5, h + 0.072)], 0.016, mix(walk, _INK, 0.3), 0)
        _ripples(canvas, spec, owner, marks, (0, wide), (h + 0.1, low - 0.05))
        canvas.line([(-0.5, low - 0.028), (wide + 0.5, low - 0.028)], 0.02, mix(walk, _INK, 0.2), 0)
        return
    canvas.rectangle(-0.5, h + 0.075, wide + 0.5, 0.93, road, 0)
    canvas.line([(-0.5, h + 0.078), (wide + 0.5, h + 0.078)], 0.012, mix(walk, (255, 255, 255), 0.3), 0)
    canvas.line([(-0.5, 0.93), (wide + 0.5, 0.93)], 0.012, mix(walk, (255, 255, 255), 0.3), 0)
    paint = mix(road, (255, 255, 255), 0.62)
    for x in np.arange(-0.1, wide + 0.1, 0.22):
        canvas.rectangle(float(x), 0.862, float(x) + 0.12, 0.874, paint, 0)
    if spec.ground == "puddle":
        owner = canvas.add("BodyofWater", (*spec.water.tags, "water"))
        x = (0.22 + 0.56 * marks[0, 0]) * wide
        y, rx, ry = 0.895, 0.2 + 0.08 * marks[0, 1], 0.052
        outline: list[Point] = [
            (x - rx, y),
            (x - 0.5 * rx, y - ry),
            (x + 0.4 * rx, y - 0.9 * ry),
            (x + rx, y),
            (x + 0.5 * rx, y + ry),
            (x - 0.4 * rx, y + 0.9 * ry),
        ]
        canvas.polygon(smooth(outline), spec.water, owner)
        _ripples(canvas, spec, owner, marks[:4], (x - 0.55 * rx, x + 0.35 * rx), (y - 0.5 * ry, y + 0.5 * ry))


def _ripples(canvas: Canvas, spec: SceneSpec, owner: int, marks: np.ndarray, xs: Point, ys: Point) -> None:
    light = mix(COLOURS[spec.water.colour], (255, 255, 255), 0.5)
    if spec.water.colour == "white":
        light = (196, 206, 220)
    if spec.water.pattern == "calm":
        marks = marks[:2]
    for index, (x, _, size) in enumerate(marks):
        y = ys[0] + (ys[1] - ys[0]) * (index + 0.5) / len(marks)
        left = xs[0] + (xs[1] - xs[0]) * x
        length = 0.05 + 0.07 * size
        if spec.water.pattern == "calm":
            canvas.line([(left, y), (left + length, y)], 0.006, light, owner)
        else:
            wave = [(left + length * t / 4, y + (0.007 if t % 2 else -0.007)) for t in range(7)]
            canvas.line(wave, 0.008, light, owner)


def _lamp(canvas: Canvas, spec: SceneSpec, x: float) -> None:
    foot, top = spec.horizon + 0.07, spec.horizon - 0.36
    pole: Rgb = (70, 66, 92)
    colour = mix(COLOURS[spec.glow], (255, 252, 232), 0.12)
    owner = canvas.add("Lightsource", (spec.glow, "light"))
    canvas.line([(x, foot), (x, top + 0.03)], 0.015, pole, 0)
    canvas.line([(x - 0.02, foot), (x + 0.02, foot)], 0.02, pole, 0)
    canvas.glow(x, top, 0.17, colour, 0.75 if spec.time == "night" else 0.35)
    canvas.polygon(
        [(x - 0.034, top + 0.045), (x - 0.05, top - 0.04), (x + 0.05, top - 0.04), (x + 0.034, top + 0.045)],
        colour,
        owner,
    )
    canvas.ellipse(x, top, 0.02, 0.026, mix(colour, (255, 255, 255), 0.6), owner)
    canvas.polygon([(x - 0.062, top - 0.038), (x, top - 0.078), (x + 0.062, top - 0.038)], pole, owner)
    canvas.line([(x - 0.034, top + 0.048), (x + 0.034, top + 0.048)], 0.012, pole, owner)


def _car(canvas: Canvas, car: Car, spec: SceneSpec) -> None:
    length, s = car.length, car.facing
    middle, ground = car.x + length / 2, car.y
    colour = COLOURS[car.look.colour]
    owner = canvas.add("Cars", (*car.look.tags, "car"))

    def at(
        x: float, y: float
    ) -> Point:  # x in car lengths ahead of the middle, y in car lengths above ground
        return (middle + s * x * length, ground - y * length)

    dark = mix(colour, _INK, 0.3)
    if car.style == 0:
        cabin = [(-0.32, 0.24), (-0.22, 0.43), (0.12, 0.43), (0.26, 0.24)]
        glass = [
            [(-0.26, 0.255), (-0.19, 0.4), (-0.05, 0.4), (-0.05, 0.255)],
            [(-0.02, 0.255), (-0.02, 0.4), (0.1, 0.4), (0.2, 0.255)],
        ]
    else:
        cabin = [(-0.46, 0.22), (-0.45, 0.47), (0.12, 0.47), (0.28, 0.24)]
        glass = [
            [(-0.4, 0.27), (-0.39, 0.435), (-0.16, 0.435), (-0.16, 0.27)],
            [(-0.12, 0.27), (-0.12, 0.435), (0.1, 0.435), (0.2, 0.27)],
        ]
    canvas.polygon([at(*p) for p in smooth(cabin, 1)], car.look, owner, unit=0.055)
    body = [(-0.5, 0.08), (-0.5, 0.24), (-0.36, 0.28), (0.26, 0.28), (0.46, 0.24), (0.51, 0.16), (0.5, 0.08)]
    canvas.polygon([at(*p) for p in smooth(body, 1)], car.look, owner, unit=0.055)
    pane: Rgb = (110, 122, 170) if spec.time == "night" else (200, 226, 240)
    for shape in glass:
        canvas.polygon([at(*p) for p in shape], pane, owner)
    canvas.line([at(-0.48, 0.095), at(0.48, 0.095)], 0.014, dark, owner)
    canvas.line([at(-0.035, 0.25), at(-0.035, 0.12)], 0.006, dark, owner)
    for wheel in (-0.29, 0.3):
        canvas.ellipse(*at(wheel, 0.085), 0.1 * length, 0.1 * length, (58, 54, 70), owner)
        canvas.ellipse(*at(wheel, 0.085), 0.045 * length, 0.045 * length, (214, 212, 220), owner)
    canvas.ellipse(*at(0.455, 0.19), 0.03 * length, 0.034 * length, (255, 244, 190), owner)
    canvas.ellipse(*at(-0.475, 0.2), 0.02 * length, 0.03 * length, (226, 84, 90), owner)
