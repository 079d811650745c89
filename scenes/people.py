"""Draw the figures: body, hair, face and garments."""

from .canvas import Canvas, Point, smooth
from .palette import COLOURS, Rgb, accent, mix
from .spec import Look, Person

_SKIN: tuple[Rgb, ...] = ((255, 226, 206), (250, 210, 184), (222, 170, 136), (170, 118, 90))
_INK: Rgb = (70, 54, 66)


def draw_person(canvas: Canvas, person: Person) -> None:
    """Draw one figure from the back layers to the front."""
    Figure(canvas, person).draw()


class Figure:
    """A person's own frame: x in body heights from the middle axis, y in body heights above the soles."""

    def __init__(self, canvas: Canvas, person: Person) -> None:
        self._canvas = canvas
        self._p = person
        self._skin = _SKIN[person.skin]
        # The hair never takes a garment's exact colour: two things of one colour would melt together.
        self._hair = mix(COLOURS[person.hair], (96, 64, 70), 0.18)
        self._unit = 0.052 * person.height
        stride = 0.085 if person.pose == "walking" else 0.06
        self._feet = ((-stride, 0.012 if person.pose == "walking" else 0.0), (stride, 0.0))

    def draw(self) -> None:
        p = self._p
        if p.hair_style in ("long", "ponytail"):
            self._back_hair()
        self._legs()
        self._shoes()
        owner_sleeves = self._torso()
        self._arms(*owner_sleeves)
        if p.bag:
            self._bag(p.bag)
        self._head()
        if p.hat:
            self._hat(p.hat)

    def _at(self, x: float, y: float) -> Point:
        p = self._p
        return (p.x + x * p.height, p.foot - y * p.height)

    def _poly(
        self, points: list[Point], fill: Rgb | Look, owner: int, rounds: int = 1, unit: float = 1.0
    ) -> None:
        shape = smooth(points, rounds) if rounds else points
        self._canvas.polygon([self._at(*point) for point in shape], fill, owner, unit=self._unit * unit)

    def _oval(self, x: float, y: float, rx: float, ry: float, fill: Rgb | Look, owner: int) -> None:
        h = self._p.height
        cx, cy = self._at(x, y)
        self._canvas.ellipse(cx, cy, rx * h, ry * h, fill, owner, unit=self._unit)

    def _stroke(self, points: list[Point], width: float, fill: Rgb, owner: int) -> None:
        self._canvas.line([self._at(*point) for point in points], width * self._p.height, fill, owner)

    def _garment(self, label: str, noun: str, look: Look) -> int:
        return self._canvas.add(label, (*look.tags, noun))

    def _back_hair(self) -> None:
        dark = mix(self._hair, _INK, 0.18)
        if self._p.hair_style == "long":
            self._poly(
                [(-0.12, 0.9), (-0.165, 0.58), (-0.06, 0.55), (0.06, 0.55), (0.165, 0.58), (0.12, 0.9)],
                dark,
                0,
                2,
            )
        else:
            s = -self._p.facing
            self._poly(
                [(0.08 * s, 0.93), (0.22 * s, 0.9), (0.24 * s, 0.66), (0.16 * s, 0.7), (0.13 * s, 0.84)],
                dark,
                0,
                2,
            )

    def _legs(self) -> None:
        p = self._p
        bare = p.top == "dress" or p.bottom == "skirt"
        cloth = self._skin if bare else mix(COLOURS[p.trousers], _INK, 0.12)
        width = 0.058 if bare else 0.078
        for index, (foot, lift) in enumerate(self._feet):
            hip = 0.042 * (-1 if index == 0 else 1)
            shade = mix(cloth, _INK, 0.08) if index == 0 else cloth
            self._stroke([(hip, 0.44), ((hip + foot) / 2, 0.24), (foot, 0.06 + lift)], width, shade, 0)
        if not bare:
            self._poly([(-0.095, 0.52), (0.095, 0.52), (0.1, 0.4), (-0.1, 0.4)], cloth, 0)

    def _shoes(self) -> None:
        look = self._p.shoes
        for foot, lift in self._feet:
            owner = self._garment("Shoe", "shoes", look)
            toe = 0.03 * self._p.facing
            self._poly(
                [
                    (foot - 0.05, 0.098 + lift),
                    (foot + 0.05, 0.098 + lift),
                    (foot + 0.056 + toe, lift - 0.008),
                    (foot - 0.056 + toe, lift - 0.008),
                ],
                look,
                owner,
                1,
                0.62,
            )
            sole = mix(COLOURS[look.colour], _INK, 0.45)
            self._stroke([(foot - 0.045 + toe, lift), (foot + 0.045 + toe, lift)], 0.014, sole, owner)

    def _torso(self) -> tuple[int, Look | Rgb, float]:
        """Draw the clothes of the trunk; give owner, look and length of the sleeves."""
        p = self._p
        self._stroke([(0, 0.76), (0, 0.68)], 0.05, mix(self._skin, _INK, 0.1), 0)
        if p.top == "dress":
            dress = self._garment("Dress", "dress", p.dress)
            self._poly(
                [(-0.1, 0.735), (0.1, 0.735), (0.085, 0.53), (0.2, 0.255), (-0.2, 0.255), (-0.085, 0.53)],
                p.dress,
                dress,
            )
            fold = mix(COLOURS[p.dress.colour], _INK, 0.2)
            self._stroke([(-0.075, 0.53), (0.075, 0.53)], 0.014, fold, dress)
            for x in (-0.07, 0.07):
                self._stroke([(x * 0.8, 0.44), (x * 1.5, 0.285)], 0.006, fold, dress)
            return dress, p.dress, 0.4
        skirted = p.bottom == "skirt"
        if p.top == "shirt":
            if skirted:
                self._skirt()
            shirt = self._garment("Shirt", "shirt", p.shirt)
            self._poly([(-0.115, 0.735), (0.115, 0.735), (0.095, 0.485), (-0.095, 0.485)], p.shirt, shirt)
            collar = mix(COLOURS[p.shirt.colour], _INK, 0.22)
            self._stroke([(-0.04, 0.725), (0, 0.695), (0.04, 0.725)], 0.01, collar, shirt)
            return shirt, p.shirt, 0.55
        if skirted:
            self._skirt()
        shirt = self._garment("Shirt", "shirt", p.shirt)
        self._poly([(-0.08, 0.735), (0.08, 0.735), (0.08, 0.47), (-0.08, 0.47)], p.shirt, shirt)
        jacket = self._garment("Jacket", "jacket", p.jacket)
        for s in (-1, 1):
            self._poly(
                [
                    (0.02 * s, 0.745),
                    (0.115 * s, 0.745),
                    (0.14 * s, 0.6),
                    (0.145 * s, 0.405),
                    (0.055 * s, 0.4),
                    (0.05 * s, 0.6),
                ],
                p.jacket,
                jacket,
            )
            edge = mix(COLOURS[p.jacket.colour], _INK, 0.25)
            self._stroke([(0.035 * s, 0.735), (0.052 * s, 0.62), (0.057 * s, 0.41)], 0.009, edge, jacket)
        return jacket, p.jacket, 0.88

    def _skirt(self) -> None:
        look = self._p.skirt
        owner = self._garment("Skirt", "skirt", look)
        self._poly([(-0.085, 0.53), (0.085, 0.53), (0.18, 0.285), (-0.18, 0.285)], look, owner)
        fold = mix(COLOURS[look.colour], _INK, 0.2)
        for x in (-0.085, 0.0, 0.085):
            self._stroke([(x * 0.8, 0.45), (x * 1.45, 0.31)], 0.006, fold, owner)

    def _arms(self, owner: int, cloth: Look | Rgb, sleeve: float) -> None:
        swing = 0.05 if self._p.pose == "walking" else 0.015
        for s in (-1, 1):
            shoulder, hand = (0.115 * s, 0.7), ((0.165 + swing) * s, 0.42)
            elbow = (0.172 * s, 0.56)
            bare = [elbow, hand] if sleeve >= 0.5 else [_between(shoulder, elbow, 0.6), elbow, hand]
            self._stroke(bare, 0.046, self._skin, 0)
            self._oval(hand[0], hand[1] - 0.006, 0.028, 0.028, self._skin, 0)
            self._sleeve(shoulder, elbow, hand, sleeve, cloth, owner)

    def _sleeve(
        self, shoulder: Point, elbow: Point, hand: Point, length: float, cloth: Look | Rgb, owner: int
    ) -> None:
        s = 1 if shoulder[0] > 0 else -1
        middle = _between(shoulder, elbow, min(1.0, length * 2))
        end = _between(elbow, hand, length * 2 - 1) if length > 0.5 else _between(shoulder, elbow, length * 2)
        half = 0.04
        outline = [
            (shoulder[0] - 0.04 * s, shoulder[1] + 0.03),
            (shoulder[0] + 0.03 * s, shoulder[1] + 0.015),
            (middle[0] + half * s, middle[1]),
            (end[0] + half * s, end[1]),
            (end[0] - half * s, end[1] - 0.01),
            (middle[0] - half * s, middle[1] - 0.02),
            (shoulder[0] - 0.05 * s, shoulder[1] - 0.06),
        ]
        self._poly(outline, cloth, owner, 1)
        if isinstance(cloth, Look):
            dark = mix(COLOURS[cloth.colour], _INK, 0.25)
            self._stroke(
                [(middle[0] - half * s, middle[1] + 0.02), (shoulder[0] - 0.03 * s, shoulder[1] - 0.05)],
                0.007,
                dark,
                owner,
            )

    def _bag(self, look: Look) -> None:
        s = self._p.facing
        swing = 0.05 if self._p.pose == "walking" else 0.015
        x, y = (0.178 + swing) * s, 0.4
        owner = self._garment("Bag", "bag", look)
        dark = mix(COLOURS[look.colour], _INK, 0.4)
        self._stroke(
            [(x - 0.045, y - 0.075), (x - 0.03, y), (x + 0.03, y), (x + 0.045, y - 0.075)], 0.014, dark, owner
        )
        self._poly(
            [(x - 0.085, y - 0.06), (x + 0.085, y - 0.06), (x + 0.095, y - 0.215), (x - 0.095, y - 0.215)],
            look,
            owner,
            1,
            0.8,
        )
        self._stroke([(x - 0.075, y - 0.1), (x + 0.075, y - 0.1)], 0.009, dark, owner)

    def _head(self) -> None:
        p = self._p
        look = 0.012 * p.facing
        dark = mix(self._hair, _INK, 0.25)
        if p.hair_style in ("bob", "long"):
            self._poly(
                [(-0.128, 0.93), (-0.145, 0.74), (-0.07, 0.735), (0.07, 0.735), (0.145, 0.74), (0.128, 0.93)],
                self._hair,
                0,
                2,
            )
        self._oval(0, 0.875, 0.125, 0.118, self._hair, 0)
        self._oval(look * 0.6, 0.852, 0.104, 0.102, self._skin, 0)
        for s in (-1, 1):
            self._oval(s * 0.072 + look, 0.815, 0.022, 0.013, mix(self._skin, (240, 110, 120), 0.45), 0)
            self._oval(s * 0.045 + look, 0.846, 0.0165, 0.026, _INK, 0)
            self._oval(s * 0.045 + look + 0.005, 0.856, 0.006, 0.009, (255, 255, 255), 0)
        self._stroke([(look - 0.014, 0.797), (look, 0.791), (look + 0.014, 0.797)], 0.007, (196, 84, 90), 0)
        fringe: list[Point] = [
            (-0.122, 0.86),
            (-0.118, 0.95),
            (-0.06, 0.992),
            (0.06, 0.992),
            (0.118, 0.95),
            (0.122, 0.86),
            (0.092, 0.905),
            (0.06, 0.885),
            (0.02 + look, 0.925),
            (-0.02, 0.885),
            (-0.06, 0.915),
            (-0.095, 0.89),
        ]
        self._poly(fringe, self._hair, 0, 1)
        self._stroke(
            [(-0.06, 0.955), (-0.02, 0.97), (0.03, 0.968)], 0.008, mix(self._hair, (255, 255, 255), 0.3), 0
        )
        if p.hair_style == "ponytail":
            self._oval(-0.115 * p.facing, 0.93, 0.022, 0.022, dark, 0)

    def _hat(self, look: Look) -> None:
        p = self._p
        owner = self._garment("Hat", "hat", look)
        dark = mix(COLOURS[look.colour], _INK, 0.28)
        dome: list[Point] = [
            (-0.132, 0.915),
            (-0.13, 1.0),
            (-0.07, 1.06),
            (0.07, 1.06),
            (0.13, 1.0),
            (0.132, 0.915),
        ]
        if p.hat_style == "sunhat":
            self._poly(
                [(-0.23, 0.925), (-0.12, 0.965), (0.12, 0.965), (0.23, 0.925), (0.12, 0.9), (-0.12, 0.9)],
                look,
                owner,
                2,
            )
            self._poly([(x * 0.86, y + 0.02) for x, y in dome], look, owner, 1)
            self._stroke([(-0.108, 0.952), (0.108, 0.952)], 0.02, dark, owner)
            return
        self._poly(dome, look, owner, 1)
        if p.hat_style == "cap":
            s = p.facing
            self._poly(
                [(0.0, 0.945), (0.12 * s, 0.955), (0.215 * s, 0.905), (0.1 * s, 0.9), (0.0, 0.91)],
                dark,
                owner,
            )
        else:
            self._stroke([(-0.122, 0.926), (0.122, 0.926)], 0.04, dark, owner)
            self._oval(0, 1.065, 0.032, 0.03, accent(COLOURS[look.colour]), owner)


def _between(a: Point, b: Point, share: float) -> Point:
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)
