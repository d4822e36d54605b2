"""The installed tools are described to the model in the words that it was trained on."""

from __future__ import annotations

from llmos.plugins import discover_tools
from llmos_kernel.dialects.tool_table import compact_table
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.training.dialogues import load_builtin_tools


def test_the_tool_table_is_the_one_of_the_training_data() -> None:
    reports: list[str] = []
    table = SyscallTable(discover_tools(report=reports.append))
    assert reports == []
    assert compact_table(table.specs) == compact_table(load_builtin_tools())
