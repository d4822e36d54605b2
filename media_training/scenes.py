"""Drawn scenes with captions, without end: what draw learns to paint and look to describe.

A caption says all that is unusual and may leave out what goes without saying: a white background,
the middle, a usual size, a thing's usual colour. Knows no model.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageDraw

from media_training.figures import COLOURS, KINDS, Rgb, figure

PIXELS: Final = 64
# Drawn so many times larger and averaged, for smooth edges.
OVERSAMPLING: Final = 4

Layout = Literal["one", "several", "row", "two"]
Relation = Literal["above", "on", "left of", "right of"]


@dataclass(frozen=True, slots=True)
class Scenery:
    """A background of sky over ground, the horizon `horizon` of the height from the top."""

    sky: Rgb
    ground: Rgb
    horizon: float


SCENERIES: Final = {
    "meadow": Scenery((175, 220, 250), (150, 210, 110), 0.62),
    "sea": Scenery((205, 230, 245), (85, 150, 200), 0.6),
    "snow": Scenery((160, 185, 215), (240, 245, 250), 0.62),
    "desert": Scenery((190, 225, 245), (235, 200, 130), 0.62),
    "night": Scenery((15, 20, 60), (30, 45, 50), 0.75),
}
BACKGROUNDS: Final = (*COLOURS, *SCENERIES)
# What cannot be seen before a background of another name.
UNSEEN: Final = {"night": {"black"}, "snow": {"white"}}
USUAL_COLOURS: Final = {
    "circle": "blue", "square": "green", "triangle": "orange", "star": "yellow", "heart": "red",
    "cross": "red", "diamond": "turquoise", "ring": "orange", "house": "red", "tree": "green",
    "sun": "yellow", "moon": "yellow", "boat": "brown", "kite": "purple", "cat": "orange",
    "car": "red", "flower": "pink", "fish": "orange", "cloud": "grey", "balloon": "red",
}  # fmt: skip

SIZES: Final = {"small": 0.24, "medium": 0.4, "big": 0.62}
# Where a thing's centre lies, as parts of width and height.
ZONES: Final = {
    "middle": (0.5, 0.5),
    "left": (0.24, 0.5),
    "right": (0.76, 0.5),
    "top": (0.5, 0.24),
    "bottom": (0.5, 0.76),
    "top left": (0.24, 0.24),
    "top right": (0.76, 0.24),
    "bottom left": (0.24, 0.76),
    "bottom right": (0.76, 0.76),
}
CORNER_SIZES: Final = ("small", "medium")
# Centres and size of things in numbers.
SEVERAL: Final[dict[int, tuple[float, tuple[tuple[float, float], ...]]]] = {
    2: (0.4, ((0.27, 0.5), (0.73, 0.5))),
    3: (0.36, ((0.27, 0.72), (0.5, 0.27), (0.73, 0.72))),
    4: (0.36, ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73))),
    5: (0.29, ((0.2, 0.2), (0.8, 0.2), (0.5, 0.5), (0.2, 0.8), (0.8, 0.8))),
}
ROW_SIZES: Final = {3: 0.31, 4: 0.24, 5: 0.195}
# Centres and sizes of the first and the second of two things.
TWO: Final[dict[Relation, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    "above": ((0.5, 0.22, 0.36), (0.5, 0.73, 0.42)),
    "on": ((0.5, 0.3, 0.34), (0.5, 0.69, 0.44)),
    "left of": ((0.26, 0.5, 0.42), (0.74, 0.5, 0.42)),
    "right of": ((0.74, 0.5, 0.42), (0.26, 0.5, 0.42)),
}
JITTER: Final = 0.03
HELD_OUT_OF: Final = 8


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in a scene; `size`, `x` and `y` (its centre) are parts of the picture's width."""

    kind: str
    colour: str
    size: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows.

    `zone` is said of one thing, `size_name` too; `relation` is that of the first thing to the
    second where there are two. Things in numbers are alike.
    """

    background: str
    layout: Layout
    things: tuple[Thing, ...]
    zone: str = "middle"
    size_name: str = "medium"
    relation: Relation | None = None

    @property
    def is_held_out(self) -> bool:
        """Whether its combination of attributes is kept for evaluation, whatever the seed."""
        things = "+".join(f"{thing.colour} {thing.kind}" for thing in self.things)
        return zlib.crc32(f"{self.background}: {things}".encode()) % HELD_OUT_OF == 0


def scenes(seed: int, *, held_out: bool = False) -> Iterator[Scene]:
    """Yield scenes without end: those of training, or those that are held out."""
    source = _Scenes(random.Random(seed))
    return (scene for scene in source if scene.is_held_out == held_out)


class _Scenes:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __iter__(self) -> Iterator[Scene]:
        while True:
            background = self._background()
            layout = self._rng.choices(("one", "several", "row", "two"), (40, 22, 8, 30))[0]
            if layout == "one":
                yield self._one(background)
            elif layout == "two":
                yield self._two(background)
            else:
                yield self._in_numbers(background, layout)

    def _background(self) -> str:
        group = self._rng.random()
        if group < 0.3:
            return "white"
        return self._rng.choice(tuple(COLOURS if group < 0.65 else SCENERIES))

    def _kind_and_colour(self, background: str) -> tuple[str, str]:
        unseen = {background, *UNSEEN.get(background, ())}
        kind = self._rng.choice(tuple(KINDS))
        usual = USUAL_COLOURS[kind]
        if usual not in unseen and self._rng.random() < 0.2:
            return kind, usual
        return kind, self._rng.choice([colour for colour in COLOURS if colour not in unseen])

    def _near(self, value: float) -> float:
        return value + self._rng.uniform(-JITTER, JITTER)

    def _one(self, background: str) -> Scene:
        kind, colour = self._kind_and_colour(background)
        zone = "middle" if self._rng.random() < 0.35 else self._rng.choice(tuple(ZONES))
        sizes = tuple(SIZES) if zone == "middle" else CORNER_SIZES
        size = self._rng.choice(sizes)
        x, y = ZONES[zone]
        thing = Thing(kind, colour, SIZES[size], self._near(x), self._near(y))
        return Scene(background, "one", (thing,), zone, size)

    def _in_numbers(self, background: str, layout: Layout) -> Scene:
        kind, colour = self._kind_and_colour(background)
        count = self._rng.choice(tuple(ROW_SIZES if layout == "row" else SEVERAL))
        size, centres = SEVERAL[count]
        if layout == "row":
            size = ROW_SIZES[count]
            centres = tuple(((index + 0.5) / count, 0.5) for index in range(count))
        shift_x, shift_y = self._near(0), self._near(0)
        things = (Thing(kind, colour, size, x + shift_x / 2, y + shift_y) for x, y in centres)
        return Scene(background, layout, tuple(things))

    def _two(self, background: str) -> Scene:
        relation = self._rng.choice(tuple(TWO))
        first = self._kind_and_colour(background)
        second = first
        while second == first:
            second = self._kind_and_colour(background)
        (x, y, size), (other_x, other_y, other_size) = TWO[relation]
        things = (
            Thing(*first, size, self._near(x), y),
            Thing(*second, other_size, self._near(other_x), other_y),
        )
        return Scene(background, "two", things, relation=relation)


def render(scene: Scene) -> Image.Image:
    """Draw a scene, 64 x 64 pixels."""
    side = PIXELS * OVERSAMPLING
    image = _ground(scene.background, side)
    for thing in scene.things:
        pixels = round(thing.size * side)
        shape = figure(thing.kind, thing.colour, pixels)
        corner = (round(thing.x * side - pixels / 2), round(thing.y * side - pixels / 2))
        image.paste(shape, corner, shape)
    return image.reduce(OVERSAMPLING)


def _ground(background: str, side: int) -> Image.Image:
    if background in COLOURS:
        return Image.new("RGB", (side, side), COLOURS[background])
    scenery = SCENERIES[background]
    image = Image.new("RGB", (side, side), scenery.sky)
    ImageDraw.Draw(image).rectangle((0, scenery.horizon * side, side, side), fill=scenery.ground)
    return image


NAMES: Final = {
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "box"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "house": ("house", "house", "hut", "cottage"),
    "boat": ("boat", "boat", "ship", "sailing boat"),
    "cat": ("cat", "cat", "cat face", "kitten"),
    "moon": ("moon", "moon", "crescent"),
    "ring": ("ring", "ring", "hoop"),
    "sun": ("sun",),
    "flower": ("flower", "flower", "blossom"),
}
PLURALS: Final = {"box": "boxes", "cross": "crosses", "fish": "fish"}
COLOUR_NAMES: Final = {
    "grey": ("grey", "gray"),
    "purple": ("purple", "purple", "violet"),
    "turquoise": ("turquoise", "turquoise", "cyan"),
}
NUMBERS: Final = {2: "two", 3: "three", 4: "four", 5: "five"}
GROUND_WORDS: Final = {
    "meadow": ("in a meadow", "on the grass", "in a green field", "on a sunny day", "in the grass"),
    "sea": ("at the sea", "by the sea", "on the water", "at sea", "on the ocean"),
    "snow": ("in the snow", "in winter", "on a snowy day", "on snow"),
    "desert": ("in the desert", "on the sand", "at the beach", "on the beach"),
    "night": ("at night", "in the night", "in the dark", "under the night sky"),
}
ZONE_WORDS: Final = {
    "middle": ("in the middle", "in the centre", "in the center"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "in the upper part", "up high"),
    "bottom": ("at the bottom", "in the lower part", "down low"),
    "top left": ("in the top left corner", "at the top left", "in the upper left"),
    "top right": ("in the top right corner", "at the top right", "in the upper right"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right"),
}
SIZE_WORDS: Final = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
RELATION_WORDS: Final[dict[Relation, tuple[str, ...]]] = {
    "above": ("above", "over", "high above"),
    "on": ("on", "on top of", "standing on"),
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
}
# The same relation said of the second thing.
TURNED_WORDS: Final[dict[Relation, tuple[str, ...]]] = {
    "above": ("under", "below", "beneath"),
    "left of": ("right of", "to the right of"),
    "right of": ("left of", "to the left of"),
}
# Of two things side by side, the one on the left is said first.
LOOSE_WORDS: Final = ("beside", "next to", "and", "and", "with")
PREFIXES: Final = ("a picture of ", "a drawing of ", "an image of ", "a picture with ")


def caption(scene: Scene, rng: random.Random) -> str:
    """Say what a scene shows, in one of many wordings."""
    speaker = _Speaker(scene, rng)
    text = {"one": speaker.one, "two": speaker.two}.get(scene.layout, speaker.in_numbers)()
    words = text + speaker.background()
    return rng.choice(PREFIXES) + words if rng.random() < 0.08 else words


class _Speaker:
    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self._scene = scene
        self._rng = rng

    def one(self) -> str:
        (thing,) = self._scene.things
        place = self._zone()
        if place and self._rng.random() < 0.1:
            return f"{place}, {self._a(self._described(thing))}"
        return f"{self._a(self._described(thing))} {place}".rstrip()

    def in_numbers(self) -> str:
        things = self._scene.things
        count = NUMBERS[len(things)] if self._rng.random() < 0.8 else str(len(things))
        row = self._rng.choice((" in a row", " side by side", " in a line"))
        named = self._described(things[0], is_plural=True)
        return f"{count} {named}{row if self._scene.layout == 'row' else ''}"

    def two(self) -> str:
        relation = self._scene.relation
        assert relation is not None
        first, second = (self._a(self._described(thing)) for thing in self._scene.things)
        choice = self._rng.random()
        if relation in ("left of", "right of") and choice < 0.3:
            pair = (first, second) if relation == "left of" else (second, first)
            return f"{pair[0]} {self._rng.choice(LOOSE_WORDS)} {pair[1]}"
        if relation in TURNED_WORDS and choice < 0.6:
            return f"{second} {self._rng.choice(TURNED_WORDS[relation])} {first}"
        return f"{first} {self._rng.choice(RELATION_WORDS[relation])} {second}"

    def background(self) -> str:
        name = self._scene.background
        if name == "white" and self._rng.random() < 0.7:
            return ""
        if name in GROUND_WORDS:
            return " " + self._rng.choice(GROUND_WORDS[name])
        colour = self._colour(name)
        return self._rng.choice(
            (
                f" on {colour}",
                f" on a {colour} background",
                f" on {colour} background",
                f" in front of a {colour} wall",
                f", {colour} background",
            )
        )

    def _zone(self) -> str:
        zone = self._scene.zone
        if zone == "middle" and self._rng.random() < 0.8:
            return ""
        return self._rng.choice(ZONE_WORDS[zone])

    def _described(self, thing: Thing, *, is_plural: bool = False) -> str:
        name = self._rng.choice(NAMES.get(thing.kind, (thing.kind,)))
        words = [PLURALS.get(name, f"{name}s") if is_plural else name]
        if thing.colour != USUAL_COLOURS[thing.kind] or self._rng.random() < 0.5:
            words.insert(0, self._colour(thing.colour))
        if self._scene.size_name in SIZE_WORDS:
            words.insert(0, self._rng.choice(SIZE_WORDS[self._scene.size_name]))
        return " ".join(words)

    def _colour(self, colour: str) -> str:
        return self._rng.choice(COLOUR_NAMES.get(colour, (colour,)))

    def _a(self, words: str) -> str:
        if self._rng.random() < 0.1:
            return f"the {words}"
        return f"an {words}" if words[0] in "aeio" else f"a {words}"


def examples(seed: int, *, held_out: bool = False) -> Iterator[tuple[Scene, str]]:
    """Yield scenes with a caption each, without end; the seed fixes both."""
    rng = random.Random(seed)
    return ((scene, caption(scene, rng)) for scene in scenes(seed, held_out=held_out))


def sheet(pairs: list[tuple[Image.Image, str]], *, columns: int, scale: int = 2) -> Image.Image:
    """Lay pictures out with their captions beneath, for people to look at."""
    width, height = 150, PIXELS * scale + 36
    rows = -(-len(pairs) // columns)
    page = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(page)
    for (row, column), (image, text) in zip(
        itertools.product(range(rows), range(columns)), pairs, strict=False
    ):
        corner = (column * width + 8, row * height + 4)
        page.paste(image.resize((PIXELS * scale, PIXELS * scale), Image.Resampling.NEAREST), corner)
        pen.multiline_text(
            (corner[0], corner[1] + PIXELS * scale + 2), _wrapped(text), fill="black", spacing=1
        )
    return page


def _wrapped(text: str) -> str:
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) > 24:
            lines.append(word)
        else:
            lines[-1] = joined
    return "\n".join(lines)
