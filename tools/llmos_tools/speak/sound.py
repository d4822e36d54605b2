"""Speech as samples: 16 bits, one channel. Knows neither who made it nor where it is heard."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

from llmos.sdk import ToolFailed

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Sound:
    """`samples` are little-endian; `rate` is how many there are in a second."""

    rate: int
    samples: bytes

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_BYTES / self.rate

    def as_wav(self) -> bytes:
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(SAMPLE_BYTES)
            file.setframerate(self.rate)
            file.writeframes(self.samples)
        return buffer.getvalue()


def read_wav(data: bytes, source: str) -> Sound:
    """Return the sound of a WAV file that `source` wrote.

    Raises:
        ToolFailed: it is not one of 16 bits and one channel.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, SAMPLE_BYTES):
                raise ToolFailed(f"{source} made sound of an unknown form; choose another engine")
            return Sound(file.getframerate(), file.readframes(file.getnframes()))
    except (wave.Error, EOFError) as error:
        raise ToolFailed(f"{source} made no sound ({error}); try another text or voice") from error
