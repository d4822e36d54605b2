"""Which file or name a checkpoint is, and that a file is the one that was meant.

Covered: a Whisper file is loaded only if its SHA-256 is pinned and right; whisper itself loads
weights only, and checks the files of its own names.
Not covered: somebody who changes a file between the check and its loading.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmos.sdk import ToolFailed
from llmos_tools.listen.settings import ListenSettings

EMBEDDED_FILE = Path(__file__).parent / "model" / "whisper.pt"
EMBEDDED_SHA256 = "0" * 64


def checked_checkpoint(settings: ListenSettings) -> str:
    """Return what `whisper.load_model` takes, a name or the path of a file that is as pinned.

    Raises:
        ToolFailed: the file is missing, not pinned, or another.
    """
    if settings.is_embedded:
        if not EMBEDDED_FILE.exists():
            raise ToolFailed(
                "listen has no model of its own yet: name a Whisper checkpoint in the setting "
                "listen.checkpoint, such as 'base'"
            )
        return _checked(EMBEDDED_FILE, EMBEDDED_SHA256)
    path = Path(settings.checkpoint).expanduser()
    if path.suffix != ".pt":
        return settings.checkpoint
    if settings.sha256 is None:
        raise ToolFailed(
            f"listen.checkpoint is the file {settings.checkpoint!r}: "
            "set listen.sha256 to what `sha256sum` says of it"
        )
    return _checked(path.absolute(), settings.sha256)


def _checked(path: Path, wanted: str) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ToolFailed(
            f"the checkpoint {str(path)!r} cannot be read ({error.strerror}): "
            "name another in the setting listen.checkpoint"
        ) from error
    if found != wanted:
        raise ToolFailed(
            f"the checkpoint {str(path)!r} has the SHA-256 {found}, not {wanted}: "
            "it is another file than was pinned, and is not loaded"
        )
    return str(path)
