"""Files between the workspace and Python, the spare kernel, and what is said of lost variables."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.sandbox.bubblewrap import sandbox_problem
from llmos.sandbox.limits import Limits
from llmos.sdk import CallContext, Output, ToolFailed
from llmos_tools.files import list_files, read_file, restore_file
from llmos_tools.python import Python
from llmos_tools.python.limits import FILE_BYTES

BOUND_S = 60
LIMITS = Limits(processes=64)

in_one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = [
    pytest.mark.skipif(sandbox_problem() is not None, reason=f"no sandbox: {sandbox_problem()}"),
]
fresh_pids = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tool() -> AsyncGenerator[Python]:
    tool = Python(10.0, LIMITS, most_kernels=2)
    await tool.open()
    yield tool
    await tool.close()


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return CallContext(next(fresh_pids), workspace)


async def run(tool: Python, code: str, context: CallContext) -> Output:
    async with asyncio.timeout(BOUND_S):
        return await tool.python(code, context)


@in_one_loop
async def test_files_of_the_workspace_are_found_where_the_code_runs(
    tool: Python, context: CallContext
) -> None:
    (context.workspace / "docs").mkdir()
    (context.workspace / "docs" / "a.txt").write_text("naïve ≈ 日本")
    (context.workspace / "big.bin").write_bytes(os.urandom(9 << 20))
    (context.workspace / "empty").touch()
    code = "open('docs/a.txt').read(), len(open('big.bin', 'rb').read()), open('empty').read()"
    assert (await run(tool, code, context)).text == "('naïve ≈ 日本', 9437184, '')"
    (context.workspace / "docs" / "a.txt").write_text("changed since")
    (context.workspace / "empty").unlink()
    code = "import os; open('docs/a.txt').read(), os.path.exists('empty')"
    assert (await run(tool, code, context)).text == "('changed since', False)"


@in_one_loop
async def test_what_the_code_writes_is_saved_and_what_it_writes_over_is_kept(
    tool: Python, context: CallContext
) -> None:
    (context.workspace / "a.txt").write_text("old")
    code = (
        "import os; os.makedirs('out/deep')\n"
        "open('out/deep/b.csv', 'w').write('1,2\\n'); open('a.txt', 'w').write('new')\n"
        "open('big', 'wb').write(b'x' * (9 << 20)); open('.hidden', 'w').write('x');"
    )
    output = await run(tool, code, context)
    assert output.files == ("a.txt", "big", "out/deep/b.csv")
    assert output.text == "saved a.txt\nsaved big\nsaved out/deep/b.csv"
    assert read_file("out/deep/b.csv", context) == "1,2\n"
    assert (context.workspace / "big").stat().st_size == 9 << 20
    assert list_files(context) == "a.txt\nbig\nout/"
    restore_file("a.txt", context)
    assert (await run(tool, "open('a.txt').read()", context)).text == "'old'"
    assert (await run(tool, "1", context)).files == ()


@in_one_loop
async def test_a_run_that_fails_still_leaves_its_files(tool: Python, context: CallContext) -> None:
    with pytest.raises(ToolFailed, match=r"(?s)ZeroDivisionError.*before that:\nsaved a.txt"):
        await run(tool, "open('a.txt', 'w').write('x')\n1 / 0", context)
    assert read_file("a.txt", context) == "x"


@in_one_loop
async def test_links_and_hidden_files_of_the_workspace_are_not_shown(
    tool: Python, context: CallContext, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    (context.workspace / "link").symlink_to(secret)
    (context.workspace / "folder").symlink_to(tmp_path)
    os.link(secret, context.workspace / "hard")
    os.mkfifo(context.workspace / "pipe")
    (context.workspace / ".env").write_text("s3cret")
    (context.workspace / "seen").write_text("")
    code = (
        "import os; sorted(n for n in os.listdir() if n not in ('.ipython', '.cache', '.config'))"
    )
    assert (await run(tool, code, context)).text == "['seen']"


@in_one_loop
async def test_a_file_too_large_to_show_is_named_when_the_code_names_it(
    tool: Python, context: CallContext
) -> None:
    with (context.workspace / "huge.bin").open("wb") as file:
        file.truncate(FILE_BYTES + 1)
    assert (await run(tool, "1", context)).text == "1"
    said = (await run(tool, "import os; os.path.exists('huge.bin')", context)).text
    assert said == "[huge.bin is not visible to Python: it is too large]\nFalse"


@in_one_loop
async def test_a_file_that_does_not_fit_into_the_sandbox_stays_whole_in_the_workspace(
    context: CallContext,
) -> None:
    tool = Python(10.0, Limits(processes=64, folder_bytes=6 << 20), most_kernels=1)
    (context.workspace / "a.bin").write_bytes(bytes(9 << 20))
    try:
        output = await run(tool, "import os; os.path.exists('a.bin')", context)
        assert output.text == "[a.bin is not visible to Python: it is too large]\nFalse"
        assert output.files == ()
    finally:
        await tool.close()
    assert (context.workspace / "a.bin").stat().st_size == 9 << 20


@in_one_loop
async def test_what_is_too_large_to_save_is_named(tool: Python, context: CallContext) -> None:
    code = f"open('huge', 'wb').write(b'x' * {FILE_BYTES + 1});"
    assert "'huge' was not saved: it is too large" in (await run(tool, code, context)).text
    assert list_files(context) == "empty"
    code = "import os; os.remove('huge')\nfor i in range(250): open(f'{i:03}', 'w').write('x')"
    output = await run(tool, code, context)
    assert len(output.files) == 200
    assert "[50 more files were not saved]" in output.text
    assert len((await run(tool, "1", context)).files) == 50


FORGED = """
import json
class Desk:
    def take(self, *_): return None
    def drop(self, *_): return None
    def report(self): return Answer({report})
    def give(self, path, start, size): return Answer({given})
class Answer:
    def __init__(self, text): self.text = text
    def _repr_mimebundle_(self, **_): return {{'application/x-llmos': self.text}}
get_ipython().desk = Desk();
"""
HOSTILE_PATHS = [
    "../x",
    "/etc/x",
    "a/../../x",
    "link/x",
    ".llmos-versions/x",
    "a\nb",
    "",
    "x/" * 99,
]
REPORT = "json.dumps({'changed': %r, 'names': [], 'num_changed': 1})"


@pytest.mark.parametrize("path", HOSTILE_PATHS)
@in_one_loop
async def test_a_forged_path_lets_nothing_out(
    tool: Python, context: CallContext, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (context.workspace / "link").symlink_to(outside)
    code = FORGED.format(report=REPORT % [path], given="'eA=='")
    output = await run(tool, code, context)
    assert output.files == ()
    assert "not saved" in output.text
    assert not list(outside.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "workspace"]
    assert [p.name for p in context.workspace.iterdir()] == ["link"]


@pytest.mark.parametrize(
    ("report", "given"),
    [
        ("'not json'", "''"),
        ("'[' * 100000", "''"),
        ("None", "''"),
        ("1/0", "''"),
        ("json.dumps({'changed': [1, None], 'names': 5, 'num_changed': 'x'})", "''"),
        (REPORT % ["a"], "'not base 64'"),
        (REPORT % ["a"], "None"),
        (REPORT % ["a"], "'AAAA' * (1 << 20) * 2"),
    ],
)
@in_one_loop
async def test_a_forged_answer_is_an_answer_and_no_harm(
    tool: Python, context: CallContext, report: str, given: str
) -> None:
    output = await run(tool, FORGED.format(report=report, given=given), context)
    assert "not" in output.text
    assert output.files == ()
    assert list_files(context) == "empty"


@in_one_loop
async def test_the_packages_that_people_reach_for_are_there(
    tool: Python, context: CallContext
) -> None:
    (context.workspace / "data.csv").write_text("a,b\n1,2\n3,4\n")
    code = (
        "import numpy as np, pandas as pd, sympy\n"
        "table = pd.read_csv('data.csv'); table.to_csv('sums.csv')\n"
        "int(table.a.sum()), int(np.array([1, 2]).sum()), str(sympy.sqrt(8))"
    )
    output = await run(tool, code, context)
    assert output.text == "(4, 3, '2*sqrt(2)')\nsaved sums.csv"


@in_one_loop
async def test_after_a_restart_the_next_result_says_what_was_lost(context: CallContext) -> None:
    before, after = Python(10.0, LIMITS), Python(10.0, LIMITS)
    try:
        await run(before, "import math; x, y = 1, 2; _private = 3", context)
        await before.close()
        said = (await run(after, "z = 3", context)).text
        assert said == "[Python was started anew: the variables math, x, y are lost]\ndone"
        assert (await run(after, "z", context)).text == "3"
        other = CallContext(next(fresh_pids), context.workspace)
        assert (await run(after, "1", other)).text == "1"
    finally:
        await before.close()
        await after.close()


@in_one_loop
async def test_a_spare_kernel_answers_a_first_call_at_once(context: CallContext) -> None:
    tool = Python(10.0, LIMITS, most_kernels=3)
    try:
        await run(tool, "1", context)
        spare = tool._spare  # pyright: ignore[reportPrivateUsage]
        assert spare is not None
        async with asyncio.timeout(BOUND_S):
            pid = (await spare).pid
        started = time.monotonic()
        await run(tool, "1", CallContext(next(fresh_pids), context.workspace))
        assert time.monotonic() - started < 1
        seats = tool._seats.values()  # pyright: ignore[reportPrivateUsage]
        assert pid in [seat.session.pid for seat in seats if seat.session is not None]
        assert tool._spare is not spare  # pyright: ignore[reportPrivateUsage]
    finally:
        await tool.close()


@in_one_loop
async def test_a_spare_that_died_is_not_given_out(context: CallContext) -> None:
    tool = Python(10.0, LIMITS)
    try:
        await tool.open()
        spare = tool._spare  # pyright: ignore[reportPrivateUsage]
        assert spare is not None
        async with asyncio.timeout(BOUND_S):
            await (await spare).end()
        assert (await run(tool, "1 + 1", context)).text == "2"
    finally:
        await tool.close()
