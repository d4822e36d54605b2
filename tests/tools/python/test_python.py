"""The tool `python` over real kernels in real sandboxes."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.sandbox.bubblewrap import sandbox_problem
from llmos.sandbox.limits import MIB, Limits
from llmos.sdk import CallContext, Effect, Output, ToolFailed
from llmos_tools.python import Python
from llmos_tools.python.limits import OUTPUT_CHARS

BOUND_S = 60
RUN_LIMIT_S = 10.0
SHARED_PID = 1
LIMITS = Limits(processes=64)
MEMORY_MB = LIMITS.memory_bytes // MIB

in_one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = [
    pytest.mark.skipif(sandbox_problem() is not None, reason=f"no sandbox: {sandbox_problem()}"),
]
fresh_pids = itertools.count(100)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tool() -> AsyncGenerator[Python]:
    tool = Python(RUN_LIMIT_S, LIMITS)
    await tool.open()
    yield tool
    await tool.close()


@pytest_asyncio.fixture(loop_scope="module")
async def hasty() -> AsyncGenerator[Python]:
    tool = Python(0.5, LIMITS)
    yield tool
    await tool.close()


async def run(tool: Python, code: str, workspace: Path, pid: int = SHARED_PID) -> Output:
    async with asyncio.timeout(BOUND_S):
        return await tool.python(code, CallContext(pid, workspace))


async def failure(tool: Python, code: str, workspace: Path, pid: int = SHARED_PID) -> str:
    with pytest.raises(ToolFailed) as caught:
        await run(tool, code, workspace, pid)
    return str(caught.value)


def test_the_model_reads_the_words_it_was_trained_on():
    spec = Python.python.spec
    assert spec.name == "python"
    assert spec.description == "Run Python code and return what it prints."
    assert spec.parameters["properties"] == {"code": {"type": "string", "description": "the code"}}
    assert spec.effects == {Effect.SANDBOX, Effect.FILES}
    assert not spec.is_repeatable


def test_reading_the_specification_does_not_import_the_client():
    code = "import sys, llmos_tools.python; sys.exit('zmq' in sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = 1", "done"),
        ("1 + 1", "2"),
        ("print('a')\n'b'", "a\n'b'"),
        ("print('a', end='')\n5", "a\n5"),
        ("print('\\x1b[31mred\\x1b[0m')", "red"),
        ("for i in range(3): print(i, end='\\r')", ""),
        ("import os; os.system('echo from a child');", "from a child"),
        ("print('\\ud800')", "?"),
    ],
)
@in_one_loop
async def test_what_is_printed_and_the_last_value_are_returned_in_order(tool, tmp_path, code, text):
    assert (await run(tool, code, tmp_path)).text == (text or "done")


@in_one_loop
async def test_state_is_kept_between_calls_and_apart_between_processes(tool, tmp_path):
    await run(tool, "mine = 42", tmp_path)
    assert (await run(tool, "mine", tmp_path)).text == "42"
    assert "NameError" in await failure(tool, "mine", tmp_path, next(fresh_pids))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("x = = 1", "SyntaxError: invalid syntax (line 1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        (
            "print('seen')\n1 / 0",
            "ZeroDivisionError: division by zero (line 2)\nbefore that:\nseen",
        ),
    ],
)
@in_one_loop
async def test_an_exception_fails_with_the_last_line_of_its_traceback(tool, tmp_path, code, error):
    assert (await failure(tool, code, tmp_path)).replace(
        "incomplete input", "'(' was never closed"
    ) == error


@in_one_loop
async def test_an_error_that_cannot_be_sent_still_fails_the_call(tool, tmp_path):
    assert "can't encode" in await failure(tool, "raise ValueError('\\ud800')", tmp_path)


@in_one_loop
async def test_an_error_in_earlier_code_names_the_line_of_this_code(tool, tmp_path):
    await run(tool, "def broken():\n    pass\n    pass\n    1 / 0", tmp_path)
    assert (await failure(tool, "x = 1\nbroken()", tmp_path)).endswith("(line 2)")


@in_one_loop
async def test_input_fails_and_says_why(tool, tmp_path):
    assert "input() cannot be used" in await failure(tool, "input('name?')", tmp_path)


@in_one_loop
async def test_pictures_are_saved_under_free_names_and_never_through_a_link(tool, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "figure-1.png").symlink_to(elsewhere)
    code = "import matplotlib.pyplot as plt\nfor i in range(2):\n    plt.figure(); plt.plot([1, i]); plt.show()"
    output = await run(tool, code, workspace)
    assert output.files == ("figure-2.png", "figure-3.png")
    assert output.text == "picture saved as figure-2.png\npicture saved as figure-3.png"
    assert (workspace / "figure-2.png").read_bytes().startswith(b"\x89PNG")
    assert not elsewhere.exists()


@in_one_loop
async def test_a_workspace_that_is_gone_fails_the_call(tool, tmp_path):
    code = "import matplotlib.pyplot as plt; plt.plot([1, 2]);"
    assert "the workspace cannot be opened" in await failure(tool, code, tmp_path / "missing")


@pytest.mark.parametrize(
    "code",
    [
        "print('x' * 100_000_000)",
        "'x' * 100_000_000",
        "for i in range(300_000): print(i)",
        "import os\nfor _ in range(30): os.write(1, b'x' * 100_000)",
    ],
)
@in_one_loop
async def test_endless_output_is_cut_and_the_variables_are_kept(tool, tmp_path, code):
    await run(tool, "kept = 7", tmp_path)
    output = await run(tool, code, tmp_path)
    assert output.text.endswith("characters were read]")
    assert len(output.text) < OUTPUT_CHARS + 200
    assert (await run(tool, "kept", tmp_path)).text == "7"


@in_one_loop
async def test_more_displayed_values_than_can_be_read_are_dropped(tool, tmp_path):
    output = await run(tool, "for i in range(2000): display(i)", tmp_path)
    assert output.text.endswith("[only the first 500 displayed values are read]")


@in_one_loop
async def test_a_hostile_message_larger_than_can_be_read_ends_the_kernel(tool, tmp_path):
    code = (
        "k = get_ipython().kernel\n"
        "k.session.send(k.iopub_socket, 'stream', {'name': 'stdout', 'text': 'x' * 50_000_000},"
        " parent=k.get_parent())"
    )
    assert "sent more than can be read" in await failure(tool, code, tmp_path, next(fresh_pids))


@in_one_loop
async def test_too_much_memory_is_an_error_that_the_kernel_survives(tool, tmp_path):
    await run(tool, "kept = 8", tmp_path)
    assert f"a process may use {MEMORY_MB} MB" in await failure(
        tool, "bytearray(3 << 30)", tmp_path
    )
    assert (await run(tool, "kept", tmp_path)).text == "8"


@in_one_loop
async def test_work_folder_in_memory_has_a_limit(tool, tmp_path):
    code = "with open('big', 'wb') as f:\n    for _ in range(300): f.write(bytes(1 << 20))"
    assert "Error" in await failure(tool, code, tmp_path)
    await run(tool, "import os; os.remove('big')", tmp_path)


@in_one_loop
async def test_code_past_its_time_is_interrupted_and_the_variables_are_kept(hasty, tmp_path):
    await run(hasty, "kept = 9", tmp_path)
    said = await failure(hasty, "print('on the way')\nwhile True: pass", tmp_path)
    assert (
        said == "the code was stopped after 0.5 s; the variables are kept\nbefore that:\non the way"
    )
    assert (await run(hasty, "kept", tmp_path)).text == "9"


ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os._exit(3)", "Python ended with exit status 3."),
        ("import os; os.kill(os.getpid(), 9)", "was killed"),
        ("import ctypes; ctypes.string_at(0)", "crashed with signal 11"),
        ("import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass", "be interrupted"),
        (f"import signal; signal.signal(2, lambda *_: None)\n{ENDLESS}", "be interrupted"),
        ("import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass", "Python "),
        ("import os\nwhile True: os.fork()", "Python "),
    ],
)
@in_one_loop
async def test_a_kernel_that_dies_or_runs_away_is_replaced(hasty, tmp_path, code, how):
    await run(hasty, "lost = 1", tmp_path)
    said = await failure(hasty, code, tmp_path)
    assert how in said
    assert said.endswith("Python was started anew: the variable lost is lost")
    assert "NameError" in await failure(hasty, "lost", tmp_path)


@in_one_loop
async def test_cancelling_a_call_interrupts_the_code(tool, tmp_path):
    await run(tool, "import time; kept = 3; state = 'before'", tmp_path)
    code = "state = 'running'; time.sleep(1000); state = 'after'"
    call = asyncio.create_task(tool.python(code, CallContext(SHARED_PID, tmp_path)))
    await asyncio.wait({call}, timeout=0.3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(BOUND_S):
            await call
    assert (await run(tool, "kept, state", tmp_path)).text in {"(3, 'running')", "(3, 'before')"}


@in_one_loop
async def test_the_longest_idle_kernel_makes_room_and_its_process_is_told(tmp_path):
    tool = Python(RUN_LIMIT_S, LIMITS, most_kernels=1)
    try:
        await run(tool, "x = 1", tmp_path, 1)
        await run(tool, "x = 2", tmp_path, 2)
        said = await failure(tool, "x", tmp_path, 1)
        assert said.startswith("[Python was started anew: the variable x is lost]\nNameError")
    finally:
        await tool.close()


@in_one_loop
async def test_closing_leaves_no_process_and_no_folder(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        tool = Python(RUN_LIMIT_S, LIMITS)
        await run(tool, "1", Path(short))
        folders = [name for name in _names_in(short) if name.startswith("llmos-")]
        assert len(folders) == 2  # one of them is the spare kernel's
        assert any(map(_users_of_commands_with, folders))
        await tool.close()
        assert not [name for name in _names_in(short) if name.startswith("llmos-")]
        assert all(map(_all_end_with, folders))


@in_one_loop
async def test_without_bubblewrap_nothing_runs_and_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert "apt-get install bubblewrap" in await failure(Python(), "1", tmp_path)
    assert "apt-get install bubblewrap" in (sandbox_problem() or "")


@in_one_loop
async def test_without_user_namespaces_nothing_runs_and_the_remedy_is_named(tmp_path, monkeypatch):
    refusing = tmp_path / "bwrap"
    refusing.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    monkeypatch.setattr("llmos.sandbox.bubblewrap._bubblewrap", lambda: str(refusing))
    assert "user.max_user_namespaces" in await failure(Python(), "1", tmp_path)


SYSCALL = """import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def number(x86_64, aarch64): return {'x86_64': x86_64, 'aarch64': aarch64}[os.uname().machine]
"""
ESCAPES = {
    "write to /proc/sys": "open('/proc/sys/kernel/core_pattern', 'wb', 0).write(b'x')",
    "write to sysrq": "open('/proc/sysrq-trigger', 'wb', 0).write(b'h')",
    "read the host's users": "assert 'root' not in open('/etc/passwd').read(); open('/etc/shadow')",
    "write to the environment": "import IPython; open(IPython.__file__, 'a').write('x')",
    "write to the system": "open('/usr/bin/x', 'w')",
    "write to the root": "open('/x', 'w')",
    "open a disk": "open('/dev/vda', 'rb')",
    "read kernel memory": "open('/proc/kcore', 'rb').read(1)",
    "become root": "import os; os.setuid(0)",
    "chroot": "import os; os.chroot('/tmp')",
    "raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "packet socket": "import socket; socket.socket(17, socket.SOCK_RAW, 0)",
    "vsock": "import socket; socket.socket(40, socket.SOCK_STREAM)",
    "reach the internet": "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
    "resolve a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "raise a limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "be spared when memory runs out": "open('/proc/self/oom_score_adj', 'wb', 0).write(b'-1')",
}
CALLS = {
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "unmount": "libc.umount2(b'/proc/sys', 2)",
    "user namespace": "libc.unshare(0x10000000)",
    "mount namespace": "libc.unshare(0x20000)",
    "ptrace": "libc.ptrace(16, 1, None, None)",
    "read another's memory": "libc.process_vm_readv(1, None, 0, None, 0, 0)",
    "keyctl": "libc.syscall(number(250, 219), 0, -3, 1)",
    "userfaultfd": "libc.syscall(number(323, 282), 0)",
    "bpf": "libc.syscall(number(321, 280), 0, None, 0)",
    "io_uring": "libc.syscall(425, 1, ctypes.create_string_buffer(120))",
    "clone3 into a namespace": "libc.syscall(435, ctypes.create_string_buffer(bytes([0, 0, 0, 16]) + bytes(84)), 88)",
}


@pytest.mark.parametrize("attempt", ESCAPES.values(), ids=ESCAPES.keys())
@in_one_loop
async def test_an_escape_attempt_fails(tool, tmp_path, attempt):
    code = f"try:\n    {attempt}\nexcept (OSError, ValueError) as error: print('refused', error)"
    assert (await run(tool, code, tmp_path)).text.startswith("refused")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@in_one_loop
async def test_a_forbidden_system_call_fails(tool, tmp_path, call):
    code = f"{SYSCALL}(result := {call}, ctypes.get_errno() in (1, 38))"
    assert (await run(tool, code, tmp_path)).text == "(-1, True)"


@in_one_loop
async def test_a_server_of_the_host_cannot_be_reached(tool, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert "ConnectionRefusedError" in await failure(tool, code, tmp_path)


@in_one_loop
async def test_a_server_of_its_own_can_be_reached(tool, tmp_path):
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(('localhost', s.getsockname()[1]), 2).close(); s.close()"
    )
    assert (await run(tool, code, tmp_path)).text == "done"


@in_one_loop
async def test_the_hosts_files_are_hidden(tool, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    places = [str(secret), str(Path(__file__)), "/root/.bashrc", "/var", "/sys", "/boot", "/mnt"]
    code = f"import os; [p for p in {places!r} if os.path.exists(p)], os.listdir('/home')"
    assert (await run(tool, code, tmp_path)).text == "([], ['user'])"


@in_one_loop
async def test_the_hosts_environment_is_seen_in_no_process(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_TEST_SECRET", "s3cret-value")
    tool = Python(RUN_LIMIT_S, LIMITS)
    code = (
        "import glob, os; seen = b''.join(open(p, 'rb').read() for p in glob.glob('/proc/*/environ'))\n"
        "b's3cret' in seen + str(os.environ).encode(), b'HOME=/home/user' in seen"
    )
    try:
        assert (await run(tool, code, tmp_path)).text == "(False, True)"
    finally:
        await tool.close()


@in_one_loop
async def test_no_capability_is_left_and_only_its_own_processes_are_seen(tool, tmp_path):
    code = (
        "import os; caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]\n"
        "set(caps), os.getuid(), len([p for p in os.listdir('/proc') if p.isdigit()]) < 5"
    )
    assert (await run(tool, code, tmp_path)).text == "({'0000000000000000'}, 1000, True)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a second user to run it as")
@in_one_loop
async def test_started_as_root_it_runs_as_nobody_outside_and_cannot_write_its_socket_folder(
    tool, tmp_path
):
    assert "PermissionError" in await failure(tool, "open('/run/kernel/x', 'w')", tmp_path)
    marker = "marker = '--unlikely-to-be-elsewhere'; import subprocess, sys\n"
    code = marker + "child = subprocess.Popen([sys.executable, '-c', 'input()', marker], stdin=-1)"
    await run(tool, code, tmp_path)
    assert _users_of_commands_with("--unlikely-to-be-elsewhere") == {65534}
    await run(tool, "child.kill(); child.wait()", tmp_path)


def _users_of_commands_with(word: str) -> set[int]:
    """Return the users whose processes have a word in their command line."""
    owners: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word.encode() in (process / "cmdline").read_bytes():
                owners.add(process.stat().st_uid)
    return owners


def _all_end_with(word: str) -> bool:
    """Wait until the Linux kernel has taken down a killed sandbox."""
    until = time.monotonic() + BOUND_S
    while _users_of_commands_with(word):
        if time.monotonic() > until:
            return False
    return True


def _names_in(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]
