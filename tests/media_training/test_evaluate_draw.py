"""The judge of drawings knows true pictures, and is not taken in by other kinds of things."""

from __future__ import annotations

import itertools
from dataclasses import replace

from media_training.evaluate_draw import judged
from media_training.figures import KINDS
from media_training.scenes import Scene, render, scenes

DRAWN = list(itertools.islice(scenes(7, held_out=True), 30))


def test_true_pictures_are_right_in_all_that_is_judged() -> None:
    judgements = [judged(render(scene), scene) for scene in DRAWN]
    right = [sum(judgement.values()) for judgement in judgements]
    assert sum(right) >= 0.97 * len(DRAWN) * len(judgements[0])


def test_another_kind_in_the_same_place_and_colour_is_not_the_shape() -> None:
    def with_first_kind_changed(scene: Scene) -> Scene:
        shown = {thing.kind for thing in scene.things}
        other = next(kind for kind in KINDS if kind not in shown)
        kinds = {scene.things[0].kind: other}
        things = (replace(t, kind=kinds.get(t.kind, t.kind)) for t in scene.things)
        return replace(scene, things=tuple(things))

    accepted = [judged(render(with_first_kind_changed(s)), s)["shape"] for s in DRAWN]
    assert sum(accepted) <= 1
