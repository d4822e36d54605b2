"""Words: what is said instead of written, turned into the notation.

`seventeen times twenty four` becomes `17 * 24`. Each rule looks at neighbouring words only. Knows
no maths; what it does not know it leaves, and the notation names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SMALL = {word: number for number, word in enumerate(UNITS)} | {
    word: 10 * number for number, word in enumerate(TENS, 2)
}
NUMBER_WORDS = (*SMALL, "hundred", *SCALES)
WORDED_NUMBER = re.compile(
    rf"\b(?:{'|'.join(NUMBER_WORDS)})(?:(?:[\s-]+|\s+and\s+)(?:{'|'.join(NUMBER_WORDS)}))*\b",
    re.IGNORECASE,
)
WORDED_DECIMALS = re.compile(rf"\bpoint((?:\s+(?:{'|'.join(UNITS[:10])}))+)\b", re.IGNORECASE)
SCALED_NUMBER = re.compile(rf"\b([0-9]+(?:\.[0-9]+)?)\s+({'|'.join(SCALES)})\b", re.IGNORECASE)
GROUPED_NUMBER = re.compile(r"(?<![\w.,(\[])([0-9]{1,3}(?:,[0-9]{3})+)(?![\w,])")
# A number, a name, or a bracket without others in it, with a function's name before it or not.
OPERAND = r"(-?[0-9.]+!?%?|[a-z]\w*\([^()]*\)|\([^()]*\)|[a-z]\w*)"
LIST = rf"{OPERAND}(?:,\s*{OPERAND})*,?\s+and\s+{OPERAND}"

RULES: tuple[tuple[str, str], ...] = (
    (r"\bthe\s+(?=square|cube|sum|product|difference|quotient|average|mean|factorial|log|least"
     r"|greatest)", ""),
    (r"\b(?:find\s+the\s+)?(?:first\s+)?([0-9]+)\s+(?:significant\s+)?digits\s+of\s+(.+)$",
     r"N(\2, \1)"),
    (r"^(.+?)\s+to\s+([0-9]+)\s+(?:significant\s+)?(?:digits|figures)$", r"N(\1, \2)"),
    (r"^(.+?)\s+(?:rounded\s+)?to\s+([0-9]+)\s+(?:decimal\s+places|decimals|places)$",
     r"round(\1, \2)"),
    (r"^(.+?)\s+rounded(?:\s+to\s+the\s+nearest\s+(?:integer|whole\s+number))?$", r"round(\1)"),
    (rf"^{OPERAND}\s+is\s+what\s+(?:percent(?:age)?|%)\s+of\s+{OPERAND}$", r"100*\1/(\2)"),
    (rf"^what\s+(?:percent(?:age)?|%)\s+of\s+{OPERAND}\s+is\s+{OPERAND}$", r"100*\2/(\1)"),
    (r"\b(?:percent|per\s+cent|percentage)\b", "%"),
    (rf"{OPERAND}\s*%\s*off\s+(?:of\s+)?{OPERAND}", r"(\2 - \1%)"),
    (rf"\b(?:gcd|greatest\s+common\s+divisor)\s+of\s+{OPERAND}\s+and\s+{OPERAND}", r"gcd(\1, \2)"),
    (rf"\b(?:lcm|least\s+common\s+multiple)\s+of\s+{OPERAND}\s+and\s+{OPERAND}", r"lcm(\1, \2)"),
    (rf"^is\s+{OPERAND}\s+(?:a\s+)?prime(?:\s+number)?$", r"isprime(\1)"),
    (rf"\bprime\s+factors\s+of\s+{OPERAND}", r"factorint(\1)"),
    (rf"{OPERAND}\s+choose\s+{OPERAND}", r"binomial(\1, \2)"),
    (r"^(?:the\s+)?derivative\s+of\s+(.+?)(?:\s+with\s+respect\s+to\s+([a-z]))$", r"diff(\1, \2)"),
    (r"^(?:the\s+)?derivative\s+of\s+(.+)$", r"diff(\1)"),
    (r"^(?:the\s+)?(?:integral\s+of|integrate)\s+(?!\()(.+?)\s+from\s+(\S+)\s+to\s+(\S+)$",
     r"integral(\1, \2, \3)"),
    (r"^(?:the\s+)?(?:integral\s+of|integrate)\s+(?!\()(.+)$", r"integrate(\1)"),
    (r"\b([0-9]+)\s+and\s+(?:a|1)\s+half\b", r"(\1 + 1/2)"), (r"\bdozen\b", "*12"),
    (r"\bto\s+the\s+([0-9]+)(?:st|nd|rd|th)?(?:\s+power)?\b", r"**\1"),
    (rf"\bsum\s+of\s+{OPERAND}\s+and\s+{OPERAND}", r"(\1 + \2)"),
    (rf"\bproduct\s+of\s+{OPERAND}\s+and\s+{OPERAND}", r"(\1 * \2)"),
    (rf"\bdifference\s+(?:of|between)\s+{OPERAND}\s+and\s+{OPERAND}", r"(\1 - \2)"),
    (rf"\bquotient\s+of\s+{OPERAND}\s+and\s+{OPERAND}", r"(\1 / \2)"),
    (rf"\blog(?:arithm)?\s+(?:to\s+)?base\s+([0-9e]+)\s+of\s+{OPERAND}", r"log(\2, \1)"),
    (rf"\blog(?:arithm)?\s+of\s+{OPERAND}\s+(?:to\s+)?base\s+([0-9e]+)", r"log(\1, \2)"),
    (rf"\bnatural\s+log(?:arithm)?\s+of\s+{OPERAND}", r"ln(\1)"),
    (rf"\bfactorial\s+of\s+{OPERAND}", r"factorial(\1)"),
    (rf"\b(sine?|cos|cosine|tan|tangent)\s+of\s+{OPERAND}\s*(degrees|°)?", r"\1(\2 \3)"),
    (r"\bsine\(", "sin("), (r"\bcosine\(", "cos("), (r"\btangent\(", "tan("),
    (r"\b(sin|cos|tan|sqrt|ln)\s+(-?[0-9.]+)(\s*(?:degrees?\b|°))?", r"\1(\2\3)"),
    (r"(?<=[0-9])\s*(?:°|degrees?\b)", "*pi/180"),
    (r"\bcube\s+root\s+of\b", "∛"), (r"\b(?:square\s+)?root\s+of\b", "√"),
    (r"\b(?:a|1)\s+half\b(?!\s+of)", "1/2"),
    (r"\bhalf\s+of\b", "1/2*"), (r"\b(?:a|1)\s+third\s+of\b", "1/3*"),
    (r"\b(?:a|1)\s+quarter\s+of\b", "1/4*"), (r"\b(?:twice|double)\b", "2*"),
    (r"\bfactorial\b(?!\s*\()", "!"),
    (r"\s*\bsquared\b", "**2"), (r"\s*\bcubed\b", "**3"),
    (r"\b(?:raised\s+)?to\s+the\s+power(?:\s+of)?\b", "**"),
    (r"\b(?:times|multiplied\s+by)\b", "*"), (r"\b(?:divided\s+by|over)\b", "/"),
    (r"\bplus\b", "+"), (r"\bminus\b|\bless\b", "-"), (r"\bmod(?:ulo)?\b(?!\s*\()", " % "),
    (r"\b(?:is\s+)?equals?(?:\s+to)?\b", "="),
    (r"^solve\s+(?!\()(.+?)\s+for\s+([a-z])$", r"solve(\1, \2)"),
    (r"^solve\s+(?!\()(.+)$", r"solve(\1)"),
    (r"^(?:plot|draw|graph)\s+(?!\()(?:y\s*=\s*)?(.+?)\s+from\s+(\S+)\s+to\s+(\S+)$",
     r"plot(\1, (\2, \3))"),
    (r"^(?:plot|draw|graph)\s+(?!\()(?:y\s*=\s*)?(.+)$", r"plot(\1)"),
)  # fmt: skip
OPENING = re.compile(
    r"^(?:please )?(?:what(?:'s| is| are)(?! what)|how much is|calculate|compute|evaluate|"
    r"work out|find)\b(?=.*[0-9a-z])(?!\()(?: the\b)?",
    re.IGNORECASE,
)
FRACTIONS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100,
}  # fmt: skip
FRACTION = re.compile(rf"\b([0-9]+)[\s-]+({'|'.join(FRACTIONS)})(s?)\b(?! of\b)", re.IGNORECASE)
COMPILED = tuple((re.compile(pattern, re.IGNORECASE), text) for pattern, text in RULES)
SEVERAL = re.compile(rf"\b(average|mean|median)\s+of\s+({LIST})", re.IGNORECASE)
NAMES_OF_SEVERAL = {"average": "mean", "mean": "mean", "median": "median"}


def operators_written(text: str) -> str:
    """Return a text with the words of operators and functions written as signs."""
    if not re.search(r"[A-Za-z]{3}|°", text):
        return text
    text = FRACTION.sub(lambda match: f"({match[1]}/{FRACTIONS[match[2].lower()]})", text)
    text = SEVERAL.sub(_several, text)
    for pattern, replacement in COMPILED:
        text = pattern.sub(replacement, text)
    return text


def numbers_written(text: str) -> str:
    """Return a text on one line, with numbers in digits and without what opens a question."""
    text = GROUPED_NUMBER.sub(_ungrouped, " ".join(text.split()))
    if not re.search(r"[A-Za-z]{3}", text):
        return text
    text = OPENING.sub("", text).rstrip("?. ").lstrip()

    def digits(match: re.Match[str]) -> str:
        return " ".join(map(str, _values(re.split(r"[\s-]+", match[0].lower()))))

    def scaled(match: re.Match[str]) -> str:
        return f"({match[1]}*{SCALES[match[2].lower()]})"

    text = SCALED_NUMBER.sub(scaled, WORDED_DECIMALS.sub(_decimals, text))
    return re.sub(r"(?<=[0-9]) (?=\.[0-9])", "", WORDED_NUMBER.sub(digits, text))


def _ungrouped(match: re.Match[str]) -> str:
    """Return `1,234` as one number, unless it may be two in the brackets of a function."""
    before = match.string[: match.start()]
    is_inside = sum(map(before.count, "([{")) > sum(map(before.count, ")]}"))
    return match[1] if is_inside else match[1].replace(",", "")


def _decimals(match: re.Match[str]) -> str:
    return "." + "".join(str(SMALL[word]) for word in match[1].lower().split())


def _values(words: list[str]) -> Iterator[int]:
    """Yield the numbers that words name: `twenty four` is one, `two three` are two."""
    whole = part = last = 0
    for word in words:
        match word:
            case "and":
                continue
            case "hundred":
                part = max(part, 1) * 100
                last = 100
            case _ if word in SCALES:
                whole += max(part, 1) * SCALES[word]
                part, last = 0, 1000
            case _:
                value = SMALL[word]
                if last and not _can_follow(value, last):
                    yield whole + part
                    whole = part = 0
                part += value
                last = value or 1
    yield whole + part


def _can_follow(value: int, last: int) -> bool:
    """Tell whether a small number continues the number before it, as `four` does `twenty`."""
    return last >= 100 or (last >= 20 and 0 < value < 10)


def _several(match: re.Match[str]) -> str:
    items = re.sub(r",?\s+and\s+", ", ", match[2])
    return f"{NAMES_OF_SEVERAL[match[1].lower()]}({items})"
