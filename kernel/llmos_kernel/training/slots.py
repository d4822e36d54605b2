"""Values for the slots of phrasings: what a request shows, and what the call must hold.

Pools are wide, and half of every pool is made of letters at random, so that copying is the only
way to be right. Knows no tool and no tokenizer.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from num2words import num2words  # pyright: ignore[reportUnknownVariableType]

RESULT_SLOTS = (
    "result result1 result2 result3 title hit link file clock date weekday month year recalled"
).split()
EARLIER_SLOTS = (
    "previous lastimage lastlink secondlink linknumber linkname lastpath lasttext lastfact "
    "lasttopic"
).split()
SLOT = re.compile(
    r"<(a|b|c|d|n|m|k|N|p|expr|wordexpr|poly|function|numbers|list|wordlist|items|word|phrase|text"
    r"|name|path|txt|py|csv|json|md|dir|ext|code|url|query|fact|topic|kept|when|duration|city|scene"
    r"|image|audio|question|say|task|chore|old|new|number|request"
    rf"|{'|'.join(RESULT_SLOTS + EARLIER_SLOTS)})>"
)
FIRST_NAMES = (
    "Ada Alan Amira Anders Anna Arjun Beatriz Bo Carlos Chen Chidi Clara Dana Diego Dmitri Elena "
    "Emeka Emma Farid Fatima Felix Freya Gita Grace Hana Hans Hassan Hugo Ines Ivan Jack Jamal "
    "Jana Joao Jonas Julia Kai Karim Keiko Kofi Lars Leila Leo Lin Lucia Mads Maria Marta Mei "
    "Mina Mohammed Nadia Nils Noor Olga Oscar Paolo Pedro Petra Priya Quentin Rana Rosa Sam Sana "
    "Sofia Sven Tariq Tom Uma Vera Viktor Wei Yara Yusuf Zoe Zofia"
).split()
EXTENSIONS = "txt md py csv json log html yaml toml ini xml js sh tex rst cfg tsv dat".split()
FOLDERS = (
    "docs src data notes reports images tests lib tmp archive letters music recipes work home "
    "projects backup scripts old new drafts invoices logs photos config assets school private"
).split()
FILE_WORDS = (
    "notes todo report readme list shopping budget letter draft plan diary recipe ideas summary "
    "main test data config settings results output log invoice meeting minutes log index story "
    "poem essay address contacts schedule agenda memo journal example sample hello info"
).split()
OPERATORS = {
    "+": (" plus ", " and ", " added to "),
    "-": (" minus ", " less "),
    "*": (" times ", " multiplied by "),
    "/": (" divided by ", " over "),
}


@dataclass(frozen=True, slots=True)
class Value:
    """A slot's value: how the request shows it, and what stands in the call."""

    shown: str
    exact: str


def same(text: str) -> Value:
    return Value(text, text)


@lru_cache(maxsize=200_000)
def number_in_words(number: int) -> str:
    return str(num2words(number))


def ordinal(number: int, *, in_words: bool = False) -> str:
    """Return a place in an order: `22nd`, or `twenty-second`."""
    return str(num2words(number, to="ordinal" if in_words else "ordinal_num"))


class Slots:
    """Draws slot values. `words` and `sentences` are the pools of real language."""

    def __init__(self, rng: random.Random, words: Sequence[str], sentences: Sequence[str]) -> None:
        self.rng = rng
        self._words = words
        self._sentences = sentences
        self._makers: dict[str, Callable[[], Value]] = {
            **dict.fromkeys(("a", "b", "c", "d"), self.number),
            **dict.fromkeys(("n", "m", "k"), self.small_number),
            "N": self.large_number,
            "p": lambda: same(self.rng.choice(["5", "7.5", str(self.rng.randint(1, 99))])),
            "expr": self.expression,
            "wordexpr": self.word_expression,
            "poly": self.polynomial,
            "function": self.function,
            "numbers": self.numbers,
            "list": lambda: same(f"[{', '.join(self._plain_numbers())}]"),
            "wordlist": self.word_list,
            "items": lambda: same(self.items()),
            "word": lambda: same(self.word()),
            "phrase": lambda: same(self.phrase(2, 5)),
            "text": lambda: same(self.sentence()),
            "name": lambda: same(self.name()),
            "path": self.shown_path,
            **{
                ext: lambda ext=ext: self.shown_path(ext)
                for ext in ("txt", "py", "csv", "json", "md")
            },
            "dir": lambda: same(self.folder()),
            "ext": lambda: same(self.rng.choice(EXTENSIONS)),
            "code": lambda: same(self.code()),
        }

    def draw(self, slot: str) -> Value:
        return self._makers[slot]()

    # Words ---------------------------------------------------------------

    def word(self) -> str:
        if self.rng.random() < 0.6:
            return self.rng.choice(self._words)
        return self.random_word()

    def random_word(self) -> str:
        syllables = self.rng.randint(1, 3)
        word = "".join(
            self.rng.choice("bcdfghjklmnprstvwz")
            + self.rng.choice("aeiou")
            + self.rng.choice(["", "", "n", "r", "s", "t", "l", "x", "mp"])
            for _ in range(syllables)
        )
        return self.rng.choice([word, word, word.capitalize(), word.upper()])

    def letters(self, shortest: int, longest: int) -> str:
        alphabet = string.ascii_letters + string.digits
        return "".join(self.rng.choices(alphabet, k=self.rng.randint(shortest, longest)))

    def phrase(self, shortest: int, longest: int) -> str:
        return " ".join(self.word() for _ in range(self.rng.randint(shortest, longest)))

    def sentence(self) -> str:
        roll = self.rng.random()
        if roll < 0.4:
            return self._short(self.rng.choice(self._sentences))
        if roll < 0.7:
            return self.phrase(1, 8)
        if roll < 0.92:
            return self.items()
        return f"{self.word()}: {self.rng.randint(0, 999)} {self.word()}"

    def _short(self, sentence: str) -> str:
        words = sentence.replace('"', "").split()
        return " ".join(words[: self.rng.randint(3, 14)])

    def name(self) -> str:
        first = self.rng.choice(FIRST_NAMES)
        if self.rng.random() < 0.3:
            first = self.random_word().capitalize()
        return f"{first} {self.random_word().capitalize()}" if self.rng.random() < 0.3 else first

    def word_list(self) -> Value:
        words = [self.word() for _ in range(self.rng.randint(3, 6))]
        quoted = ", ".join("'" + word.replace("'", "") + "'" for word in words)
        words = [word.replace("'", "") for word in words]
        return Value(self._joined(words), quoted)

    def items(self) -> str:
        """Things of a list as people write it: `eggs, flour and rye bread`."""
        return self._joined([self.phrase(1, 2) for _ in range(self.rng.randint(2, 6))])

    def _joined(self, items: Sequence[str]) -> str:
        if self.rng.random() < 0.5:
            return ", ".join(items)
        return f"{', '.join(items[:-1])} and {items[-1]}"

    # Files ---------------------------------------------------------------

    def folder(self) -> str:
        one = self._folder_name()
        return f"{one}/{self._folder_name()}" if self.rng.random() < 0.2 else one

    def _folder_name(self) -> str:
        if self.rng.random() < 0.5:
            return self.rng.choice(FOLDERS)
        return self.word().strip(".,'").replace("'", "") or "folder"

    def path(self, extension: str | None = None) -> str:
        ext = extension or self.rng.choice(EXTENSIONS)
        stem = self._stem()
        folder = f"{self.folder()}/" if self.rng.random() < 0.25 else ""
        return f"{folder}{stem}.{ext}"

    def shown_path(self, extension: str | None = None) -> Value:
        """A path; a request may put one with blanks in quotes."""
        path = self.path(extension)
        if " " in path and self.rng.random() < 0.4:
            quote = self.rng.choice('""\'')
            return Value(f"{quote}{path}{quote}", path)
        return same(path)

    def _stem(self) -> str:
        if self.rng.random() < 0.05:
            return self._stem_with_blanks()
        roll = self.rng.random()
        if roll < 0.3:
            return self.rng.choice(FILE_WORDS)
        if roll < 0.35:
            return self.letters(1, 7)
        word = self.word().replace("'", "")
        if roll < 0.65:
            return word
        second = self.rng.choice(
            [
                self.rng.choice(FILE_WORDS),
                self.word().replace("'", ""),
                str(self.rng.randint(1, 2030)),
            ]
        )
        return f"{word}{self.rng.choice(['_', '-', '', '.'])}{second}"

    def _stem_with_blanks(self) -> str:
        words = [self.word().replace("'", "") for _ in range(self.rng.randint(1, 2))]
        last = self.rng.choice([*FILE_WORDS, str(self.rng.randint(1, 2030))])
        return " ".join([*words, last])

    # Numbers -------------------------------------------------------------

    def number(self) -> Value:
        roll = self.rng.random()
        if roll < 0.35:
            return self._whole(self.rng.randint(0, 99))
        if roll < 0.6:
            return self._whole(self.rng.randint(100, 9999))
        if roll < 0.7:
            return self._whole(self.rng.randint(1000, 100_000))
        whole = self.rng.choice([9, 99, 999])
        digits = self.rng.choice([1, 1, 2, 2, 3])
        return same(f"{self.rng.uniform(0, whole):.{digits}f}")

    def _whole(self, number: int) -> Value:
        roll = self.rng.random()
        likely = 0.25 if number < 100 else 0.1 if number < 1000 else 0.03
        if roll < likely:
            words = number_in_words(number)
            if self.rng.random() < 0.5:
                words = words.replace("-", " ").replace(",", "").replace(" and ", " ")
            return Value(words, str(number))
        if number >= 1000 and roll > 0.85:
            return Value(f"{number:,}", str(number))
        return same(str(number))

    def small_number(self) -> Value:
        return self._whole(self.rng.randint(2, 12 if self.rng.random() < 0.6 else 40))

    def large_number(self) -> Value:
        return self._whole(int(10 ** self.rng.uniform(1, 5)))

    def _plain_numbers(self) -> list[str]:
        limit = self.rng.choice([9, 20, 100, 1000])
        count = self.rng.randint(3, 8)
        if self.rng.random() < 0.2:
            return [f"{self.rng.uniform(0, limit):.1f}" for _ in range(count)]
        low = -limit if self.rng.random() < 0.15 else 0
        return [str(self.rng.randint(low, limit)) for _ in range(count)]

    def numbers(self) -> Value:
        numbers = self._plain_numbers()[: self.rng.randint(3, 6)]
        shown = self._joined(numbers) if self.rng.random() < 0.8 else " ".join(numbers)
        return Value(shown, ", ".join(numbers))

    # Expressions ---------------------------------------------------------

    def expression(self) -> Value:
        shown, exact = self._arithmetic(self.rng.choice([1, 1, 1, 1, 2, 2, 3]))
        gap = self.rng.choice([" ", " ", ""])
        times = self.rng.choice(["*", "*", "*", "x", "×"])
        over = self.rng.choice(["/", "/", "/", "÷"])
        power = self.rng.choice(["^", "**"])
        for mark, sign in (("+", "+"), ("-", "-"), ("*", times), ("/", over)):
            shown = shown.replace(f" {mark} ", f"{gap}{sign}{gap}")
        return Value(shown.replace("^", power), exact)

    def _arithmetic(self, depth: int) -> tuple[str, str]:
        """Return an expression shown with ' + ' style operators, and in sympy syntax."""
        if depth == 0:
            return self._term()
        left_depth = self.rng.randint(0, depth - 1)
        left = self._arithmetic(left_depth)
        right = self._arithmetic(depth - 1 - left_depth)
        operator = self.rng.choice("++--***//")
        if left_depth and self.rng.random() < 0.5:
            left = (f"({left[0]})", f"({left[1]})")
        if depth - 1 - left_depth and (operator in "-*/" or self.rng.random() < 0.3):
            right = (f"({right[0]})", f"({right[1]})")
        return f"{left[0]} {operator} {right[0]}", f"{left[1]}{operator}{right[1]}"

    def _term(self) -> tuple[str, str]:
        roll = self.rng.random()
        if roll < 0.08:
            base, exponent = self.rng.randint(2, 20), self.rng.randint(2, 10)
            return f"{base}^{exponent}", f"{base}**{exponent}"
        if roll < 0.12:
            inside = self.rng.randint(2, 500)
            return f"sqrt({inside})", f"sqrt({inside})"
        value = self.number()
        exact = value.exact
        shown = value.shown if value.shown[0].isdigit() else exact
        return shown, exact

    def word_expression(self) -> Value:
        shown, exact = "", ""
        for index in range(self.rng.choice([2, 2, 2, 3])):
            value = self.number()
            if index:
                operator = self.rng.choice("+-*/")
                words = self.rng.choice(OPERATORS[operator][:1] * 3 + OPERATORS[operator])
                words = " plus " if words in (" and ", " added to ") and index > 1 else words
                shown, exact = shown + words, exact + operator
            shown, exact = shown + value.shown, exact + value.exact
        return Value(shown, exact)

    def polynomial(self) -> Value:
        variable = "x"
        degree = self.rng.choice([1, 2, 2, 2, 3])
        if self.rng.random() < 0.2:
            return self._power()
        shown, exact = "", ""
        gap = self.rng.choice([" ", " ", ""])
        power = self.rng.choice(["^", "^", "**"])
        times = self.rng.choice(["", "", "*"])
        for exponent in range(degree, -1, -1):
            factor = self.rng.randint(1, 12)
            if exponent < degree and self.rng.random() < 0.2:
                continue
            sign = self.rng.choice("+-")
            if shown:
                shown, exact = f"{shown}{gap}{sign}{gap}", f"{exact} {sign} "
            if exponent == 0:
                shown, exact = shown + str(factor), exact + str(factor)
                continue
            tail = variable if exponent == 1 else f"{variable}{power}{exponent}"
            exact_tail = variable if exponent == 1 else f"{variable}**{exponent}"
            shown += tail if factor == 1 else f"{factor}{times}{tail}"
            exact += exact_tail if factor == 1 else f"{factor}*{exact_tail}"
        return Value(shown, exact.replace(" ", ""))

    def _power(self) -> Value:
        exponent = self.rng.randint(2, 9)
        factor = self.rng.choice(["", "", str(self.rng.randint(2, 60))])
        shown = f"{factor}{self.rng.choice(['', '*'])}" if factor else ""
        exact = f"{factor}*" if factor else ""
        return Value(
            f"{shown}x{self.rng.choice(['^', '^', '**'])}{exponent}", f"{exact}x**{exponent}"
        )

    def function(self) -> Value:
        if self.rng.random() < 0.4:
            return self.polynomial()
        inner = self.rng.choice(["x", "x", f"{self.rng.randint(2, 9)}*x", "x**2"])
        head = self.rng.choice(["sin", "cos", "tan", "exp", "log", "sqrt"])
        other = self.rng.choice(
            [
                "",
                f"+{self.rng.randint(1, 9)}",
                "+x",
                "*x",
                "+x**2",
                f"*x**{self.rng.randint(2, 5)}",
                f"-{self.rng.randint(2, 9)}*x",
                f"/{self.rng.randint(2, 9)}",
            ]
        )
        exact = f"{head}({inner}){other}"
        shown = exact.replace("**", self.rng.choice(["^", "**"]))
        if self.rng.random() < 0.4:
            shown = re.sub(r"([+\-])", r" \1 ", shown)
        if self.rng.random() < 0.4:
            shown = re.sub(r"(\d)\*x", r"\1x", shown)
        return Value(shown, exact)

    def code(self) -> str:
        """One or two lines of Python, put together at random: they are copied, not understood."""
        name = self.rng.choice([*"abcxyzn", self._identifier()])
        value = self._code_value(2)
        return self.rng.choice([
            f"print({value})",
            f"print({value})",
            value,
            f"{name} = {value}; print({name})",
            f"{name} = {value}\nprint({self._code_call(name)})",
            f"for {name} in {self._code_range()}: print({self._code_call(name)})",
            f"[{self._code_call(name)} for {name} in {self._code_range()}]",
            f"import math; print(math.{self.rng.choice(['sqrt', 'log', 'sin', 'floor'])}({value}))",
            f"print({value}, {self._code_value(1)})",
            f"{value} if {self._code_value(1)} else {self._code_value(0)}",
        ])  # fmt: skip

    def _code_value(self, depth: int) -> str:
        if depth and self.rng.random() < 0.6:
            left, right = self._code_value(depth - 1), self._code_value(0)
            operator = self.rng.choice(["+", "-", "*", "/", "%", "//", "**", "<", "=="])
            return self.rng.choice([
                self._code_call(left),
                f"{left} {operator} {right}",
                f"{left} * {self.rng.randint(2, 9)}",
                f"{left}[{self.rng.choice(['::-1', '0', '-1', '1:', ':3', '::2'])}]",
                f"{left}.{self.rng.choice(['upper()', 'title()', 'split()', 'strip()'])}",
            ])  # fmt: skip
        quote = self.rng.choice("''\"")
        return self.rng.choice([
            str(self.rng.randint(0, 9999)),
            str(self.rng.randint(0, 99)),
            f"{quote}{self._unquoted(1, 1)}{quote}",
            f"{quote}{self._unquoted(1, 5)}{quote}",
            f"[{', '.join(self._plain_numbers())}]",
            self._identifier(),
        ])  # fmt: skip

    def _code_call(self, value: str) -> str:
        functions = "len sum sorted max min abs str list set round print int".split()
        return f"{self.rng.choice([*functions, self._identifier()])}({value})"

    def _code_range(self) -> str:
        start, stop = self.rng.randint(0, 9), self.rng.randint(10, 200)
        return self.rng.choice([f"range({stop})", f"range({start}, {stop})", self._code_value(0)])

    def _identifier(self) -> str:
        words = re.sub(r"[^a-z ]", "", self.phrase(1, 2).lower()).split()
        return "_".join(words) or "value"

    def _unquoted(self, shortest: int, longest: int) -> str:
        return re.sub(r"['\"\\]", "", self.phrase(shortest, longest))

    # Results -------------------------------------------------------------

    def number_result(self) -> str:
        """A result of a sum as `calculate` writes it; right or not, since answers only copy it."""
        roll = self.rng.random()
        if roll < 0.6:
            return str(
                self.rng.randint(-999 if roll < 0.1 else 0, self.rng.choice([99, 9999, 10**7]))
            )
        if roll < 0.85:
            number = self.rng.uniform(0, self.rng.choice([1, 100, 10_000]))
            return f"{number:.{self.rng.randint(1, 6)}f}"
        numerator, denominator = self.rng.randint(1, 99), self.rng.randint(2, 99)
        return f"{numerator}/{denominator} ≈ {numerator / denominator:.6g}"

    def symbolic_result(self) -> str:
        roll = self.rng.random()
        if roll < 0.35:
            return self.function().exact.replace("+", " + ").replace("-", " - ")
        if roll < 0.55:
            return f"[{self.rng.randint(-20, 20)}, {self.rng.randint(-20, 20)}]"
        if roll < 0.65:
            return self.rng.choice(["True", "False", "oo", "pi/2", "0"])
        if roll < 0.75:
            return "{" + ", ".join(f"{p}: {self.rng.randint(1, 4)}" for p in (2, 3, 5, 7)) + "}"
        return self.number_result()

    def printed_result(self) -> str:
        """What a few lines of Python print."""
        roll = self.rng.random()
        if roll < 0.3:
            return self.number_result()
        if roll < 0.5:
            return f"[{', '.join(self._plain_numbers())}]"
        if roll < 0.7:
            return self.phrase(1, 3)
        if roll < 0.8:
            return "\n".join(self._plain_numbers())
        if roll < 0.88:
            return "\n".join(self.phrase(1, 3) for _ in range(self.rng.randint(2, 4)))
        return self.rng.choice(["True", "False", "None", f"'{self.word()}'", self.letters(8, 24)])

    def file_result(self) -> str:
        """What a text file of the workspace may hold."""
        roll = self.rng.random()
        if roll < 0.5:
            return self.sentence()
        if roll < 0.65:
            return "\n".join(self.sentence() for _ in range(self.rng.randint(2, 3)))
        if roll < 0.75:
            return "\n".join(f"- {self.phrase(1, 3)}" for _ in range(self.rng.randint(2, 5)))
        if roll < 0.82:
            return self.number_result()
        if roll < 0.88:
            return self.code()
        if roll < 0.94:
            rows = [
                f"{self.word()},{self.rng.randint(0, 999)}" for _ in range(self.rng.randint(1, 4))
            ]
            return "\n".join(["name,value", *rows])
        return " ".join(self.sentence() for _ in range(self.rng.randint(4, 8)))

    def listing_result(self) -> str:
        """What `list_files` writes: one path a line, folders with a slash."""
        entries = [
            f"{self.folder()}/" if self.rng.random() < 0.2 else self.path().split("/")[-1]
            for _ in range(self.rng.randint(1, 6))
        ]
        return "\n".join(sorted(entries))
