"""A Whisper model in a process of its own: a recording in, what is said in it out.

Covered: the model is asked only about what is louder than the room, so that it invents no words
for silence, however long.
Not covered: words that it hears in noise or music.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.sdk import ToolFailed
from llmos_kernel.abi import Json, JsonObject
from llmos_tools.listen.pauses import RATE, Stretch, stretches, windows
from llmos_tools.listen.recording import decoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_S = 30.0
# The embedded model heard one sentence at a time, without context, and any signs at all.
SENTENCE_S, SENTENCE_PAUSE_S, PAUSE_S = 9.0, 0.7, 2.0
EMBEDDED_OPTIONS: dict[str, Any] = {
    "language": "en",
    "temperature": 0.0,
    "without_timestamps": True,
    "suppress_tokens": "",
    "logprob_threshold": None,
}


class Transcriber:
    """The guest of the model host that listens."""

    def __init__(self, checkpoint: str, report: Callable[[str], None]) -> None:
        report("loading the speech model")
        try:
            import whisper
        except ImportError as error:
            raise ToolFailed("listen needs more packages: pip install 'llmos[listen]'") from error
        path = Path(checkpoint)
        if not path.is_file() and checkpoint not in whisper.available_models():
            raise ToolFailed(
                f"there is no Whisper model {checkpoint!r}: set listen.checkpoint to a .pt file or "
                f"one of {', '.join(whisper.available_models())}"
            )
        self._model: Any = whisper.load_model(checkpoint)

    def answer(
        self, request: JsonObject, folder: Path, report: Callable[[str], None]
    ) -> JsonObject:
        """Return `lines`, each a second at which it starts and its text, and the `seconds`."""
        most_minutes = request["most_minutes"]
        assert isinstance(most_minutes, int)
        is_embedded = bool(request["is_embedded"])
        report("reading the recording")
        sound = decoded(folder / "recording", str(request["name"]), most_minutes)
        cut = _cut(sound, is_embedded=is_embedded)
        lines: list[Json] = []
        minutes = -(-len(sound) // (60 * RATE))
        for window in cut:
            report(f"minute {window.start // (60 * RATE) + 1} of {minutes}")
            text = self._text(sound, window, EMBEDDED_OPTIONS if is_embedded else {})
            if text:
                lines.append({"start": window.start // RATE, "text": text})
        return {"lines": lines, "seconds": len(sound) // RATE}

    def _text(self, sound: NDArray[np.int16], window: Stretch, options: dict[str, Any]) -> str:
        import numpy as np

        part = sound[window.start : window.end].astype(np.float32) / 32768
        said = self._model.transcribe(
            part,
            fp16=self._model.device.type == "cuda",
            condition_on_previous_text=False,
            **options,
        )
        return " ".join(str(said["text"]).split())


def _cut(sound: NDArray[np.int16], *, is_embedded: bool) -> list[Stretch]:
    """Return windows: a sentence each for the embedded model, else as few as can be."""
    if is_embedded:
        parts = stretches(sound, SENTENCE_PAUSE_S)
        return [window for part in parts for window in windows([part], SENTENCE_S)]
    return windows(stretches(sound, PAUSE_S), WINDOW_S)
