"""Which questions need no model."""

from __future__ import annotations

import pytest

from llmos_tools.look.asked import Asked, asked


@pytest.mark.parametrize(
    "question",
    ["what does it say?", "What does the sign say", "read the text in sign.png", "is there text?",
     "what is written on it", "Please transcribe this."],
)  # fmt: skip
def test_the_text_alone_is_asked_for(question: str) -> None:
    assert asked(question, "sign.png") is Asked.TEXT


@pytest.mark.parametrize(
    "question",
    ["how big is sign.png?", "what format is it", "What's the resolution?", "when was it taken?",
     "is it a landscape or a portrait?", "which camera was this made with"],
)  # fmt: skip
def test_the_file_alone_is_asked_for(question: str) -> None:
    assert asked(question, "sign.png") is Asked.FILE


@pytest.mark.parametrize(
    "question",
    [None, "", "what is this?", "say what you see", "how big is the house?",
     "what does the cat say", "what colour is the text", "is the size of the star small?"],
)  # fmt: skip
def test_anything_else_is_about_what_is_shown(question: str | None) -> None:
    assert asked(question, "house.png") is Asked.SHOWN
