"""A plugin's source: one .py file or one package folder, and the digest that it is trusted by.

Covered: a plugin is trusted by its content, not by its name, so one that was changed is not.
Not covered: a trusted file that is exchanged in the moment between its check and its import.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from llmos_kernel.errors import ConfigError

MOST_FILES = 500
MOST_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class PluginSource:
    """What a plugin consists of: `files` by their paths, which begin with the plugin's name.

    `digest` is the SHA-256 of a single file; of a package, that of what `sha256sum` says of its
    files in the order of their paths.
    """

    path: Path
    files: Mapping[str, bytes]
    digest: str


def is_plugin(path: Path) -> bool:
    """Whether a path is a .py file or a package that is not hidden or private."""
    if path.name.startswith((".", "_")):
        return False
    return (path / "__init__.py").is_file() if path.is_dir() else path.suffix == ".py"


def read_source(path: Path) -> PluginSource:
    """Read a plugin.

    Raises:
        ConfigError: it has no name that can be imported, cannot be read, or is too large.
    """
    if not path.stem.isidentifier():
        raise ConfigError(f"{path.name!r} is no name of a Python module: use letters, digits and _")
    try:
        files = {str(file.relative_to(path.parent)): file.read_bytes() for file in _files(path)}
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
        limit = f"{MOST_FILES} files of {MOST_BYTES:,} bytes together"
        raise ConfigError(f"{str(path)!r} is too large: a plugin has at most {limit}")
    return PluginSource(path, files, _digest(files, is_package=path.is_dir()))


def import_plugin(path: Path) -> ModuleType:
    """Import a .py file or a package folder under a name that no other module has."""
    file = path / "__init__.py" if path.is_dir() else path
    places = [str(path)] if path.is_dir() else None
    name = f"llmos_tools_d_{path.stem}"
    spec = spec_from_file_location(name, file, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{str(path)!r} is no Python module")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def _digest(files: Mapping[str, bytes], *, is_package: bool) -> str:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    if not is_package:
        return next(iter(sums.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    return hashlib.sha256(lines.encode()).hexdigest()
