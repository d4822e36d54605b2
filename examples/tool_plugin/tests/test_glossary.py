"""The plugin's own tests, with the fixtures of llmos.testing."""

from __future__ import annotations

import wave

from glossary_for_llmos import Glossary, tone


def test_a_term_is_explained(call):
    assert call(Glossary, term="trap").text == "the token that opens a call of a tool"


def test_a_misspelt_term_is_mended_by_the_model(run_task):
    calls = [("look_up", {"term": "traps"}), ("look_up", {"term": "trap"})]
    task = run_task(Glossary, calls, answer="It opens a call.")
    assert [result.status for result in task.results] == ["retry", "ok"]
    assert "there is trap" in task.results[0].text
    assert task.answer == "It opens a call."


def test_an_unknown_term_fails(call):
    assert call(Glossary, term="zebra").status == "failed"


def test_a_tone_is_a_recording_in_the_workspace(call, context):
    result = call(tone, frequency=440, seconds=0.5)
    assert result.files == ("tone.wav",)
    with wave.open(str(context.workspace / "tone.wav")) as recording:
        assert recording.getnframes() / recording.getframerate() == 0.5


def test_a_tone_that_nobody_hears_is_refused(call):
    assert call(tone, frequency=90_000).status == "retry"
