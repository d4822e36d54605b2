"""The system's Chromium: where it is, how it is started, and whether it works here.

Covered: Chromium runs in its own sandbox, also where llmos is started as root: then as the user
nobody, since Chromium refuses its sandbox to root. All it sends goes through the proxy; it resolves
no names, and neither WebRTC nor QUIC goes around the proxy.
Not covered: flaws of Chromium; the time and memory that pages use, but for the tool's limits.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

INSTALL = "apt-get install chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
NOBODY = 65534
_PROBE_LIMIT_S = 20.0
_SANDBOX_REMEDY = (
    "let programs make user namespaces (`sysctl -w kernel.unprivileged_userns_clone=1 "
    "user.max_user_namespaces=10000`, on Ubuntu also `sysctl -w "
    "kernel.apparmor_restrict_unprivileged_userns=0`), or start the container with "
    "`--security-opt seccomp=unconfined --cap-add SYS_ADMIN`"
)


class ChromiumUnavailable(Exception):
    """Chromium is missing or does not start; the message names the remedy after a semicolon."""


class ChromiumFolder:
    """A folder for Chromium's profile and downloads, owned by the user that it runs as."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmos-browser-")
        self.path = Path(self._folder.name)
        self.downloads = self.path / "downloads"
        self._profile = self.path / "profile"
        for folder in (self.path, self.downloads, self._profile):
            folder.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, NOBODY)

    def program(self) -> Path:
        """Return the program to start: Chromium, for root a script that starts it as nobody.

        Raises:
            ChromiumUnavailable: there is none.
        """
        program = find_chromium()
        if os.geteuid() != 0:
            return program
        script = self.path / "chromium"
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        environment = ["env", f"HOME={self._profile}", f"TMPDIR={self._profile}"]
        command = shlex.join([*user, *environment, str(program)])
        profile = shlex.quote(f"--user-data-dir={self._profile}")
        # The last of several folders counts; playwright's own belongs to root.
        script.write_text(f'#!/bin/sh\nexec {command} "$@" {profile}\n')
        script.chmod(0o755)
        return script

    def close(self) -> None:
        self._folder.cleanup()


def find_chromium() -> Path:
    """Return the program.

    Raises:
        ChromiumUnavailable: there is none on the search path.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return Path(path)
    raise ChromiumUnavailable(
        f"the browser needs Chromium, which is not installed; run `{INSTALL}`"
    )


def flags(proxy_address: str) -> list[str]:
    """Return the flags that leave Chromium no way out but the proxy."""
    return [
        f"--proxy-server=http://{proxy_address}",
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-quic",
        "--dns-prefetch-disable",
        "--no-pings",
    ]


def explain(error: str) -> str:
    """Say why Chromium did not start, in one line with the remedy."""
    if "No usable sandbox" in error or "namespace" in error or "sandbox_host" in error:
        return f"this machine does not let Chromium make its sandbox; {_SANDBOX_REMEDY}"
    lines = [line for line in error.splitlines() if line.strip()]
    return f"Chromium does not start ({lines[0] if lines else 'no output'}); run `{INSTALL}`"


def chromium_problem() -> str | None:
    """Say why the browser cannot be used here and what mends it, or nothing. Blocks for 1 s."""
    if find_spec("playwright") is None:
        return "playwright is not installed; run `pip install 'llmos[browser]'`"
    folder = ChromiumFolder()
    try:
        done = subprocess.run(
            [folder.program(), "--headless", "--dump-dom", "--disable-gpu", "data:text/plain,up"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_LIMIT_S,
            check=False,
        )
    except ChromiumUnavailable as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return explain(str(error))
    finally:
        folder.close()
    return None if "up" in done.stdout else explain(done.stderr)
