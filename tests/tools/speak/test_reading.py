"""How text is read aloud."""

from __future__ import annotations

import pytest

from llmos_tools.speak.reading import LONGEST_PIECE, pieces, spoken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3.5 km/h", "three point five kilometres per hour."),
        ("17 * 24 = 408", "seventeen times twenty-four equals four hundred and eight."),
        ("`x += 1`", "x plus equals one."),
        ("/etc/hosts", "slash etc slash hosts."),
        ("€5", "five euros."),
        ("2026-11-25", "the twenty-fifth of November twenty twenty-six."),
        ("$3.50 or 1 €", "three dollars and fifty cents or one euro."),
        ("$5 million", "five million dollars."),
        ("Read notes.txt and ~/a/b.py.", "Read notes dot txt and tilde slash a slash b dot py."),
        ("See [docs](https://x.org/a) or https://www.example.com/docs?q=1.", "See docs or example dot com slash docs."),
        ("me@example.org", "me at example dot org."),
        ("2*3*4 and 2**10", "two times three times four and two to the power of ten."),
        ("It is 14:05, or 9:00, 9:30 am.", "It is fourteen oh five, or nine o'clock, nine thirty A M."),
        ("-5 °C, 20%", "minus five degrees Celsius, twenty percent."),
        ("version 3.11.2", "version three point eleven point two."),
        ("3-5 days, the 3rd", "three to five days, the third."),
        ("in 2026, 1999 files", "in twenty twenty-six, one thousand nine hundred and ninety-nine files."),
        ("007", "zero zero seven."),
        ("1234567890123456", "one two three four five six seven eight nine zero one two three four five six."),
        ("# Title\n\n- one\n- two **bold** 3", "Title.\none.\ntwo bold three."),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b.\none, two."),
        ("```python\nx = 2\n```", "x equals two."),
        ("e.g. this: it's 3, 4.", "e.g. this: it's three, four."),
        ("***", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_text_is_read_as_a_person_would_read_it(text: str, said: str) -> None:
    assert " ".join(spoken(text, "en").split(" ")).replace("\n ", "\n").strip() == said


def test_long_code_is_named_and_not_read() -> None:
    code = "```\n" + "x = 1\n" * 12 + "```"
    assert spoken(code, "en").strip() == "twelve lines of code, which are not read."


@pytest.mark.parametrize(("text", "language"), [("**Привет**, 5", "en"), ("**Es sind** 5", "de")])
def test_numbers_of_other_languages_are_left_to_the_voice(text: str, language: str) -> None:
    said = spoken(text, language)
    assert "5" in said
    assert "*" not in said


def test_pieces_end_with_sentences_and_lose_no_word() -> None:
    text = "One. Two! " + "word " * 300 + "x" * 1000
    said = pieces(text)
    assert said[:2] == ["One.", "Two!"]
    assert max(map(len, said)) <= LONGEST_PIECE
    assert "".join(said).replace(" ", "") == text.replace(" ", "")
