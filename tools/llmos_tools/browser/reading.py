"""A page as text: paragraphs, with the links, buttons and fields that can be used numbered.

Reads playwright's accessibility snapshot, which covers frames and shadow trees and leaves out what
is hidden. Knows no browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

Node: TypeAlias = "str | Mapping[str, list[Node] | str | None]"

_KEY = re.compile(
    r'(?P<role>[a-z]+)(?: (?P<name>"(?:[^"\\]|\\.)*"|/.*/))?(?P<marks>(?: \[[^\]]*\])*)', re.DOTALL
)
_REF = re.compile(r"\[ref=(\w+)\]")
_PRESSED = frozenset({"link", "button", "tab", "menuitem", "option", "switch", "treeitem"})
_CHOSEN = frozenset({"checkbox", "radio", "menuitemcheckbox", "menuitemradio"})
_TYPED = {
    "textbox": "text field",
    "searchbox": "search field",
    "combobox": "choice",
    "spinbutton": "number field",
    "slider": "slider",
    "listbox": "choice",
}
_BLOCKS = frozenset(
    "alert article banner blockquote caption code complementary contentinfo definition dialog "
    "document figure form generic group heading iframe list listitem main navigation note "
    "paragraph region row search separator status table term".split()
)
_AROUND = frozenset({"navigation", "banner", "contentinfo", "complementary"})


@dataclass(frozen=True, slots=True)
class Handle:
    """What a number stands for: the element's reference in the snapshot, and what it is."""

    ref: str
    role: str
    name: str

    @property
    def takes_text(self) -> bool:
        return self.role in _TYPED


@dataclass(frozen=True, slots=True)
class Reading:
    """A page's text, and its handles; number n is `handles[n - 1]`."""

    text: str
    handles: tuple[Handle, ...]


def read_snapshot(snapshot: str) -> Reading:
    """Turn an accessibility snapshot (mode `ai`) into text, the main part first."""
    tree = yaml.load(snapshot, Loader=_Loader) or []
    writer = _Writer()
    writer.write(tree)
    body, around = "\n".join(writer.lines()), "\n".join(writer.lines(is_around=True))
    if body and around:
        body += "\n--- around it ---\n"
    return Reading(body + around, tuple(writer.handles))


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Writer:
    """Collects pieces of text; a line ends where a block begins or ends."""

    handles: list[Handle] = field(default_factory=list[Handle])
    _pieces: dict[bool, list[list[str]]] = field(default_factory=lambda: {False: [[]], True: [[]]})
    _is_around: bool = False

    def lines(self, *, is_around: bool = False) -> Iterator[str]:
        for pieces in self._pieces[is_around]:
            if line := " ".join(" ".join(pieces).split()):
                yield line

    def write(self, nodes: list[Node]) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._element(node, [])
                continue
            for key, value in node.items():
                if key == "text":
                    self._say(str(value))
                elif not key.startswith("/"):
                    self._element(key, value if isinstance(value, list) else _texts(value))

    def _say(self, text: str) -> None:
        self._pieces[self._is_around][-1].append(text)

    def _break(self) -> None:
        if self._pieces[self._is_around][-1]:
            self._pieces[self._is_around].append([])

    def _element(self, key: str, children: list[Node]) -> None:
        match = _KEY.match(key)
        if match is None:
            self._say(key)
            return
        role, name, marks = match["role"], _unquoted(match["name"]), match["marks"]
        if role in _PRESSED | _CHOSEN or role in _TYPED or _is_pressable(role, marks, children):
            self._handle(role, name, marks, children)
        elif role in ("cell", "columnheader", "rowheader", "gridcell"):
            self._cell(name, children)
        elif role in _BLOCKS:
            self._block(role, name, marks, children)
        else:
            self._say(f"[picture: {name}]" if role == "img" and name else "")
            self.write(children or (_texts(name) if role != "img" else []))

    def _block(self, role: str, name: str, marks: str, children: list[Node]) -> None:
        was_around = self._is_around
        self._is_around = was_around or role in _AROUND
        self._break()
        if role == "heading":
            level = re.search(r"level=(\d)", marks)
            self._say("#" * int(level[1] if level else 1))
        if role == "listitem":
            self._say("-")
        is_named_by_content = role in ("heading", "row", "generic")
        self.write(children or (_texts(name) if is_named_by_content else []))
        self._break()
        self._is_around = was_around

    def _cell(self, name: str, children: list[Node]) -> None:
        if self._pieces[self._is_around][-1]:
            self._say("|")
        inner = _Writer(self.handles)
        inner.write(children or _texts(name))
        self._say(" ".join([*inner.lines(), *inner.lines(is_around=True)]))

    def _handle(self, role: str, name: str, marks: str, children: list[Node]) -> None:
        ref = _REF.search(marks)
        inner = _Writer()
        inner.write([] if role in _TYPED else children)
        label = name or " ".join([*inner.lines(), *inner.lines(is_around=True)])
        if ref is None or "[disabled]" in marks:
            self._say(label)
            return
        self.handles.append(Handle(ref[1], role, label))
        self._say(_shown(len(self.handles), role, label, marks, children))


def _shown(number: int, role: str, label: str, marks: str, children: list[Node]) -> str:
    if role in _TYPED:
        value = _value(role, children)
        quoted = f' "{label}"' if label else ""
        return f"[{number}: {_TYPED[role]}{quoted}{f' = {value}' if value else ''}]"
    if role in _CHOSEN:
        state = "x" if "[checked]" in marks else " "
        return f"[{number}: ({state}) {label}]"
    return f"[{number}] {label}"


def _value(role: str, children: list[Node]) -> str:
    """Return what a field holds; of a choice, the options, the chosen one marked."""
    texts = [node if isinstance(node, str) else str(node.get("text") or "") for node in children]
    if role not in ("combobox", "listbox"):
        return " ".join(text for text in texts if text)
    options = [_KEY.match(text) for text in texts]
    return " / ".join(
        f"{_unquoted(option['name'])}{'*' if '[selected]' in option['marks'] else ''}"
        for option in options
        if option is not None and option["role"] == "option"
    )


def _is_pressable(role: str, marks: str, children: list[Node]) -> bool:
    """Whether it is a plain element that is made to be clicked, with nothing in it but text."""
    has_elements = any(isinstance(node, str) or "text" not in node for node in children)
    return role == "generic" and "[cursor=pointer]" in marks and not has_elements


def _texts(text: object) -> list[Node]:
    return [{"text": str(text)}] if text not in (None, "") else []


def _unquoted(text: str | None) -> str:
    if text is None:
        return ""
    return str(yaml.safe_load(text)) if text.startswith('"') else text
