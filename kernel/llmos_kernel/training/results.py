"""What the built-in tools answer, drawn at random, and the parts of it that an answer copies.

Some texts hold instructions to the model; no call ever follows from one. Knows no dialogue and no
tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from llmos_kernel.abi import JsonObject
from llmos_kernel.training.everyday_slots import MONTHS, WEEKDAYS, EverydaySlots
from llmos_kernel.training.phrasings import is_held_out

INJECTED_SHARE = 0.06
NOTHING_SHARE = 0.06
NOW = r"(?P<date>(?P<weekday>\w+),? \d+ (?P<month>\w+) (?P<year>\d+)), (?P<clock>\d\d:\d\d)[ :]"
NOTHING = r"nothing (found|kept) |no fact about |(['\"]).*\2 is in none of "
LINK = r"\[(?P<linknumber>\d+)\] (?P<linkname>[^\n\[]+)(?:$|\n)"
CONFIRMATIONS = {
    "write_file": ("saved",),
    "edit_file": ("replaced", "replaced on line {drawn}"),
    "restore_file": ("restored", "brought back version {drawn} of {drawn}"),
    "remember": ("kept", "remembered", "remembered already"),
    "forget": ("forgotten", "forgotten: {fact} (2026-11-{drawn})"),
    "speak": ("said",),
    "timer": ("{duration} are over", "time is up: it is 14:{drawn}:07"),
    "schedule": (
        "scheduled: {when}",
        "schedule {drawn}: first on Tuesday 2026-11-{drawn} at 08:{drawn}",
    ),
    "draw": ("picture saved as drawing-{drawn}.png",),
    "browse_screenshot": ("picture saved as page-{drawn}.png",),
    "browse_type": ("typed into [{number}]",),
}


def read_injections(*, held_out: bool) -> list[str]:
    """Return the instructions that texts may hold, those of validation or those of training."""
    lines = (Path(__file__).parent / "injections.txt").read_text().splitlines()
    return [line for line in lines if line and is_held_out(line) == held_out]


class Results:
    """Draws results of the everyday tools, and errors of all."""

    def __init__(self, slots: EverydaySlots) -> None:
        self._slots = slots
        self._rng = slots.rng

    def draw(self, tool: str, arguments: JsonObject, *, kept: str, is_short: bool) -> str:
        """Return a result. `kept` is a fact kept earlier; a short result fits into an argument."""
        given = {key: str(value) for key, value in arguments.items()}
        match tool:
            case "browse" | "browse_click" | "browse_back":
                return self.page(is_short=is_short)
            case "search":
                return self.hits(given["query"])
            case "recall":
                return self.facts(given["query"], kept)
            case "now":
                return self.now(given.get("zone", ""))
            case "look":
                return self.sight(given.get("question", ""))
            case "listen":
                return self._slots.say()
            case "find_text":
                return self.found(given["text"])
            case _:
                drawn = str(self._rng.randint(10, 59))
                return self._rng.choice(CONFIRMATIONS[tool]).format(**given, drawn=drawn)

    def page(self, *, is_short: bool) -> str:
        """A web page as the model is shown it: its title, then text with numbered links."""
        title = self._title()
        if is_short:
            return f"{title}\n\n{self._slots.sentence()}"
        pieces: list[str] = []
        for number in range(1, self._rng.randint(2, 7)):
            if self._rng.random() < 0.6:
                pieces.append(self._slots.sentence())
            if self._rng.random() < 0.7:
                label = f'text field "{self._slots.word()}"'
                is_field = self._rng.random() < 0.15
                pieces.append(f"[{number}: {label}]" if is_field else f"[{number}] {self._label()}")
        return f"{title}\n\n{self._rng.choice([' ', chr(10), chr(10)]).join(pieces)}"

    def _label(self) -> str:
        return self._slots.phrase(1, 3).capitalize()

    def _title(self) -> str:
        slots = self._slots
        return self._rng.choice(
            [
                slots.phrase(1, 4).capitalize(),
                slots.phrase(2, 5).title(),
                f"{slots.phrase(1, 3).capitalize()} - {slots.random_word().capitalize()}",
                f"{slots.city()} {slots.word()}",
                f"{slots.random_word().capitalize()} | {slots.phrase(1, 3)}",
            ]
        )

    def hits(self, query: str) -> str:
        """Search results: number and title, address, a line of text."""
        if self._rng.random() < NOTHING_SHARE:
            return f"nothing found for {query!r}"
        blocks: list[str] = []
        for number in range(1, self._rng.randint(2, 5)):
            title = self._rng.choice([self._title(), f"{query} - {self._slots.phrase(1, 2)}"])
            url = f"https://{self._slots.url().removeprefix('https://').removeprefix('http://')}"
            blocks.append(f"{number}. {title}\n{url}\n{self._slots.sentence()}")
        return "\n\n".join(blocks)

    def facts(self, query: str, kept: str) -> str:
        """Kept facts, the one that fits best first."""
        if not kept and self._rng.random() < NOTHING_SHARE:
            return self._rng.choice(["no fact about this is kept", f"nothing kept about {query!r}"])
        facts = [kept or self._slots.fact_about(query)]
        facts += [self._slots.fact() for _ in range(self._rng.choice([0, 0, 0, 1, 2]))]
        return "\n".join(f"- {fact} ({self._noted()})" for fact in facts)

    def _date(self) -> str:
        day, year = self._rng.randint(1, 31), self._rng.randint(2025, 2029)
        return f"{day} {self._rng.choice(MONTHS)} {year}"

    def _noted(self) -> str:
        """When a fact was kept, and whether it came from outside."""
        year, month, day = (self._rng.randint(*span) for span in ((2025, 2029), (1, 12), (1, 31)))
        date = self._rng.choice([self._date(), f"{year}-{month:02}-{day:02}"])
        return f"{date}; from outside, not checked" if self._rng.random() < 0.1 else date

    def now(self, zone: str) -> str:
        place = (
            zone if "/" in zone else f"{self._slots.random_word().capitalize()}/{zone or 'Home'}"
        )
        if not zone:
            place = self._rng.choice(["Europe/Berlin", "Asia/Tokyo", "America/Lima", "UTC", place])
        offset = self._rng.randint(-11, 13)
        clock = f"{self._rng.randint(0, 23):02}:{self._rng.randint(0, 59):02}"
        clock += self._rng.choice(["", f":{self._rng.randint(0, 59):02}"])
        day = f"{self._rng.choice(WEEKDAYS)}{self._rng.choice(['', ','])} {self._date()}"
        ahead = self._rng.choice([f"{offset:+d}", f"{offset:+03d}:00"])
        return f"{day}, {clock} ({place.replace(' ', '_')}, UTC{ahead})"

    def sight(self, question: str) -> str:
        if not question:
            end = self._rng.choice(["", "."])
            start = self._rng.choice(["The picture shows ", "I see ", "It shows ", ""])
            return f"{start}{self._slots.scene()}{end}"
        return self._rng.choice(
            [
                self._slots.figure(),
                self._slots.plain_word(),
                self._rng.choice(["yes", "no", "Yes.", "No.", "there is none"]),
                str(self._rng.randint(0, 12)),
                f"It is {self._slots.plain_word()}.",
                f"{self._slots.figure()} next to {self._slots.figure()}",
            ]
        )

    def found(self, text: str) -> str:
        if self._rng.random() < NOTHING_SHARE:
            files = self._rng.randint(2, 99)
            return self._rng.choice(
                [f"nothing found for {text!r}", f"{text!r} is in none of {files} files"]
            )
        return "\n".join(
            f"{self._slots.path()}:{self._rng.randint(1, 400)}: "
            f"{self._slots.phrase(0, 3)} {text} {self._slots.phrase(0, 3)}".rstrip()
            for _ in range(self._rng.choice([1, 1, 2, 3]))
        )

    def with_injection(self, result: str, injection: str) -> str:
        """Return a result whose text holds an instruction, after its title or first hit."""
        lines = result.split("\n")
        if len(lines) == 1:
            return self._rng.choice([injection, f"{result} {injection}", f"{result}\n{injection}"])
        at = self._rng.randint(min(3, len(lines)), len(lines))
        return "\n".join([*lines[:at], injection, *lines[at:]])

    def error(self, tool: str, arguments: JsonObject) -> str:
        """Return what the tool says when it cannot do a call."""
        slots, given = self._slots, {k: repr(v) for k, v in arguments.items()}
        path, url = given.get("path", "''"), given.get("url", "''")
        outside = f"{path} is outside the workspace"
        no_file = f"there is no file {path}"
        no_page = ["no page is open", "the page did not answer in 30 s"]
        errors: dict[str, Sequence[str]] = {
            "calculate": (
                f"cannot read the expression {given.get('expression')}",
                "this is too large to work out",
                "division by zero",
                f"unknown name {slots.word()!r}",
            ),
            "python": (
                f"NameError: name '{slots.word()}' is not defined",
                "ZeroDivisionError: division by zero",
                "SyntaxError: invalid syntax",
                f"ModuleNotFoundError: No module named '{slots.word()}'",
                "the code was stopped after 30 s",
                f"ValueError: {slots.phrase(2, 5)}",
            ),
            "read_file": (no_file, f"{path} is not a text file", outside),
            "list_files": (f"there is no folder {path}", outside),
            "write_file": (outside, f"{path} is a folder", "the disk is full"),
            "browse": (f"cannot reach {url}", f"{url} answered 404", *no_page[1:]),
            "browse_click": (f"there is no link {given.get('number')}", *no_page),
            "browse_type": (f"there is no field {given.get('number')}", *no_page),
            "browse_back": ("there is no page before this one", *no_page),
            "browse_screenshot": no_page,
            "search": ("no search engine is reachable", "the search took longer than 30 s"),
            "remember": ("the memory is full", "this is kept already"),
            "recall": ("the memory cannot be read",),
            "forget": (f"no kept fact is like {given.get('fact')}",),
            "now": (f"unknown zone {given.get('zone', repr(slots.word()))}",),
            "timer": (f"cannot read the duration {given.get('duration')}",),
            "schedule": (f"cannot read the time {given.get('when')}", "this time is past"),
            "draw": ("there is no model for pictures", "the picture could not be saved"),
            "look": (f"there is no file {given.get('image')}", "this is not a picture"),
            "listen": (f"there is no file {given.get('audio')}", "this is not a recording"),
            "speak": ("there is no sound device", "the text is too long to say"),
            "find_text": (f"there is no folder {path}", outside),
            "edit_file": (no_file, f"{given.get('old')} is not in {path}", outside),
            "restore_file": (no_file, f"there is no earlier version of {path}"),
        }
        return self._rng.choice(errors[tool])


def parts(tool: str, arguments: JsonObject, result: str) -> dict[str, str]:
    """Return the pieces of a result that an answer or a later call copies, by their slot."""
    found: dict[str, str] = {}
    if tool in ("browse", "browse_click", "browse_back"):
        found["title"] = result.split("\n", 1)[0]
        links = [link.groupdict() for link in re.finditer(LINK, result)]
        found |= links[len(result) % len(links)] if links else {}
    if tool in ("search", "recall", "find_text") and re.match(NOTHING, result):
        found["nothing"] = result
    if saved := re.fullmatch(r"picture saved as (\S+)", result):
        found["file"] = found["lastimage"] = saved[1]
    if tool == "now" and (told := re.match(NOW, result)):
        found |= told.groupdict()
    if tool == "search" and (hit := re.match(r"1\. (.*)\n(.*)\n", result)):
        found |= {"hit": hit[1], "link": hit[2], "lastlink": hit[2]}
        if second := re.search(r"^2\. .*\n(.*)\n", result, re.MULTILINE):
            found["secondlink"] = second[1]
    if tool == "recall" and (fact := re.match(r"- (.*) \([^)]*\)", result)):
        found["recalled"] = fact[1]
    if tool == "remember":
        found["lastfact"] = str(arguments["fact"])
        topic, verb, _ = found["lastfact"].rpartition(" is ")
        found |= {"lasttopic": topic} if verb else {}
    if tool in ("read_file", "write_file", "edit_file"):
        found["lastpath"] = str(arguments["path"])
    if tool in ("calculate", "python", "listen", "look", "read_file") and "\n" not in result:
        found["lasttext"] = result
    return found
