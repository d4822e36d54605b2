"""Pictures that are no drawn scenes: textures, noise, plots, screens, collages; and written words.

They stand in for photographs, which a small checkpoint must not pretend to understand. `KEPT` are
kinds that training never sees. Knows no question.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from media_training.figures import COLOURS, Rgb
from media_training.scenes import PIXELS, render, scenes

Maker = Callable[[random.Random], Image.Image]
FONTS: Final = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral",
    "STIXGeneralBol", "cmr10", "cmss10",
)  # fmt: skip
SYLLABLES: Final = (
    "an be con der el fa ge hi in jo ka la mo ne or pe qui ra sta to un ver wi xa yo ze".split()
)
SIDE: Final = 128


def odd_pictures(seed: int) -> Iterator[Image.Image]:
    """Yield the odd pictures of training, 64 x 64 pixels, without end."""
    rng = random.Random(seed)
    while True:
        yield small(rng.choice(TRAINED)(rng))


def kept_pictures(seed: int) -> Iterator[Image.Image]:
    """Yield odd pictures of the kinds kept for evaluation, 64 x 64 pixels, without end."""
    rng = random.Random(seed)
    while True:
        yield small(rng.choice(KEPT)(rng))


def small(image: Image.Image) -> Image.Image:
    return image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BILINEAR, reducing_gap=2)


def written(rng: random.Random, words: str | None = None) -> Image.Image:
    """Draw words, on one line or several, large enough for tesseract to read."""
    paper, ink = _paper_and_ink(rng)
    text = words or "\n".join(_words(rng, rng.randint(1, 3)) for _ in range(rng.randint(1, 4)))
    letters = font(rng.choice(FONTS), rng.randint(26, 48))
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = probe.multiline_textbbox((0, 0), text, font=letters, spacing=10)
    margin = rng.randint(12, 50)
    width, height = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    page = Image.new("RGB", (max(width, height // 2), max(height, width // 4)), paper)
    corner = (margin - left, (page.height - (bottom - top)) / 2 - top)
    ImageDraw.Draw(page).multiline_text(corner, text, fill=ink, font=letters, spacing=10)
    return page


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that matplotlib brings."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), size)


def _words(rng: random.Random, number: int) -> str:
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(number)]
    return " ".join(rng.choice((str.lower, str.title, str.upper))(word) for word in words)


def _paper_and_ink(rng: random.Random) -> tuple[Rgb, Rgb]:
    light, dark = (255, 255, 255), (20, 20, 20)
    if rng.random() < 0.5:
        light = (rng.randint(200, 255), rng.randint(200, 255), rng.randint(200, 255))
        dark = (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))
    return (light, dark) if rng.random() < 0.8 else (dark, light)


def _rgb(rng: random.Random) -> Rgb:
    """Return any colour, most often a dull one, as in photographs."""
    red, green, blue = (rng.randrange(256) for _ in range(3))
    if rng.random() < 0.3:
        return (red, green, blue)
    grey, part = (red + green + blue) // 3, rng.uniform(0.1, 0.6)
    return tuple(round(grey + (value - grey) * part) for value in (red, green, blue))  # pyright: ignore


def _array(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(32))


def _image(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _clouds(rng: random.Random, channels: int = 3) -> NDArray[np.float64]:
    """Noise of several octaves, as in clouds, stone, water and leaves; from 0 to 1."""
    source, total = _array(rng), np.zeros((SIDE, SIDE, channels))
    fall = rng.uniform(0.35, 0.8)
    for octave, cells in enumerate((2, 4, 8, 16, 32, 64)):
        grid = source.random((cells, cells, channels))
        layers = [
            np.asarray(
                Image.fromarray(grid[..., channel].astype(np.float32)).resize(
                    (SIDE, SIDE), Image.Resampling.BICUBIC
                )
            )
            for channel in range(channels)
        ]
        total += np.stack(layers, axis=-1) * fall**octave
    total -= total.min()
    return total / total.max()


def _texture(rng: random.Random) -> Image.Image:
    low, high = np.array(_rgb(rng), float), np.array(_rgb(rng), float)
    return _image(low + (high - low) * _clouds(rng, rng.choice((1, 3))))


def _grain(rng: random.Random) -> Image.Image:
    base = np.array(_rgb(rng), float)
    noise = _array(rng).normal(0, rng.uniform(30, 120), (SIDE, SIDE, rng.choice((1, 3))))
    return _image(base + noise)


def _gradient(rng: random.Random) -> Image.Image:
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    angle, spread = rng.uniform(0, 6.3), rng.uniform(0.5, 2)
    if rng.random() < 0.4:
        way = np.hypot(x - rng.random(), y - rng.random()) * spread
    else:
        way = (x * np.cos(angle) + y * np.sin(angle)) * spread + 0.5
    stops = np.array([_rgb(rng) for _ in range(rng.randint(2, 4))], float)
    place = np.clip(way, 0, 1) * (len(stops) - 1)
    return _image(
        np.stack([np.interp(place, range(len(stops)), stops[:, i]) for i in range(3)], axis=-1)
    )


def _landscape(rng: random.Random) -> Image.Image:
    """Ridges one before the other under a sky, rough as in a photograph."""
    values = np.array(_gradient(rng), float)
    rows = np.arange(SIDE)[:, None]
    for layer in range(rng.randint(1, 4)):
        ridge = np.cumsum(_array(rng).normal(0, rng.uniform(0.5, 2), SIDE))
        height = SIDE * rng.uniform(0.2, 0.5) + ridge + layer * SIDE * 0.12
        mask = rows > height[None, :]
        values[mask] = (np.array(_rgb(rng), float) * rng.uniform(0.3, 0.8) + 60 * _clouds(rng))[
            mask
        ]
    return _image(values + _array(rng).normal(0, 6, values.shape))


def _blobs(rng: random.Random) -> Image.Image:
    """Blurred patches and lights, as out of focus."""
    image = _texture(rng)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 14)):
        x, y, r = rng.randrange(SIDE), rng.randrange(SIDE), rng.randint(6, 50)
        pen.ellipse((x - r, y - r * rng.uniform(0.4, 1.5), x + r, y + r), fill=_rgb(rng))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(3, 10)))
    return _image(
        np.asarray(image, float) + _array(rng).normal(0, rng.uniform(2, 12), (SIDE, SIDE, 1))
    )


def _portrait(rng: random.Random) -> Image.Image:
    """A head and shoulders before a blurred background, shaded."""
    image = _blobs(rng)
    pen = ImageDraw.Draw(image)
    skin = np.array((rng.randint(90, 240), rng.randint(60, 190), rng.randint(40, 160)))
    x, y, r = rng.randint(45, 85), rng.randint(40, 70), rng.randint(18, 34)
    pen.ellipse((x - 2 * r, y + r, x + 2 * r, y + 4 * r), fill=_rgb(rng))
    pen.ellipse((x - r * 1.1, y - r * 1.5, x + r * 1.1, y + r * 0.8), fill=_rgb(rng))
    pen.ellipse((x - r * 0.8, y - r, x + r * 0.8, y + r * 1.2), fill=tuple(skin.tolist()))
    for side in (-1, 1):
        eye = (x + side * r * 0.35, y - r * 0.1)
        pen.ellipse((eye[0] - 3, eye[1] - 2, eye[0] + 3, eye[1] + 2), fill=(30, 25, 25))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(1, 3)))
    shade = 0.6 + 0.7 * _clouds(rng, 1)
    return _image(np.asarray(image, float) * shade)


def _collage(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), _rgb(rng))
    for _ in range(rng.randint(3, 9)):
        patch = rng.choice((_texture, _gradient, _landscape, _scene))(rng)
        width, height = rng.randint(20, 90), rng.randint(20, 90)
        patch = (
            patch.resize((SIDE, SIDE))
            .crop((0, 0, width, height))
            .rotate(rng.uniform(-20, 20) * rng.randint(0, 1))
        )
        image.paste(patch, (rng.randint(-20, SIDE - 20), rng.randint(-20, SIDE - 20)))
    return image


@cache
def _some_scenes() -> tuple[Image.Image, ...]:
    return tuple(map(render, itertools.islice(scenes(7), 200)))


def _scene(rng: random.Random) -> Image.Image:
    return rng.choice(_some_scenes())


def _blurred_crop(rng: random.Random) -> Image.Image:
    """Part of a scene, much enlarged and blurred or turned: nothing is whole."""
    image = (
        rng.choice((_scene, _collage))(rng)
        .resize((SIDE * 4, SIDE * 4))
        .rotate(rng.uniform(20, 70), expand=True)
    )
    x, y = rng.randint(SIDE, SIDE * 3), rng.randint(SIDE, SIDE * 3)
    crop = image.crop((x, y, x + SIDE, y + SIDE)).filter(
        ImageFilter.GaussianBlur(rng.uniform(3, 12))
    )
    return _image(np.asarray(crop, float) * (0.6 + 0.6 * _clouds(rng, 1)))


def _plot(rng: random.Random) -> Image.Image:
    image = Image.new(
        "RGB", (SIDE, SIDE), rng.choice(((255, 255, 255), (245, 245, 245), (20, 20, 30)))
    )
    pen = ImageDraw.Draw(image)
    ink = (0, 0, 0) if sum(image.getpixel((0, 0))) > 300 else (230, 230, 230)  # pyright: ignore
    pen.line([(14, 8), (14, 114), (122, 114)], fill=ink, width=rng.randint(1, 2))
    for _ in range(rng.randint(1, 4)):
        colour = rng.choice(tuple(COLOURS.values()))
        heights = 60 + np.cumsum(_array(rng).normal(0, rng.uniform(3, 14), 24))
        points = [(14 + 4.5 * i, float(np.clip(h, 10, 112))) for i, h in enumerate(heights)]
        match rng.randrange(3):
            case 0:
                pen.line(points, fill=colour, width=rng.randint(1, 3))
            case 1:
                for x, y in points[::3]:
                    pen.rectangle((x, y, x + 9, 113), fill=colour)
            case _:
                for x, y in points:
                    pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return image


def _screen(rng: random.Random) -> Image.Image:
    """A window with a bar, a list and lines of text too small to read."""
    page = rng.choice(((255, 255, 255), (240, 240, 245), (30, 30, 35)))
    ink = (60, 60, 60) if page[0] > 100 else (200, 200, 200)
    image = Image.new("RGB", (SIDE, SIDE), page)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIDE, rng.randint(8, 18)), fill=_rgb(rng))
    left = 6
    if rng.random() < 0.5:
        left = rng.randint(26, 46)
        pen.rectangle((0, 12, left - 4, SIDE), fill=_rgb(rng))
    y = 22
    while y < SIDE - 8:
        if rng.random() < 0.15:
            pen.rectangle((left, y, left + rng.randint(15, 60), y + 16), fill=_rgb(rng))
            y += 14
        x = left
        while x < SIDE - 20:
            word = rng.randint(3, 14)
            pen.rectangle((x, y, x + word, y + 2), fill=ink)
            x += word + 3
        y += rng.randint(5, 8)
    return image


def _clutter(rng: random.Random) -> Image.Image:
    """Many shapes one over the other."""
    image = Image.new("RGB", (SIDE, SIDE), _rgb(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(12, 60)):
        x, y = rng.randrange(SIDE), rng.randrange(SIDE)
        w, h = rng.randint(4, 60), rng.randint(4, 60)
        match rng.randrange(4):
            case 0:
                pen.rectangle((x, y, x + w, y + h), fill=_rgb(rng))
            case 1:
                pen.ellipse((x, y, x + w, y + h), fill=_rgb(rng))
            case 2:
                pen.polygon([(x, y), (x + w, y + h // 3), (x + w // 3, y + h)], fill=_rgb(rng))
            case _:
                pen.line(
                    [(x, y), (rng.randrange(SIDE), rng.randrange(SIDE))], fill=_rgb(rng), width=3
                )
    return image


def _plain(rng: random.Random) -> Image.Image:
    """Nothing at all: one colour."""
    return Image.new("RGB", (SIDE, SIDE), rng.choice((*COLOURS.values(), _rgb(rng))))


TRAINED: Final[tuple[Maker, ...]] = (
    _texture, _texture, _grain, _gradient, _landscape, _landscape, _blobs, _blobs, _portrait,
    _portrait, _collage, _blurred_crop, _plot, _screen, _clutter, _plain,
)  # fmt: skip


def _photograph(rng: random.Random) -> Image.Image:
    """Part of the one photograph that matplotlib brings."""
    photograph = _read("grace_hopper.jpg")
    side = rng.randint(150, min(photograph.size))
    x, y = rng.randint(0, photograph.width - side), rng.randint(0, photograph.height - side)
    part = photograph.crop((x, y, x + side, y + side))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


@cache
def _read(name: str) -> Image.Image:
    path = Path(matplotlib.get_data_path()) / "sample_data" / name
    return Image.open(path).convert("RGB")


def _marble(rng: random.Random) -> Image.Image:
    waves = np.sin(20 * _clouds(rng, 1) + np.linspace(0, rng.uniform(3, 30), SIDE)[:, None, None])
    low, high = np.array(_rgb(rng), float), np.array(_rgb(rng), float)
    return _image(low + (high - low) * (waves + 1) / 2)


def _tiles(rng: random.Random) -> Image.Image:
    side, gap = rng.randint(6, 24), rng.randint(1, 4)
    base = np.array(_rgb(rng), float)
    wall = Image.new("RGB", (SIDE, SIDE), _rgb(rng))
    pen = ImageDraw.Draw(wall)
    for row, y in enumerate(range(0, SIDE, side)):
        for x in range(-side * (row % 2), SIDE, side * 2):
            brick = tuple(int(min(255, v * rng.uniform(0.7, 1.2))) for v in base)
            pen.rectangle((x, y, x + side * 2 - gap, y + side - gap), fill=brick)
    return wall


def _fractal(rng: random.Random) -> Image.Image:
    y, x = np.mgrid[-1.4 : 1.4 : SIDE * 1j, -1.4 : 1.4 : SIDE * 1j]
    z, seed = x + 1j * y, complex(rng.uniform(-0.9, 0.3), rng.uniform(0.2, 0.8))
    steps = np.zeros(z.shape)
    for _ in range(30):
        inside = np.abs(z) < 3
        z = np.where(inside, z * z + seed, z)
        steps += inside
    colours = np.array(_rgb(rng), float)
    return _image(steps[..., None] / 30 * colours + 255 * (1 - steps[..., None] / 30) * 0.3)


KEPT: Final[tuple[Maker, ...]] = (_photograph, _photograph, _marble, _tiles, _fractal)
