"""Questions in words, percentages, units and plots, driven through the worker's own boundary."""

from __future__ import annotations

import base64
import struct

import pytest

from llmos_tools.calculate.worker import reply_to


def answer(expression: str) -> str:
    reply = reply_to(expression)
    assert "answer" in reply, reply
    return reply["answer"]


def table(text: str) -> list[tuple[str, str]]:
    """Return the rows of `question -> answer`, one a line."""
    rows = [line.split(" -> ") for line in text.strip().splitlines()]
    return [(question.strip(), expected.strip()) for question, expected in rows]


WORDS = """
    seventeen times twenty four -> 408
    Seventeen Times Twenty-Four -> 408
    12 plus 5 -> 17
    12 plus five -> 17
    what is 12 minus 20? -> -8
    What's 6 times 7? -> 42
    how much is 84 divided by 2 -> 42
    calculate 2 + 2 -> 4
    square root of 2 -> sqrt(2) ≈ 1.41421
    the square root of 144 -> 12
    what is the square root of (9 + 16) -> 5
    cube root of 27 -> 3
    five plus two -> 7
    one hundred and twenty three times two -> 246
    nineteen hundred plus one -> 1901
    two thousand three hundred and five -> 2305
    two million divided by four -> 500000
    2.5 million / 2 -> 1250000
    three point one four times 2 -> 6.28
    one half -> 0.5
    half of 50 -> 25
    a third of 9 -> 3
    a quarter of 10 -> 2.5
    twice 21 -> 42
    5 squared -> 25
    five cubed -> 125
    two to the power of ten -> 1024
    2 raised to the power of 8 -> 256
    10 factorial -> 3628800
    factorial of 5 -> 120
    sum of 3 and 4 -> 7
    the product of 6 and 7 -> 42
    difference between 10 and 4 -> 6
    quotient of 10 and 4 -> 2.5
    average of 3, 4 and 8 -> 5
    the mean of 1 and 2 -> 1.5
    median of 5, 3, and 9 -> 5
    log base 2 of 8 -> 3
    log of 1000 base 10 -> 3
    natural log of 10 -> log(10) ≈ 2.30259
    sine of 30 degrees -> 0.5
    sin(30°) -> 0.5
    cos 60 degrees -> 0.5
    17 mod 5 -> 2
    17 modulo 5 -> 2
    1,234 * 2 -> 2468
    1,234,567 + 1 -> 1234568
    max(1,234) -> 234
    max(5, 100,200) -> 200
    (3 + 4) * 1,000 -> 7000
    solve x^2 = 4 for x -> [-2, 2]
    solve 2x + 3 = 7 -> [2]
    three fifths -> 0.6
    two thirds plus one third -> 1
    one and a half times 4 -> 6
    two to the 10th power -> 1024
    3 dozen -> 36
    30% off 80 -> 56
    gcd of 12 and 18 -> 6
    the least common multiple of 4 and 6 -> 12
    is 97 prime? -> True
    prime factors of 360 -> {2: 3, 3: 2, 5: 1}
    7 choose 3 -> 35
    what is the derivative of x^2 -> 2*x
    derivative of x*y with respect to y -> x
    integrate x^2 from 0 to 1 -> 1/3 ≈ 0.333333
    integral of 2x -> x**2
"""

DIGITS = """
    N(pi, 50) -> 3.1415926535897932384626433832795028841971693993751
    50 digits of pi -> 3.1415926535897932384626433832795028841971693993751
    pi to 20 digits -> 3.1415926535897932385
    first 10 digits of e -> 2.718281828
    30 digits of sqrt(2) -> 1.41421356237309504880168872421
    pi to 3 decimal places -> 3.142
    2/3 rounded to 2 decimal places -> 0.67
    2.5 rounded -> 3
    2/3 to 4 decimals -> 0.6667
"""

PERCENTAGES = """
    what is 15% of 80? -> 12
    15 percent of 80 -> 12
    15 per cent of eighty -> 12
    80 + 15% -> 92
    80 plus 15 percent -> 92
    80 - 15% -> 68
    100 - 10% - 5% -> 85.5
    (40 + 40) + 15% -> 92
    50% + 20% -> 0.7
    80 * (1 + 15%) -> 92
    80 + 15% * 100 -> 95
    80 + 15% of 100 -> 95
    20 is what percent of 80 -> 25
    what percent of 80 is 20 -> 25
    solve(x + 20% = 60, x) -> [50]
    19.99 + 20% -> 23.988
"""

UNITS = """
    5 km in miles -> ≈ 3.10686 miles
    5 km to mi -> ≈ 3.10686 mi
    five km in miles -> ≈ 3.10686 miles
    what is 5 km in miles? -> ≈ 3.10686 miles
    convert 5 km to miles -> ≈ 3.10686 miles
    convert(5, km, m) -> 5000 m
    convert(5 km, m) -> 5000 m
    convert_to(60*mile/hour, kilometer/hour) -> 96.56064 kilometer/hour
    3 ft + 2 in in cm -> 96.52 cm
    5 ft 11 in in cm -> 180.34 cm
    3 ft + 6 in -> 3.5 ft
    6 in + 3 ft -> 42 in
    5 km + 300 m -> 5.3 km
    100 f to c -> ≈ 37.7778 c
    212 F in C -> 100 C
    72.5 °F in °C -> 22.5 °C
    -40 C to F -> -40 F
    37 degrees celsius in fahrenheit -> 98.6 fahrenheit
    300 K in C -> 26.85 C
    0 celsius in kelvin -> 273.15 kelvin
    0 C in F -> 32 F
    1/2 cup in ml -> 118.29411825 ml
    0 km in miles -> 0 miles
    5 km - 5 km in miles -> 0 miles
    20 celsius + 5 celsius in fahrenheit -> 77 fahrenheit
    60 mph in km/h -> 96.56064 km/h
    100 miles per hour in meters per second -> 44.704 meters per second
    100 km / 2 h in mph -> ≈ 31.0686 mph
    5 kg in lb -> ≈ 11.0231 lb
    150 lbs in kg -> 68.0388555 kg
    2 * 3 kg in g -> 6000 g
    1 stone in pounds -> 14 pounds
    how many feet in 2 miles -> 10560 feet
    how many inches are in a foot -> 12 inches
    5 m^2 in ft^2 -> ≈ 53.8195 ft^2
    10 square meters in cm² -> 100000 cm²
    1 acre in square meters -> ≈ 4046.87 square meters
    2 cups in ml -> 473.176473 ml
    8 fl oz in ml -> 236.5882365 ml
    3 liters in gallons -> ≈ 0.792516 gallons
    1 cubic meter in liters -> 1000 liters
    90 minutes in hours -> 1.5 hours
    5 min in s -> 300 s
    1 year in days -> 365.25 days
    1 GB in MB -> 1000 MB
    1 kWh in J -> 3600000 J
    1 light year in km -> 9460730472580.8 km
    2 nautical miles in km -> 3.704 km
    sqrt(2) m in cm -> ≈ 141.421 cm
"""

ALGEBRA = """
    solve([x + y = 3, x - y = 1], [x, y]) -> {x: 2, y: 1}
    linsolve([x + y - 3, x - y - 1], [x, y]) -> {x: 2, y: 1}
    roots(x**2 - 4) -> {-2: 1, 2: 1}
    quo(x**2 - 1, x - 1) -> x + 1
    rem(x**2, x - 1) -> 1
    Matrix([[1, 2], [3, 4]]) * Matrix([[1], [1]]) -> Matrix([[3], [7]])
    Matrix([[1, 2], [3, 4]])**2 -> Matrix([[7, 10], [15, 22]])
    Matrix([[1, 2], [2, 4]]).rank() -> 1
    transpose(Matrix([[1, 2], [3, 4]])) -> Matrix([[1, 3], [2, 4]])
    trace(Matrix([[1, 2], [3, 4]])) -> 5
    eigenvals(Matrix([[2, 0], [0, 3]])) -> {2: 1, 3: 1}
    dot(Matrix([1, 2]), Matrix([3, 4])) -> 11
    primerange(10, 30) -> [11, 13, 17, 19, 23, 29]
    mod_inverse(3, 11) -> 4
    isqrt(17) -> 4
    comb(5, 2) -> 10
    perm(5, 2) -> 20
    hypot(3, 4) -> 5
    stdev(1, 2, 3, 4) -> sqrt(15)/3 ≈ 1.29099
    variance([1, 2, 3, 4]) -> 5/3 ≈ 1.66667
    degrees(pi) -> 180
    radians(180) -> pi ≈ 3.14159
    integrate(sin(x)*exp(x), x) -> exp(x)*sin(x)/2 - exp(x)*cos(x)/2
    integrate(exp(-x**2), (x, -oo, oo)) -> sqrt(pi) ≈ 1.77245
    diff(x**x, x) -> x**x*(log(x) + 1)
    limit((1 + 1/n)**n, n, oo) -> E ≈ 2.71828
    summation(1/k**2, (k, 1, oo)) -> pi**2/6 ≈ 1.64493
"""


@pytest.mark.parametrize(("question", "expected"), table(WORDS))
def test_words_stand_for_numbers_and_operators(question: str, expected: str) -> None:
    assert answer(question) == expected


@pytest.mark.parametrize(("question", "expected"), table(DIGITS))
def test_as_many_digits_are_given_as_are_asked_for(question: str, expected: str) -> None:
    assert answer(question) == expected


def test_a_thousand_digits_are_right_to_the_last() -> None:
    text = answer("1000 digits of pi")
    assert len(text) == 1001
    assert text.endswith("216420199")


@pytest.mark.parametrize(("question", "expected"), table(PERCENTAGES))
def test_percentages_are_read_as_people_say_them(question: str, expected: str) -> None:
    assert answer(question) == expected


@pytest.mark.parametrize(("question", "expected"), table(UNITS))
def test_units_are_converted_exactly(question: str, expected: str) -> None:
    assert answer(question) == expected


@pytest.mark.parametrize(("question", "expected"), table(ALGEBRA))
def test_equations_matrices_and_number_theory_work(question: str, expected: str) -> None:
    assert answer(question) == expected


@pytest.mark.parametrize(
    ("question", "kind", "named"),
    [
        ("5 kg in miles", "failed", "kilogram cannot be converted to miles"),
        ("5 in miles", "failed", "a plain number cannot be converted"),
        ("5 bananas in km", "retry", "unknown unit 'bananas'"),
        ("20 celsius + 5 F in F", "failed", "convert one at a time"),
        ("20 celsius * 5 celsius in F", "failed", "cannot be multiplied"),
        ("x km in m", "retry", "unknown unit 'x'"),
        ("km.__class__ in m", "retry", "__class__"),
        ("5 km in " + "m" * 5000, "retry", "not understood"),
        ("mean of nothing", "retry", ""),
        ("inv(Matrix([[1, 2], [2, 4]]))", "failed", "no inverse"),
        ("Matrix([[1, 2]]) + 1", "retry", "arguments"),
        ("rank(3)", "failed", "needs a matrix"),
        ("primerange(1, 10**12)", "failed", "too large"),
        ("perm(10**9, 10**8)", "failed", "too large"),
        ("mod_inverse(2, 4)", "failed", "not invertible"),
        ("variance(1)", "failed", "not defined"),
        ("isqrt(-1)", "failed", "nonnegative"),
        ("plot()", "retry", "plot(function"),
        ("plot(x*y)", "retry", "variable, x: give numbers for y"),
        ("plot(x, (x, 0, oo))", "retry", "two numbers"),
        ("plot(x, (x, 1, 1))", "retry", "two different numbers"),
        ("plot(x, (x, 0, y))", "retry", "two numbers"),
        ("plot(x, (x, 0, 1), (y, 0, 1))", "retry", "plot(function"),
        ("plot(x = 2)", "retry", "Eq(x"),
        ("plot(sqrt(-1 - x**2))", "failed", "no real values"),
        ("plot(x) + 1", "retry", "not a number"),
        ("one " * 3000, "failed", "too large"),
        ("in " * 3000, "retry", ""),
        (" " * 9000 + "to", "retry", "to"),
    ],
)
def test_what_cannot_be_worked_out_says_why_in_a_line(question: str, kind: str, named: str) -> None:
    reply = reply_to(question)
    assert list(reply) == [kind], reply
    assert named in reply[kind]
    assert "\n" not in reply[kind]
    assert len(reply[kind]) < 400


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("plot(sin(x), (x, 0, 10))", "plot of sin(x) for x from 0 to 10"),
        ("plot sin(x) from 0 to 2pi", "plot of sin(x) for x from 0 to 6.28319"),
        ("plot(t**2, cos(t), (t, -1, 1))", "plot of t**2, cos(t) for t from -1 to 1"),
        ("plot(tan(x))", "plot of tan(x) for x from -10 to 10"),
        ("plot(gamma(x), (x, -3, 3))", "plot of gamma(x) for x from -3 to 3"),
        ("graph y = 1/x", "plot of 1/x for x from -10 to 10"),
        ("plot(3)", "plot of 3 for x from -10 to 10"),
    ],
)
def test_a_function_is_plotted_as_a_picture(question: str, text: str) -> None:
    reply = reply_to(question)
    assert reply["answer"] == text
    data = base64.b64decode(reply["picture"])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (640, 420)
