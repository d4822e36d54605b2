"""The command line that puts Python into a sandbox of bubblewrap, and whether it works here.

Covered: no network, no files but a size-limited folder in memory, the system and the Python
environment read-only; an empty environment; namespaces of its own without the right to make
others; no capabilities; an unprivileged user also outside; rlimits; a seccomp filter (see
`seccomp`). Started as root, there are two walls: the outer one shows only what the inner one
needs, so that the unprivileged user reaches a Python environment under a folder that is closed to
it.
Not covered: flaws of the Linux kernel; what the installed packages themselves contain; how much an
ordinary user's sandbox writes into its folder of sockets; the memory of its processes together
(the limit holds for each), which the Linux kernel ends first when the machine runs out.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmos.sandbox import seccomp
from llmos.sandbox.limits import Limits
from llmos_kernel.errors import SandboxUnavailable

INSTALL = "apt-get install bubblewrap"
NOBODY = 65534
INSIDE_USER = 1000
HOME = "/home/user"
SOCKETS = "/run/kernel"
_PROBE_LIMIT_S = 10.0

_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/ssl/certs",
)
# Files that programs expect and that would tell of the machine; written into a sandbox's folder.
ETC = {
    "group": f"user:x:{INSIDE_USER}:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "passwd": f"user:x:{INSIDE_USER}:{INSIDE_USER}::{HOME}:/bin/sh\n",
}
_ENVIRONMENT = {
    "HOME": HOME,
    "IPYTHONDIR": f"{HOME}/.ipython",
    "LANG": "C.UTF-8",
    "LOGNAME": "user",
    "MPLCONFIGDIR": f"{HOME}/.matplotlib",
    "NUMBA_CACHE_DIR": f"{HOME}/.numba",
    # Each thread's own heap would use up address space too.
    "MALLOC_ARENA_MAX": "2",
    # A pool of threads for each core would use up the address space on large machines.
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TERM": "dumb",
    "USER": "user",
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where one sandbox lies. `folder` holds its sockets; it is owned by the user outside.

    `packages` are folders that it sees besides the Python environment, read-only.
    """

    folder: Path | None = None
    limits: Limits = field(default_factory=Limits)
    packages: tuple[Path, ...] = ()

    def command(self, program: list[str], seccomp_fd: int) -> list[str]:
        """Return the command that runs a program inside, to be started with no environment."""
        inner = [
            _bubblewrap(),
            *_inner_flags(),
            *self._inner_files(),
            *("--seccomp", str(seccomp_fd)),
            "--clearenv",
            *(word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)),
            *("--chdir", HOME, "--"),
            *_limited(program, self.limits),
        ]
        walls = [*self._outer_wall(), *inner] if os.geteuid() == 0 else inner
        # When the machine runs out of memory, the sandbox is what the Linux kernel ends first.
        return [_tool("choom"), "-n", "1000", "--", *walls]

    def _outer_wall(self) -> list[str]:
        folder = () if self.folder is None else _shown(self.folder, self.folder, "--bind")
        return [
            *(_bubblewrap(), "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"),
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
            *_system_files(),
            *("--dev", "/dev", "--bind", "/proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp"),
            *_environment_folders(self.packages),
            *folder,
            *("--remount-ro", "/", "--clearenv", "--chdir", "/", "--"),
            *(_tool("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"),
        ]

    def _inner_files(self) -> list[str]:
        limits = self.limits
        work = ["--size", str(limits.folder_bytes), "--perms", "0700", "--tmpfs"]
        shared = ["--size", str(limits.shared_memory_bytes), "--perms", "1777", "--tmpfs"]
        folder, etc = (), list[str]()
        if self.folder is not None:
            folder = ("--bind", str(self.folder), SOCKETS)
            etc = [w for name in ETC for w in _shown(self.folder / name, Path("/etc", name))]
        return [
            *_system_files(),
            *("--dev", "/dev", *shared, "/dev/shm", "--remount-ro", "/dev"),
            *("--proc", "/proc", "--size", "4096", "--tmpfs", "/proc/sys"),
            *("--remount-ro", "/proc/sys"),
            *(*work, "/tmp", *work, HOME),
            *_environment_folders(self.packages),
            *folder,
            *etc,
            *("--remount-ro", "/"),
        ]


def python_program() -> Path:
    """Return this Python by a path that holds inside: as itself in its environment's folder."""
    program = Path(sys.executable)
    return program.parent.resolve() / program.name


@contextmanager
def seccomp_file() -> Generator[int]:
    """Lend a descriptor that bubblewrap reads the filter from, once.

    Raises:
        SandboxUnavailable: this machine's system calls are not known.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"the sandbox needs Linux namespaces, which {sys.platform!r} has not"
        )
    if not seccomp.is_supported():
        machine = platform.machine()
        raise SandboxUnavailable(f"the sandbox does not know the system calls of {machine!r}")
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, seccomp.program())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def sandbox_problem() -> str | None:
    """Say why code cannot be isolated here and what mends it, or nothing. Blocks for 0.1 s."""
    try:
        with seccomp_file() as descriptor:
            done = subprocess.run(
                Sandbox().command(["/bin/true"], descriptor),
                env={},
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_LIMIT_S,
                check=False,
            )
    except SandboxUnavailable as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run: {error}"
    if done.returncode == 0:
        return None
    return _explain(done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}")


def _explain(report: str) -> str:
    if "nknown option" in report:
        return f"bubblewrap 0.8 or newer is needed; run `{INSTALL}` ({report})"
    if "bwrap" in report and any(word in report for word in ("namespace", "permitted", "denied")):
        remedy = "run `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`"
        return (
            f"this machine does not let bubblewrap make user namespaces ({report}); {remedy} as "
            "root, on Ubuntu also `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or "
            "start the container with `--security-opt seccomp=unconfined --cap-add SYS_ADMIN`"
        )
    return f"the sandbox does not start ({report}); bubblewrap comes with `{INSTALL}`"


def _bubblewrap() -> str:
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxUnavailable(
            f"the sandbox bubblewrap is needed, which is not installed: run `{INSTALL}`"
        )
    return path


def _tool(name: str) -> str:
    path = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise SandboxUnavailable(
            f"the sandbox needs the program {name!r}: run `apt-get install util-linux`"
        )
    return path


def _inner_flags() -> list[str]:
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--uid", str(INSIDE_USER), "--gid", str(INSIDE_USER), "--hostname", "sandbox"),
        *("--new-session", "--die-with-parent"),
    ]


def _limited(program: list[str], limits: Limits) -> list[str]:
    """Prefix the limits. They are set inside, where processes are counted for each sandbox."""
    return [
        _tool("prlimit"),
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_s}",
        f"--fsize={limits.folder_bytes}",
        f"--nofile={limits.open_files}",
        f"--nproc={limits.processes}",
        *("--core=0", "--memlock=0", "--msgqueue=0", "--"),
        *program,
    ]


def _system_files() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for folder in map(Path, _SYSTEM_FOLDERS):
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            words += ["--ro-bind", str(folder), str(folder)]
    for name in _SYSTEM_FILES:
        if Path(name).exists():
            words += _shown(Path(name).resolve(), Path(name))
    return words


def _environment_folders(packages: tuple[Path, ...]) -> list[str]:
    """Show the folders of this Python, both where its paths say and where links lead."""
    prefixes = map(Path, (sys.prefix, sys.base_prefix))
    named = [*prefixes, python_program().resolve().parent.parent, *packages]
    shown = {place: folder.resolve() for folder in named for place in (folder, folder.resolve())}
    return [
        word
        for place, folder in sorted(shown.items())
        if ".." not in place.parts and not place.is_relative_to("/usr")
        for word in _shown(folder, place)
    ]


def _shown(source: Path, place: Path, bind: str = "--ro-bind") -> list[str]:
    """Bind a path. bubblewrap makes missing parents private to root, so they are named first."""
    parents = [str(parent) for parent in reversed(place.parents) if parent != parent.parent]
    folders = [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]
    return [*folders, bind, str(source), str(place)]
