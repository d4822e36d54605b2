"""Puts any function into a request: sentence frames, filled from its description and arguments.

Returns text with slots `<parameter>`; knows no values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from llmos_kernel.training.functions import is_held_out
from llmos_kernel.training.naming import Naming


class Composer:
    """Draws sentences. `frames` are the sections of `catalogue/frames.txt`."""

    def __init__(
        self,
        rng: random.Random,
        frames: Mapping[str, Sequence[str]],
        naming: Naming,
        *,
        held_out: bool,
    ) -> None:
        self._rng = rng
        self._naming = naming
        self._frames = {
            name: [line for line in lines if is_held_out(line) == held_out] or list(lines)
            for name, lines in frames.items()
        }

    def line(self, section: str) -> str:
        return self._rng.choice(self._frames[section])

    def request(self, description: str, labels: Mapping[str, str], *, can_be_bare: bool) -> str:
        """Return a request with a slot for each key of `labels`, whose values say what it is."""
        do = self._command(description)
        if labels and self._rng.random() < 0.15:
            facts = self._listed(self.line("facts"), labels)
            return self.line("before").replace("<facts>", facts).replace("<do>", do)
        thing = do.partition(" ")[2]
        is_lookup = self._naming.is_lookup(description) and thing
        if is_lookup and self._rng.random() < 0.55:
            frame = self.line("thing").replace("<thing>", thing)
        else:
            frame = self.line("frames").replace("<do>", self._naming.verb(do, 0.5))
        if not labels:
            return frame.replace("<args>", "")
        is_bare = can_be_bare and self._rng.random() < 0.6
        return _joined(frame, self._listed(self.line("bare" if is_bare else "args"), labels))

    def _command(self, description: str) -> str:
        text = re.split(r"\.\s|\.$| \(", description)[0]
        words = text.split()
        if len(words) > 8 and self._rng.random() < 0.5:
            text = re.split(r" based on | given | using | with | in | for ", text)[0]
        return text[:1].lower() + text[1:]

    def _listed(self, style: str, labels: Mapping[str, str]) -> str:
        head, item, gap, last, tail = style.split("|")
        keys = list(labels)
        if "<name>" in item and self._rng.random() < 0.25:
            self._rng.shuffle(keys)
        items = [item.replace("<name>", labels[k]).replace("<value>", f"<{k}>") for k in keys]
        listed = last.join([gap.join(items[:-1]), items[-1]]) if items[1:] else items[0]
        return re.sub(" {2,}", " ", head + listed + tail)


def _joined(frame: str, listed: str) -> str:
    """Put the arguments into a frame; those that are sentences of their own come after it."""
    if not listed.startswith("."):
        return frame.replace("<args>", listed)
    text = frame.replace("<args>", "")
    return text + listed if text[-1] not in "?.!" else text + listed[1:]
