"""Whether this machine has a sound server or a sound card.

Not covered: a card with nothing plugged in counts.
"""

from __future__ import annotations

import os
from pathlib import Path

CARDS = Path("/proc/asound/cards")


def has_sound_server() -> bool:
    """Whether PulseAudio, or PipeWire in its stead, listens."""
    if os.environ.get("PULSE_SERVER"):
        return True
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return folder is not None and (Path(folder) / "pulse" / "native").is_socket()


def has_sound_card() -> bool:
    """Whether ALSA lists a card."""
    try:
        return "no soundcards" not in CARDS.read_text()
    except OSError:
        return False
