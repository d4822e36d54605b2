"""Measure the checkpoint of draw: `python -m media_training.evaluate_draw` prints a JSON object.

Draws captions of combinations that training never saw, judges the pictures by colours, places and
outlines, without any network, and lays some out in docs/media/draw.png. `ceiling` is what the same
judge says of the true pictures. Knows no training.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmos_tools.draw.painter import PICTURE, Painter
from llmos_tools.draw.settings import EMBEDDED_STEPS, DrawSettings
from media_training.figures import COLOURS, KINDS
from media_training.scenes import PIXELS, Relation, Scene, Thing, caption, render, scenes, sheet

ROOT: Final = Path(__file__).parent.parent
NUM_CAPTIONS, NUM_SHOWN = 200, 20
# Distances of colours, from 0 to 441, and of places, as parts of the picture's width.
NEAR_COLOUR, FAR_COLOUR, NEAR_PLACE = 90.0, 70.0, 0.15
OUTLINE: Final = 32
LEAST_PIXELS: Final = 12

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float64]


def judged(image: Image.Image, scene: Scene) -> dict[str, bool]:
    """Say what of a scene a picture of 64 x 64 pixels shows."""
    shown = _pixels(image)
    drawn = _drawn(shown, scene.background)
    edge = np.ones_like(drawn)
    edge[3:-3, 3:-3] = False
    colours = {thing.colour for thing in scene.things}
    return {
        "background": bool((~drawn[edge]).mean() > 0.6),
        "colour": all(_near(shown, drawn, colour).sum() >= LEAST_PIXELS for colour in colours),
        "position": _is_placed(shown, drawn, scene),
        "shape": _is_shaped(shown, drawn, scene),
        "count": len(_parts(drawn)) == len(scene.things) or scene.relation == "on",
    }


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def _drawn(shown: Pixels, background: str) -> Mask:
    """Return what is not background."""
    empty = _pixels(render(Scene(background, "one", ())))
    return np.linalg.norm(shown - empty, axis=2) > FAR_COLOUR


def _near(shown: Pixels, drawn: Mask, colour: str) -> Mask:
    return drawn & (np.linalg.norm(shown - COLOURS[colour], axis=2) < NEAR_COLOUR)


def _is_placed(shown: Pixels, drawn: Mask, scene: Scene) -> bool:
    if scene.relation is None:
        centre = np.mean([(thing.x, thing.y) for thing in scene.things], axis=0)
        where = _centre(drawn)
        return where is not None and bool(np.abs(where - centre).max() < NEAR_PLACE)
    first, second = scene.things
    if first.colour == second.colour:
        parts = sorted(_parts(drawn), key=np.sum, reverse=True)[:2]
        return len(parts) == 2 or scene.relation == "on"
    one, other = (_centre(_near(shown, drawn, thing.colour)) for thing in scene.things)
    if one is None or other is None:
        return False
    across, down = one - other
    held: dict[Relation, bool] = {
        "above": bool(down < -0.1),
        "on": bool(down < -0.1),
        "left of": bool(across < -0.1),
        "right of": bool(across > 0.1),
    }
    return held[scene.relation]


def _centre(mask: Mask) -> NDArray[np.float64] | None:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) / PIXELS if len(rows) else None


def _is_shaped(shown: Pixels, drawn: Mask, scene: Scene) -> bool:
    """Whether the outline of each part is more like its own kind's than like any other's.

    Two things of different colours are told apart by these, so that only what has a thing's own
    colour counts; of others half must be right.
    """
    if scene.relation is not None and scene.things[0].colour != scene.things[1].colour:
        parts = [_parts(_near(shown, drawn, thing.colour)) for thing in scene.things]
        return all(
            bool(of_colour)
            and _kind(max(of_colour, key=np.sum), thing, scene.background, of_own_colour=True)
            == thing.kind
            for of_colour, thing in zip(parts, scene.things, strict=True)
        )
    like = scene.things[0]
    wanted = Counter(thing.kind for thing in scene.things)
    found = Counter(
        _kind(part, like, scene.background, of_own_colour=False) for part in _parts(drawn)
    )
    return all(found[kind] * 2 >= count for kind, count in wanted.items())


def _kind(part: Mask, like: Thing, background: str, *, of_own_colour: bool) -> str:
    """Return the kind that would look most like a part, if it were drawn in its place.

    What is compared with is seen through the same eyes: the largest part of its mask, so that a
    sail or a window of another colour, or what fades into the background, is missing in both.
    """
    outline = _outline(part)
    x, y = _middle(part)
    outlines: dict[str, Mask] = {}
    for kind in KINDS:
        thing = replace(like, kind=kind, x=x, y=y)
        shown = _pixels(render(Scene(background, "one", (thing,))))
        drawn = _drawn(shown, background)
        parts = _parts(_near(shown, drawn, thing.colour) if of_own_colour else drawn)
        if parts:
            outlines[kind] = _outline(max(parts, key=np.sum))
    return max(outlines, key=lambda kind: _likeness(outline, outlines[kind]), default="")


def _middle(part: Mask) -> tuple[float, float]:
    """Return where the middle of the square around a part is, as parts of the width."""
    rows, columns = np.nonzero(part)
    middles = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    return middles[0] / PIXELS, middles[1] / PIXELS


def _likeness(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _outline(mask: Mask) -> Mask:
    """Return what a mask covers of the square around it, at one size for all."""
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    side = int(max(rows.max() - top, columns.max() - left)) + 1
    image = Image.fromarray(mask).crop((left, top, left + side, top + side))
    return np.asarray(image.resize((OUTLINE, OUTLINE)).convert("L")) > 127


def _parts(mask: Mask) -> list[Mask]:
    """Return the connected parts of a mask that are not specks."""
    left, parts = mask.copy(), []
    while left.any():
        part = np.zeros_like(mask)
        part[np.unravel_index(left.argmax(), left.shape)] = True
        while (grown := _grown(part) & left).sum() > part.sum():
            part = grown
        left &= ~part
        if part.sum() >= LEAST_PIXELS:
            parts.append(part)
    return parts


def _grown(mask: Mask) -> Mask:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def drawings(painter: Painter, captions: Iterable[str]) -> list[Image.Image]:
    """Draw each caption as the tool does, before it is enlarged."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "out").mkdir()
        pictures: list[Image.Image] = []
        for seed, text in enumerate(captions):
            request: dict[str, Any] = {"prompt": text, "seed": seed, "steps": EMBEDDED_STEPS}
            painter.answer(request, place, lambda _: None)
            with Image.open(place / "out" / PICTURE) as picture:
                pictures.append(picture.convert("RGB"))
        return pictures


def shares(pictures: Iterable[Image.Image], shown: Iterable[Scene]) -> dict[str, float]:
    """Return which share of the pictures is right, by what is judged."""
    judgements = [judged(*pair) for pair in zip(pictures, shown, strict=True)]
    return {name: round(float(np.mean([j[name] for j in judgements])), 3) for name in judgements[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = DrawSettings.model_validate({}).folder_or_name
    parser.add_argument("--model", default=default, help="the folder of a pipeline")
    parser.add_argument("--num", type=int, default=NUM_CAPTIONS, help="how many captions")
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs/media/draw.png")
    arguments = parser.parse_args()
    rng = random.Random(7)
    kept = list(itertools.islice(scenes(7, held_out=True), arguments.num))
    captions = [caption(scene, rng) for scene in kept]
    pictures = drawings(Painter(arguments.model, lambda _: None), captions)
    arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
    shown = list(zip(pictures, captions, strict=True))[:NUM_SHOWN]
    sheet(shown, columns=5).save(arguments.sheet)
    ceiling = shares([render(scene) for scene in kept], kept)
    print(json.dumps({"captions": len(kept), **shares(pictures, kept), "ceiling": ceiling}))


if __name__ == "__main__":
    main()
