"""The installed tools are described to the model in the words that it was trained on."""

from __future__ import annotations

from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos_kernel.dialects.tool_table import compact_table
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.tool_choice import USUAL_TOOLS
from llmos_kernel.training.dialogues import load_builtin_tools


def test_the_tool_table_is_the_one_of_the_training_data() -> None:
    reports: list[str] = []
    table = SyscallTable(plugin_tools(load_settings(), ModelHost(), reports.append))
    assert reports == []
    trained = sorted(load_builtin_tools(), key=lambda tool: tool.name)
    assert compact_table(table.specs) == compact_table(trained)


def test_a_task_is_always_offered_the_default_table_of_the_training_data() -> None:
    assert load_settings().tools.always == list(USUAL_TOOLS)
