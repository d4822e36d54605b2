"""Opens a recording with ffmpeg, whatever its form: 16 kHz, one channel, 16 bits.

Covered: a file is read as one of the known containers only, so that no playlist names others;
nothing is fetched; what is no recording, has no sound, is damaged or too long is told apart.
Not covered: mistakes of ffmpeg's decoders; it runs beside the model, outside the kernel.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.sdk import ToolFailed
from llmos_tools.files.kinds import kind_of
from llmos_tools.listen.pauses import RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = (
    "wav,w64,aiff,au,caf,mp3,flac,ogg,aac,ac3,eac3,amr,asf,mov,matroska,avi,mpeg,mpegts,flv,wv,tta"
)
SAFE = ["-v", "error", "-protocol_whitelist", "file", "-format_whitelist", FORMATS]
PROBE_S = 30
MOST_ERROR_CHARS = 200


def decoded(path: Path, name: str, most_minutes: int) -> NDArray[np.int16]:
    """Return the sound of a file; it stays on the disk, beside the file, while it is read.

    Raises:
        ToolFailed: ffmpeg is missing, or the file is no recording, too long or damaged.
    """
    import numpy as np

    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        raise ToolFailed("listening needs ffmpeg: run `apt-get install ffmpeg`")
    _check_length(_probed(path, name), name, most_minutes)
    raw = path.with_name("sound.pcm")
    most_s = str(most_minutes * 60 + 1)
    command = ["ffmpeg", "-nostdin", *SAFE, "-i", str(path), "-map", "0:a:0", "-t", most_s]
    done = subprocess.run(
        [*command, "-ac", "1", "-ar", str(RATE), "-f", "s16le", str(raw)],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    size = raw.stat().st_size if raw.exists() else 0
    if size < 2:
        raise ToolFailed(f"{name!r} is damaged or holds no sound: {_reason(done.stderr, path)}")
    if size > most_minutes * 60 * RATE * 2:
        raise _too_long(name, most_minutes)
    return np.memmap(raw, np.int16, "r")


def _probed(path: Path, name: str) -> dict[str, Any]:
    """Return the container's facts; it has a stream of sound."""
    shown = ["-show_entries", "format=duration:stream=codec_type", "-of", "json"]
    try:
        done = subprocess.run(
            ["ffprobe", *SAFE, *shown, str(path)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{name!r} cannot be opened within {PROBE_S} seconds") from error
    if done.returncode:
        raise ToolFailed(_no_recording(path, name, done.stderr))
    facts: dict[str, Any] = json.loads(done.stdout)
    kinds = {stream.get("codec_type") for stream in facts.get("streams", [])}
    if "audio" not in kinds:
        what = "a film without sound" if "video" in kinds else "a file without sound"
        raise ToolFailed(f"{name!r} is {what}: there is nothing to listen to")
    return facts


def _check_length(facts: dict[str, Any], name: str, most_minutes: int) -> None:
    try:
        seconds = float(facts.get("format", {}).get("duration", 0))
    except ValueError:  # "N/A": it is counted while it is decoded
        return
    if seconds > most_minutes * 60:
        raise _too_long(name, most_minutes)


def _too_long(name: str, most_minutes: int) -> ToolFailed:
    return ToolFailed(
        f"{name!r} is longer than {most_minutes} minutes: cut it, or raise the setting "
        "listen.most_minutes"
    )


def _no_recording(path: Path, name: str, said: str) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    is_text = b"\0" not in head and head.decode(errors="ignore").encode() == head
    if is_text:
        return f"{name!r} is text, not a recording: read_file shows it"
    kind = kind_of(head[:16], name)
    if kind.endswith("picture"):
        return f"{name!r} is {kind}, not a recording: look answers about it"
    return f"{name!r} cannot be read as a recording, it is {kind}: {_reason(said, path)}"


def _reason(said: str, path: Path) -> str:
    """Return ffmpeg's last line, without the path that it was given."""
    lines = [line for line in said.replace(str(path), "it").splitlines() if line.strip()]
    return (lines[-1] if lines else "it is empty")[:MOST_ERROR_CHARS]
