"""Which tools a task is offered, where there are many."""

from __future__ import annotations

from llmos_kernel.abi import JsonObject, ToolSpec
from llmos_kernel.tool_choice import ToolChoice, ranked

NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def spec(name: str, description: str) -> ToolSpec:
    return ToolSpec(name, description, NO_ARGUMENTS)


MAIL = spec("sendMail", "Send a letter to somebody.")
LIGHTS = spec("lights.dim", "Make the lamps of a room darker.")
TIDES = spec("tide_table", "When the sea is high and low at a harbour.")
SUMS = spec("calculate", "Work out maths exactly.")
TOOLS = [SUMS, LIGHTS, MAIL, TIDES]


def test_where_all_tools_fit_all_are_offered() -> None:
    assert ToolChoice(frozenset(), 4).names(TOOLS, "send a mail") is None


def test_the_tools_that_are_always_offered_come_with_those_that_fit_the_task() -> None:
    choice = ToolChoice(frozenset({"calculate", "not_installed"}), 2)
    assert choice.names(TOOLS, "Please send Ann a mail") == {"calculate", "sendMail"}
    assert choice.names(TOOLS, "dim the lights a little") == {"calculate", "lights.dim"}


def test_a_task_without_a_word_of_any_tool_is_offered_only_what_always_is() -> None:
    choice = ToolChoice(frozenset({"calculate"}), 3)
    assert choice.names(TOOLS, "hello") == {"calculate"}
    assert choice.names(TOOLS, "") == {"calculate"}


def test_a_called_tool_stays_before_weaker_fits_and_before_those_only_offered() -> None:
    choice = ToolChoice(frozenset({"calculate"}), 3)
    message = "mail them of the tides"
    best, second = ranked(TOOLS, message)
    assert choice.names(TOOLS, message) == {"calculate", best, second}
    assert choice.names(TOOLS, message, called=["lights.dim"]) == {"calculate", best, "lights.dim"}
    kept, called = frozenset({"lights.dim", "sendMail"}), ["tide_table"]
    assert choice.names(TOOLS, "and again", kept, called) == {
        "calculate",
        "lights.dim",
        "tide_table",
    }


def test_the_limit_holds_for_what_is_always_offered_too() -> None:
    choice = ToolChoice(frozenset({"calculate", "lights.dim", "sendMail"}), 2)
    names = choice.names(TOOLS, "when is the sea high?")
    assert names == {"calculate", "lights.dim"}


def test_words_are_matched_by_their_stems_and_a_name_counts_more_than_a_description() -> None:
    assert ranked(TOOLS, "how do the tides run?")[0] == "tide_table"
    named = [spec("a", "Sends mail, by mail, as mail."), spec("mail", "Post.")]
    assert ranked(named, "mail")[0] == "mail"


def test_a_keyword_finds_a_tool_that_lacks_the_word_otherwise() -> None:
    paints = ToolSpec("draw", "Make a picture.", NO_ARGUMENTS, keywords=("paint", "sketch"))
    assert ranked([*TOOLS, paints], "have it painted") == ["draw"]
    assert ranked(TOOLS, "have it painted") == []


def test_signs_of_the_query_language_are_only_words() -> None:
    found = ranked(TOOLS, "mail\" OR (NEAR * - ^ lamps: '")
    assert set(found) == {"sendMail", "lights.dim"}


def test_words_that_every_request_holds_choose_no_tool() -> None:
    assert ranked(TOOLS, "Could you please tell me what this is and when it is at the end?") == []


def test_a_named_picture_or_recording_finds_the_tool_that_takes_one() -> None:
    def takes(name: str, argument: str) -> ToolSpec:
        schema: JsonObject = {"type": "object", "properties": {argument: {"type": "string"}}}
        return ToolSpec(name, "Tell of it.", schema)

    tools = [*TOOLS, takes("look", "image"), takes("listen", "audio")]
    assert ranked(tools, "What's in holiday/s0.png?") == ["look"]
    assert ranked(tools, "write it down\n\nAttached file: memo.mp3") == ["listen"]
    assert ranked(tools, "what is in notes.txt?") == []


def test_the_words_of_its_arguments_find_a_tool_behind_those_named_for_them() -> None:
    takes: JsonObject = {
        "type": "object",
        "properties": {"harbour": {"description": "where the ship lies"}},
    }
    berths = ToolSpec("reserve", "Book a place.", takes)
    assert ranked([*TOOLS, berths], "a place for my ship")[0] == "reserve"
    named = spec("find_ship", "Say where one is.")
    assert ranked([berths, named], "ship") == ["find_ship", "reserve"]
