"""The installed tools are described to the model in the words that it was trained on."""

from __future__ import annotations

from collections import defaultdict

from llmos.boot import tool_choice_of
from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos_kernel.dialects.tool_table import compact_table
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.tool_choice import USUAL_TOOLS
from llmos_kernel.training.dialogues import load_builtin_tools
from llmos_kernel.training.phrasings import Intent, read_intents
from llmos_kernel.training.slots import SLOT


def test_the_tool_table_is_the_one_of_the_training_data() -> None:
    reports: list[str] = []
    table = SyscallTable(plugin_tools(load_settings(), ModelHost(), reports.append))
    assert reports == []
    trained = sorted(load_builtin_tools(), key=lambda tool: tool.name)
    assert compact_table(table.specs) == compact_table(trained)


def test_a_task_is_always_offered_the_default_table_of_the_training_data() -> None:
    assert load_settings().tools.always == list(USUAL_TOOLS)


def test_a_tool_that_is_not_always_offered_is_found_by_what_people_say() -> None:
    specs = SyscallTable(plugin_tools(load_settings(), ModelHost(), print)).specs
    choice = tool_choice_of(load_settings())
    found: dict[str, list[bool]] = defaultdict(list)
    for intent in read_intents():
        (tool, *_) = [call.tool for call in intent.calls] or ["none"]
        if tool not in {"none", *USUAL_TOOLS}:
            offered = (choice.names(specs, text) for text in _said(intent)[::4])
            found[tool] += [names is None or tool in names for names in offered]
    shares = {tool: sum(times) / len(times) for tool, times in found.items()}
    assert len(shares) == len(specs) - len(USUAL_TOOLS)
    assert {tool: share for tool, share in shares.items() if share < 0.75} == {}


def _said(intent: Intent) -> list[str]:
    """Return the requests of an intent with the same words in each slot."""
    words = {"duration": "10 minutes", "image": "a.png", "audio": "a.wav", "path": "notes.txt"}
    return [
        SLOT.sub(lambda slot: words.get(slot[1], "zebra"), request) for request in intent.requests
    ]
