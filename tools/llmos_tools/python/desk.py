"""What runs inside the sandbox beside the code: it takes files in, and tells what has changed.

Knows only the standard library and IPython, and none of this package. Nothing that it says is
trusted outside: the code shares its process and can change it.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any


class Desk:
    """The work folder as the outside sees it: which files are new, and what the code has named."""

    def __init__(self, most_files: int) -> None:
        from IPython import get_ipython

        self._shell: Any = get_ipython()
        self._folder = Path.cwd()
        self._most_files = most_files
        self._known: dict[str, tuple[int, int]] = {}
        self._first_names = set(self._shell.user_ns)

    def install(self) -> None:
        """Be found by the requests from outside."""
        self._shell.desk = self

    def take(self, path: str, data: str, is_first: bool) -> None:
        """Write a part of a file, given in base 64."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("wb" if is_first else "ab") as stream:
                stream.write(base64.b64decode(data))
        except OSError:
            self.drop(path)  # a part of a file must not be taken for a change of it
            raise
        self._known[path] = self._state(file)

    def drop(self, path: str) -> None:
        """Delete a file that is no longer in the workspace."""
        self._known.pop(path, None)
        (self._folder / path).unlink(missing_ok=True)

    def report(self) -> Answer:
        """Say which files have changed since they were last taken or given, and what is named."""
        changed = [path for path, state in self._files() if self._known.get(path) != state]
        names = [name for name in self._shell.user_ns if name not in self._first_names]
        names = [name for name in names if not name.startswith("_")]
        report = {"changed": changed[: self._most_files], "names": names[:100]}
        return Answer(json.dumps({**report, "num_changed": len(changed)}))

    def give(self, path: str, start: int, size: int) -> Answer:
        """Return a part of a file in base 64; the part after its end is empty."""
        file = self._folder / path
        self._known[path] = self._state(file)
        with file.open("rb") as stream:
            stream.seek(start)
            return Answer(base64.b64encode(stream.read(size)).decode())

    def _files(self) -> list[tuple[str, tuple[int, int]]]:
        """Return the files of the folder, but for hidden ones, links and the like."""
        found: list[tuple[str, tuple[int, int]]] = []
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [n for n in folders if not n.startswith((".", "__pycache__"))]
            for name in names:
                file = Path(folder, name)
                if not name.startswith(".") and file.is_file() and not file.is_symlink():
                    found.append((str(file.relative_to(self._folder)), self._state(file)))
        return sorted(found)

    @staticmethod
    def _state(file: Path) -> tuple[int, int]:
        status = file.stat()
        return status.st_mtime_ns, status.st_size


class Answer:
    """A text that is sent out whole."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"application/x-llmos": self._text}
