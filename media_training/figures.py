"""What each kind of thing looks like: flat parts in a square from -1 to 1, y downwards.

Knows no scene: a part is filled with the thing's own colour, a fixed one, or cut out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

Point = tuple[float, float]
Rgb = tuple[int, int, int]

COLOURS: Final[dict[str, Rgb]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (250, 220, 40),
    "green": (30, 150, 60),
    "turquoise": (30, 190, 190),
    "blue": (40, 80, 220),
    "purple": (130, 50, 170),
    "pink": (245, 130, 180),
    "brown": (130, 80, 40),
    "black": (20, 20, 20),
    "grey": (135, 135, 135),
    "white": (255, 255, 255),
}
FIXED: Final[dict[str, Rgb]] = {
    "dark": (45, 35, 45),
    "pale": (240, 240, 225),
    "wood": (115, 75, 45),
    "leaf": (60, 150, 60),
    "middle": (250, 210, 60),
}
OWN, HOLE = "own", "hole"


@dataclass(frozen=True, slots=True)
class Part:
    """A polygon, or with two points an ellipse in their box. Later parts lie over earlier ones."""

    points: tuple[Point, ...]
    fill: str = OWN


def _box(left: float, top: float, right: float, bottom: float, fill: str = OWN) -> Part:
    return Part(((left, top), (right, top), (right, bottom), (left, bottom)), fill)


def _oval(left: float, top: float, right: float, bottom: float, fill: str = OWN) -> Part:
    return Part(((left, top), (right, bottom)), fill)


def _polygon(*points: Point, fill: str = OWN) -> Part:
    return Part(points, fill)


def _star(tips: int, inner: float, outer: float = 1.0) -> Part:
    """A star whose corners lie on two circles, the first at the top."""
    angles = [math.pi * index / tips for index in range(2 * tips)]
    radii = [outer, inner] * tips
    return Part(
        tuple((r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True))
    )


def _heart() -> Part:
    """The curve x = 16 sin³ t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, in a square."""
    steps = [2 * math.pi * index / 60 for index in range(60)]
    points = [
        (
            16 * math.sin(t) ** 3 / 17,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2.5)
            / 15,
        )
        for t in steps
    ]
    return Part(tuple(points))


SHAPES: Final[dict[str, tuple[Part, ...]]] = {
    "circle": (_oval(-0.95, -0.95, 0.95, 0.95),),
    "square": (_box(-0.85, -0.85, 0.85, 0.85),),
    "triangle": (_polygon((0, -0.95), (1, 0.85), (-1, 0.85)),),
    "star": (_star(5, 0.42),),
    "heart": (_heart(),),
    "cross": (_box(-0.3, -0.95, 0.3, 0.95), _box(-0.95, -0.3, 0.95, 0.3)),
    "diamond": (_polygon((0, -1), (0.7, 0), (0, 1), (-0.7, 0)),),
    "ring": (_oval(-0.95, -0.95, 0.95, 0.95), _oval(-0.5, -0.5, 0.5, 0.5, HOLE)),
}
THINGS: Final[dict[str, tuple[Part, ...]]] = {
    "house": (
        _box(-0.75, -0.1, 0.75, 1),
        _polygon((0, -1), (1, -0.1), (-1, -0.1), fill="dark"),
        _box(-0.45, 0.2, -0.05, 0.55, "pale"),
        _box(0.2, 0.35, 0.55, 1, "dark"),
    ),
    "tree": (_box(-0.16, 0.3, 0.16, 1, "wood"), _oval(-0.8, -1, 0.8, 0.5)),
    "sun": (_star(12, 0.66), _oval(-0.68, -0.68, 0.68, 0.68)),
    "moon": (_oval(-0.8, -0.95, 1.1, 0.95), _oval(-0.1, -0.95, 1.8, 0.95, HOLE)),
    "boat": (
        _polygon((-1, 0.3), (1, 0.3), (0.6, 0.95), (-0.6, 0.95)),
        _box(-0.06, -1, 0.06, 0.3, "wood"),
        _polygon((0.12, -0.9), (0.85, 0.15), (0.12, 0.15), fill="pale"),
        _polygon((-0.12, -0.7), (-0.12, 0.15), (-0.7, 0.15), fill="pale"),
    ),
    "kite": (
        _polygon(
            (0.05, 0.3),
            (0.2, 0.55),
            (-0.1, 0.75),
            (0.1, 1),
            (0.2, 1),
            (0.06, 0.75),
            (0.36, 0.55),
            (0.15, 0.3),
            fill="dark",
        ),
        _polygon((0, -1), (0.7, -0.35), (0, 0.45), (-0.7, -0.35)),
        _box(-0.05, -0.95, 0.05, 0.4, "dark"),
        _box(-0.65, -0.4, 0.65, -0.3, "dark"),
    ),
    "cat": (
        _polygon((-0.85, -1), (-0.1, -0.5), (-0.8, 0.1)),
        _polygon((0.85, -1), (0.1, -0.5), (0.8, 0.1)),
        _oval(-0.9, -0.65, 0.9, 0.95),
        _oval(-0.55, -0.2, -0.2, 0.2, "pale"),
        _oval(0.2, -0.2, 0.55, 0.2, "pale"),
        _oval(-0.45, -0.15, -0.28, 0.15, "dark"),
        _oval(0.28, -0.15, 0.45, 0.15, "dark"),
        _polygon((-0.17, 0.32), (0.17, 0.32), (0, 0.55), fill="dark"),
    ),
    "car": (
        _polygon((-0.55, -0.05), (-0.35, -0.6), (0.35, -0.6), (0.6, -0.05)),
        _polygon((-0.36, -0.08), (-0.24, -0.46), (0.26, -0.46), (0.4, -0.08), fill="pale"),
        _box(-1, -0.1, 1, 0.4),
        _oval(-0.75, 0.1, -0.2, 0.65, "dark"),
        _oval(0.2, 0.1, 0.75, 0.65, "dark"),
    ),
    "flower": (
        _box(-0.08, 0, 0.08, 1, "leaf"),
        _oval(0.05, 0.5, 0.6, 0.8, "leaf"),
        *(
            _oval(
                0.42 * math.sin(a) - 0.33,
                -0.4 - 0.42 * math.cos(a) - 0.33,
                0.42 * math.sin(a) + 0.33,
                -0.4 - 0.42 * math.cos(a) + 0.33,
            )
            for a in (2 * math.pi * index / 5 for index in range(5))
        ),
        _oval(-0.26, -0.66, 0.26, -0.14, "middle"),
    ),
    "fish": (
        _polygon((0.35, 0), (1, -0.6), (1, 0.6)),
        _oval(-1, -0.55, 0.6, 0.55),
        _oval(-0.72, -0.28, -0.4, 0.04, "pale"),
        _oval(-0.65, -0.2, -0.47, -0.03, "dark"),
    ),
    "cloud": (
        _oval(-1, -0.15, -0.1, 0.55),
        _oval(-0.6, -0.6, 0.35, 0.45),
        _oval(0, -0.35, 1, 0.55),
        _box(-0.6, 0.1, 0.6, 0.55),
    ),
    "balloon": (
        _box(-0.04, 0.3, 0.04, 1, "dark"),
        _polygon((0, 0.25), (0.16, 0.5), (-0.16, 0.5)),
        _oval(-0.65, -1, 0.65, 0.42),
    ),
}
KINDS: Final[dict[str, tuple[Part, ...]]] = SHAPES | THINGS


def figure(kind: str, colour: str, pixels: int) -> Image.Image:
    """Draw one thing on a transparent square of so many pixels."""
    image = Image.new("RGBA", (pixels, pixels))
    pen = ImageDraw.Draw(image)
    own = {OWN: (*COLOURS[colour], 255), HOLE: (0, 0, 0, 0)}
    for part in KINDS[kind]:
        fill = own.get(part.fill) or (*FIXED[part.fill], 255)
        points = [((x + 1) * pixels / 2, (y + 1) * pixels / 2) for x, y in part.points]
        if len(points) == 2:
            pen.ellipse(points, fill=fill)
        else:
            pen.polygon(points, fill=fill)
    return image
