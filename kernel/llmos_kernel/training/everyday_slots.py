"""Values for the slots of everyday life: addresses, facts, times, places, pictures, chores.

Everything is put together at random and shown exactly as it must stand in the call, since these
arguments are copied. Knows no tool and no tokenizer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from llmos_kernel.training.slots import Slots, Value, number_in_words, ordinal, same

CITIES = (
    "Paris,London,Berlin,Tokyo,New York,Los Angeles,Sydney,Cairo,Lagos,Nairobi,Mumbai,Delhi,"
    "Karachi,Dhaka,Bangkok,Jakarta,Manila,Seoul,Beijing,Shanghai,Hong Kong,Singapore,Dubai,Riyadh,"
    "Tehran,Istanbul,Athens,Rome,Milan,Madrid,Barcelona,Lisbon,Porto,Dublin,Edinburgh,Oslo,"
    "Stockholm,Copenhagen,Helsinki,Warsaw,Prague,Vienna,Zurich,Geneva,Budapest,Bucharest,Sofia,"
    "Belgrade,Zagreb,Kyiv,Moscow,Tbilisi,Almaty,Tashkent,Kathmandu,Colombo,Perth,Auckland,"
    "Honolulu,Anchorage,Vancouver,Seattle,San Francisco,Denver,Chicago,Houston,Toronto,Montreal,"
    "Boston,Miami,Havana,Mexico City,Bogota,Lima,Quito,Santiago,Buenos Aires,Sao Paulo,"
    "Rio de Janeiro,Montevideo,Caracas,Accra,Dakar,Casablanca,Tunis,Algiers,Addis Ababa,Kampala,"
    "Johannesburg,Cape Town,Harare,Reykjavik,Brussels,Amsterdam,Munich,Hamburg,Cologne,Lyon,"
    "Marseille,Naples,Krakow,Riga,Tallinn,Vilnius,Minsk,Jerusalem,Beirut,Amman,Baghdad,Doha,"
    "Kabul,Hanoi,Kuala Lumpur,Taipei,Osaka,Melbourne,Wellington,Suva"
).split(",")
ZONES = (
    "UTC,GMT,CET,EST,PST,Europe/Berlin,Europe/London,Asia/Tokyo,Asia/Kolkata,America/New_York,"
    "America/Sao_Paulo,Africa/Lagos,Australia/Sydney,Pacific/Auckland,UTC+3,UTC-5"
).split(",")
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
TOP_LEVELS = "com org net io de fr it es nl eu uk co.uk edu dev info gov ch at se pl ca jp".split()
COLOURS = (
    "red blue green yellow orange purple pink brown black white grey gold silver turquoise violet "
    "beige crimson navy teal lilac"
).split()
SHAPES = (
    "circle square triangle star heart cross ring diamond rectangle oval hexagon arrow moon spiral"
).split()
THINGS = (
    "cat dog horse house tree flower boat car train bicycle bridge castle mountain lake river "
    "beach cloud sun rainbow bird fish owl fox rabbit elephant lion dragon robot rocket balloon "
    "kite lamp chair table cup bottle book clock key hat umbrella guitar piano violin apple pear "
    "lemon banana cake pizza mushroom candle lighthouse windmill tractor snowman pumpkin penguin "
    "turtle bee butterfly spider whale island forest desert volcano village street market window "
    "door garden gate sword crown violet rose tulip cactus teapot camera telescope planet comet"
).split()
PLACES = (
    "on a hill, by the sea, in the snow, under a tree, at night, in the rain, at sunset, on the "
    "moon, in a forest, in the desert, above the clouds, in a kitchen, on a table, at the bottom "
    "of the sea, in the fog, next to a river, on a roof, in front of a window, in a meadow"
).split(", ")
STYLES = (
    "as a pencil sketch, in watercolours, in the style of a comic, in black and white, like a "
    "child would, in oil, as pixel art, with thick lines, seen from above, in warm colours"
).split(", ")
BELONGINGS = (
    "birthday, phone number, address, favourite colour, favourite food, shoe size, wifi password, "
    "door code, locker number, bank, dentist, doctor, train, flight, seat, allergy, dog, cat, car, "
    "bike, number plate, parking spot, middle name, nickname, job, boss, school, teacher, "
    "anniversary, wedding day, pin, customer number, order number, membership number, "
    "blood type, ring size, hat size, coffee order, tea, landlord, neighbour, plumber, mechanic, "
    "hairdresser, team, hotel, room number, alarm code, spare key, passport number, tax number, "
    "inside leg, waist, collar size, glove size, glasses, reading glasses, trainers, tablets, "
    "inhaler, eye drops, bus, tram line, platform, gate, terminal, aisle, filter, light bulbs, "
    "printer cartridge, batteries, tyres, tyre pressure, wall paint, vacuum bags, fuse, "
    "meter reading, case worker, vet, gym locker, bike lock, safe, suitcase, garage code, library "
    "card, loyalty card, godmother, in-laws, twins, birth town, star sign, bin day, old address, "
    "new address, guest wifi, streaming login, storage unit, allotment, boat mooring, desk, badge"
).split(", ")
SPOTS = (
    "under the doormat, in the blue tin, behind the boiler, taped under the desk, with the woman "
    "downstairs, in the second drawer, on top of the fridge, in the shed, inside the left boot, "
    "on the hook by the back door, at my parents' place, in the glove box, in the attic, beneath "
    "the third flowerpot, at the reception, next to the fuse box, in my coat, behind the books"
).split(", ")
PLURALS = (
    "spare keys, passports, good knives, tickets, contact lenses, children's shoes, neighbours, "
    "cousins, vaccinations, old photos, winter tyres, skis, tools, insurance papers, medicines"
).split(", ")
ACCENTED = (
    "Zoë, José, Renée, Jürgen, Søren, Łukasz, Siân, Nuño, Chloé, Åsa, İpek, Đorđe, Márton, Noël, "
    "Maïa, Bjørn, Ângela, Žofie, Ömer, Éilís, Seán, Mary-Jane, Jean-Luc, O'Neill, D'Angelo"
).split(", ")
RELATIVES = (
    "mother father sister brother aunt uncle cousin wife husband son daughter boss neighbour "
    "friend colleague grandmother grandfather landlord teacher niece nephew flatmate"
).split()
PREFERENCES = (
    "likes, hates, can't stand, loves, prefers, is allergic to, collects, works with, is afraid "
    "of, never eats, always orders, plays, studies, sells, repairs, is good at"
).split(", ")
CHORES = (
    "call, pay, buy, clean, feed, water, return, collect, send, sign, print, book, cancel, renew, "
    "check, fix, wash, bake, write to, visit, thank, ask, pick up, take out, turn off, look for, "
    "pack, iron, empty, order, charge, test, back up, meet, answer, hand in"
).split(", ")

DAY_PARTS = "morning afternoon evening night".split()
MOMENTS = (
    "tomorrow, tonight, next week, at the weekend, the day after tomorrow, first thing tomorrow, "
    "at lunchtime, at dawn, before bed, after lunch, at sunset, later today, next month, "
    "on New Year's Eve, at Christmas, in a fortnight, a week from today, this time tomorrow, "
    "at midday, early tomorrow, in an hour's time, in the new year"
).split(", ")
RHYTHMS = (
    "every hour, hourly, weekly, once a month, twice a day, every night, every weekday, monthly, "
    "once a week, every fortnight, three times a week, each morning, every quarter, once a year, "
    "on the hour, every half hour, every second day, mornings and evenings, every weekend, "
    "on working days, each and every day, every six months, every evening before bed"
).split(", ")


class EverydaySlots(Slots):
    """`Slots`, and those that only the tools of everyday life need."""

    def __init__(self, rng: random.Random, words: Sequence[str], sentences: Sequence[str]) -> None:
        super().__init__(rng, words, sentences)
        copied = {
            "url": self.url,
            "query": self.query,
            "fact": lambda: self._capital(self.fact()),
            "topic": self.topic,
            "kept": self.belonging,
            "when": self.when,
            "duration": self.duration,
            "city": self.city,
            "scene": lambda: self._capital(self.scene()),
            "image": lambda: self.path(self.rng.choice("png jpg jpeg webp gif bmp".split())),
            "audio": lambda: self.path(self.rng.choice("wav mp3 m4a ogg flac".split())),
            "question": lambda: self._capital(self.question()),
            "say": lambda: self._capital(self.say()),
            "task": self.task,
            "chore": self.chore,
            "old": self.passage,
            "new": self.passage,
        }
        self._makers |= {slot: (lambda make=make: same(make())) for slot, make in copied.items()}
        self._makers["number"] = self.link_number

    def _one(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def _capital(self, text: str) -> str:
        return text[0].upper() + text[1:] if text and self.rng.random() < 0.15 else text

    def plain_word(self) -> str:
        return self.word().replace("'", "").lower()

    def link_number(self) -> Value:
        number = self.rng.randint(1, 60)
        return same(str(number)) if self.rng.random() < 0.85 else self._whole(number)

    # The web ---------------------------------------------------------------

    def url(self) -> str:
        roll = self.rng.random()
        scheme = self._one("", "", "", "https://", "https://", "http://")
        if roll < 0.15:
            return f"{scheme}{self._machine()}{self._url_path()}"
        if roll < 0.35:
            return f"{self._site()}{self._one('', '', '/')}"
        first = self._one("", "", "www.", f"{self.plain_word()}.")
        return f"{scheme}{first}{self._site()}{self._url_path()}"

    def _site(self) -> str:
        name = self._one(
            self.plain_word(),
            f"{self.plain_word()}{self.plain_word()}",
            f"{self.plain_word()}-{self.plain_word()}",
            f"{self.plain_word()}{self.rng.randint(1, 99)}",
        )
        return f"{name}.{self.rng.choice(TOP_LEVELS)}"

    def _machine(self) -> str:
        """A machine's name or number, most with a port, such as `localhost:8080`."""
        port = f":{self._one('80', '3000', '8000', '8080', str(self.rng.randint(1024, 65_535)))}"
        last = f"{self.rng.randint(0, 255)}.{self.rng.randint(1, 254)}"
        return self._one(
            f"localhost{port}",
            f"localhost{port}",
            f"127.0.0.1{port}",
            f"192.168.{last}{self._one('', port)}",
            f"10.{self.rng.randint(0, 255)}.{last}{self._one('', port)}",
            f"{self.plain_word()}.local{self._one('', port)}",
            f"{self._site()}{port}",
        )

    def _url_path(self) -> str:
        if self.rng.random() < 0.5:
            return self._one("", "", "", "/")
        parts = [
            self._one(self.plain_word(), self.plain_word(), str(self.rng.randint(1, 9999)))
            for _ in range(self.rng.choice([1, 1, 2, 3, 5]))
        ]
        end = self._one("", "", "", "/", ".html", f"?id={self.letters(1, 6)}", "#" + parts[0])
        return f"/{'/'.join(parts)}{end}"

    def query(self) -> str:
        thing, word = self.rng.choice(THINGS), self.word()
        roll = self.rng.random()
        if roll < 0.3:
            return self.phrase(2, 6)
        if roll < 0.45:
            return self._short(self.rng.choice(self._sentences)).rstrip("?.!, ").lower()
        return self._one(
            f"{word} {thing}",
            f"weather in {self.city()}",
            f"how to {self.rng.choice(CHORES)} a {thing}",
            f"{self.name()} {word}",
            f"price of {word} {self.rng.choice(THINGS)}s",
            f"best {thing} for {self.plain_word()}",
            f"{self.city()} {thing} opening hours",
            f"{word} {self.rng.randint(1900, 2030)}",
            f"history of the {thing}",
            f"{thing} recipe with {self.rng.choice(THINGS)} and {self.plain_word()}",
            f"trains from {self.city()} to {self.city()}",
            f"{word} vs {self.word()}",
            f"cheap {thing} near {self.city()}",
            f"meaning of {self.phrase(1, 3)}",
            f"{self.name()} {self.random_word().capitalize()} biography",
            f"news about {self.phrase(1, 2)}",
        )

    # Memory ----------------------------------------------------------------

    def topic(self) -> str:
        """What a fact is about, such as `my sister's shoe size`."""
        owner = self._one(
            "my", "my", "the", "our", f"{self.name()}'s", f"my {self.rng.choice(RELATIVES)}'s",
            f"{self.rng.choice(ACCENTED)}'s",
        )  # fmt: skip
        tail = self._one("", "", "", "", "", f" in {self.city()}", f" for the {self.plain_word()}")
        thing = self.belonging()
        place = self._one("garden", "garage", "office", "cellar", "gym", self.plain_word())
        return self._one(
            *[f"{owner} {thing}{tail}"] * 6,
            f"the {thing} of {owner} {place}",
            f"the {self.plain_word()} that {self.name()} {self._one('likes', 'wants', 'lent me')}",
            f"the {place} {self._one('code', 'key', 'password', 'address', 'number', 'hours')}",
            f"{owner} {self.plain_word()}'s {thing}",
        )

    def belonging(self) -> str:
        """A thing that one knows a fact about, without whose it is: `shoe size`."""
        return self.rng.choice(
            [
                *BELONGINGS,
                *(f"{self.plain_word()} {kind}" for kind in ("number", "code", "size", "")),
                f"{self.rng.choice(THINGS)} size",
                f"bus to the {self.plain_word()}",
                f"{self.rng.choice(COLOURS)} {self.rng.choice(THINGS)}",
            ]
        ).strip()

    def fact_about(self, topic: str) -> str:
        return f"{topic} is {self._fact_value()}"

    def fact(self) -> str:
        if self.rng.random() < 0.6:
            return self.fact_about(self.topic())
        who = self._one("I", self.name(), self.name(), f"my {self.rng.choice(RELATIVES)}")
        liked = self._one(self.rng.choice(THINGS) + "s", self.plain_word(), self.phrase(1, 3))
        return self._one(
            f"{who} {self.rng.choice(PREFERENCES)} {liked}",
            f"{who} lives in {self.city()}",
            f"{who} has {number_in_words(self.rng.randint(2, 12))} {self.rng.choice(THINGS)}s",
            f"{self.name()} and {self.name()} met in {self.city()}",
            f"{who} moved to {self.city()} in {self.rng.randint(1960, 2030)}",
            f"the {self.rng.choice(THINGS)} is kept {self._one(*PLACES)}",
            f"{self.phrase(2, 6)}",
            f"I parked on level {self.rng.randint(1, 9)}, row {self.letters(1, 2)}",
            f"the {self.plain_word()} meeting is every {self.rng.choice(WEEKDAYS)}",
            f"{self._one('we', 'I', who)} {self._one('owe', 'lent', 'gave')} {self.name()} "
            f"{self.rng.randint(2, 900)} {self._one('euros', 'dollars', self.plain_word() + 's')}",
            f"the spare {self.rng.choice(THINGS)} is {self._one(*SPOTS)}",
            f"{self._one('my', 'the', 'our')} {self._one(*PLURALS)} are {self._one(*SPOTS)}",
            f"{self._one(*ACCENTED)} takes size {self._size()}",
            f"we parked at {self._bay()}",
            f"I take the {self.rng.randint(1, 300)} from {self.city()} to the {self.plain_word()}",
            f"my {self._one(*RELATIVES)}'s dogs are {self._one(*ACCENTED)} and {self.name()}",
        )

    def _bay(self) -> str:
        number, letter = self.rng.randint(1, 240), self.letters(1, 1).upper()
        return self._one(
            f"level {letter} bay {number}",
            f"row {number}, {self._one(*COLOURS)} zone",
            f"{letter}-{number}/{self.rng.randint(1, 9)}",
            f"gate {letter}{number}",
            f"unit {number}{letter.lower()}, floor {number_in_words(self.rng.randint(2, 12))}",
        )

    def _size(self) -> str:
        size = self.rng.randint(2, 60)
        return self._one(
            f"{size}",
            f"{size} and a half",
            f"{size}.5",
            f"{size} wide",
            f"{size} by {size + 4} cm",
            f"W{size} L{size + 2}",
            f"EU {size}",
            self._one("XS", "S", "M", "L", "XL", "XXL"),
        )

    def _fact_value(self) -> str:
        return self._one(
            self.day(),
            self.letters(3, 9),
            str(self.rng.randint(0, 99_999)),
            self.name(),
            f"{self.name()} {self.random_word().capitalize()}",
            self.rng.choice(COLOURS),
            self.city(),
            self.phrase(1, 4),
            self.clock(),
            f"{self.rng.randint(1, 200)} {self.random_word().capitalize()} Street",
            f"0{self.rng.randint(10, 999)} {self.rng.randint(10_000, 9_999_999)}",
            self._bay(),
            self._size(),
            self._one(*SPOTS),
            f"{self._one(*ACCENTED)} {self.random_word().capitalize()}",
            f"{self.rng.randint(1, 99)}{self._one('', 'a', ' bis')} rue {self.random_word()}, "
            f"{self.rng.randint(10_000, 99_999)} {self.city()}",
            f"flat {self.rng.randint(1, 60)}, {self.phrase(1, 2)} house, {self.city()}",
            f"{self.letters(2, 3).upper()}-{self.rng.randint(10, 9999)}-{self.letters(1, 3)}",
        )

    # Time ------------------------------------------------------------------

    def clock(self) -> str:
        hour, minute = self.rng.randint(0, 23), self.rng.randint(0, 59)
        return self._one(
            f"{hour}:{minute:02}",
            f"{hour:02}:{minute:02}",
            f"{hour % 12 or 12}{self._one('am', 'pm', ' am', ' pm')}",
            f"{hour % 12 or 12}:{minute:02} {self._one('am', 'pm')}",
            f"{hour % 12 or 12} o'clock",
            f"half past {number_in_words(hour % 12 or 12)}",
            f"quarter to {number_in_words(hour % 12 or 12)}",
            self._one("noon", "midnight", number_in_words(hour % 12 or 12)),
        )

    def day(self) -> str:
        day, month = self.rng.randint(1, 28), self.rng.choice(MONTHS)
        return self._one(
            f"{day} {month}",
            f"{month} {day}",
            f"{day} {month} {self.rng.randint(1930, 2032)}",
            f"{self.rng.randint(2024, 2032)}-{self.rng.randint(1, 12):02}-{day:02}",
            f"the {ordinal(day)} of {month}",
            f"{day} {month[:3]}",
            f"{day}.{self.rng.randint(1, 12)}.",
        )

    def when(self) -> str:
        roll = self.rng.random()
        if roll < 0.4:
            return self._once()
        if roll < 0.8:
            return self._recurrence(self._weekday())
        return self._combined()

    def _weekday(self) -> str:
        return self._cased(self.rng.choice(WEEKDAYS))

    def _ordinal(self, latest: int = 28) -> str:
        return ordinal(self.rng.randint(1, latest), in_words=self.rng.random() < 0.3)

    def spelt_day(self) -> str:
        """A date in the spellings that `day` lacks, such as `the 3rd of May`."""
        place, month = self._ordinal(), self._cased(self.rng.choice(MONTHS))
        day, number = self.rng.randint(1, 28), self.rng.randint(1, 12)
        return self._one(
            f"the {place} of {month}",
            f"{month} {place}",
            f"{month} the {place}",
            f"{place} {month}",
            f"the {self._ordinal(31)}",
            f"{self._weekday()} the {place}",
            f"{self._weekday()}, {month} {day}",
            f"{day}/{number}",
            f"{number:02}/{day:02}/{self.rng.randint(2024, 2032)}",
            f"{day:02}.{number:02}.{self.rng.randint(2024, 2032)}",
            f"{month[:3]} {day}",
            self.day(),
        )

    def _once(self) -> str:
        weekday = self._weekday()
        return self._one(
            f"at {self.clock()}",
            f"tomorrow at {self.clock()}",
            f"on {weekday} at {self.clock()}",
            f"{self._one('next', 'this', 'on', 'this coming', 'a week on')} {weekday}",
            f"{weekday} {self._one(*DAY_PARTS)}",
            f"on {self.spelt_day()}",
            f"on {self.spelt_day()} at {self.clock()}",
            f"in {self.duration()}",
            f"{self.duration()} from now",
            f"tonight at {self.clock()}",
            f"{self._one('tomorrow', 'this')} {self._one(*DAY_PARTS)}",
            f"{weekday} at {self.clock()}",
            f"today at {self.clock()}",
            f"in {number_in_words(self.rng.randint(2, 12))} {self._one('days', 'weeks', 'months')}",
            f"{self._one('before', 'after', 'around', 'by')} {self.clock()}",
            f"at the {self._one('end', 'start')} of {self._one('the month', 'next week', 'May')}",
            f"the {self._one('day', 'week')} after {self.spelt_day()}",
            self._one(*MOMENTS),
        )

    def _combined(self) -> str:
        """Several parts of a time in one, such as `on Friday, 3 May, just before noon`."""
        day = self._one(
            "tomorrow", "today", f"next {self._weekday()}", f"on {self.spelt_day()}",
            f"on {self._weekday()}", "the day after tomorrow", f"this {self._weekday()}",
        )  # fmt: skip
        hour = number_in_words(self.rng.randint(1, 12))
        return self._one(
            f"{day}, at {self.clock()}",
            f"at {self.clock()} {day}",
            f"{day} at {self.clock()} sharp",
            f"{day} {self._one('just before', 'shortly after', 'around', 'by')} {self.clock()}",
            f"{day} in the {self._one(*DAY_PARTS)}",
            f"{day} at {hour} in the {self._one(*DAY_PARTS[:3])}",
            f"{day} between {self.clock()} and {self.clock()}",
            f"{self._recurrence(self._weekday())} until {self.spelt_day()}",
            f"{self._recurrence(self._weekday())} starting {self._one('tomorrow', 'next week')}",
            f"{self._recurrence(self._weekday())} from {self.spelt_day()} on",
        )

    def _recurrence(self, weekday: str) -> str:
        count = self.rng.randint(2, 50)
        place = self._one("first", "second", "third", "last")
        month = self._one("every month", "each month", "the month")
        return self._one(
            f"every {weekday} at {self.clock()}",
            f"every {weekday}",
            f"each {weekday} {self._one(*DAY_PARTS)}",
            f"every day at {self.clock()}",
            f"{self._one('daily', 'weekly', 'nightly')} at {self.clock()}",
            f"every {count} {self._one('minutes', 'hours', 'days', 'weeks')}",
            f"{self._one('on weekdays', 'every weekday', 'each workday')} at {self.clock()}",
            f"every {self._one(*DAY_PARTS)} at {self.clock()}",
            f"every other {weekday}",
            f"on the {self._ordinal(31)} of {month}",
            f"{self._one('', 'on the ')}{place} of every month",
            f"{self._one('on the', 'every')} {place} {weekday} of {month}",
            f"at {self.clock()} every {weekday}",
            f"at {self.clock()} {self._one('on weekdays', 'each day', 'every day')}",
            f"every {weekday} and {self._weekday()}",
            f"on {weekday}s{self._one('', f' at {self.clock()}')}",
            f"every {number_in_words(self.rng.randint(2, 12))} {self._one('days', 'hours')}",
            f"every year on {self.spelt_day()}",
            f"from {weekday} to {self._weekday()} at {self.clock()}",
            self._one(*RHYTHMS),
        )

    def _cased(self, word: str) -> str:
        return word.lower() if self.rng.random() < 0.4 else word

    def duration(self) -> str:
        count = self.rng.randint(2, 90)
        unit = self._one("minutes", "minutes", "seconds", "hours")
        return self._one(
            f"{count} {unit}",
            f"{count} {unit}",
            f"{number_in_words(count)} {unit}",
            f"{count}{self._one('m', 's', 'h', 'min', ' min', ' sec')}",
            f"{self.rng.randint(1, 9)}h{self.rng.randint(1, 59)}m",
            f"an hour and {number_in_words(count)} minutes",
            f"{self.rng.randint(2, 9)} and a half {self._one('minutes', 'hours')}",
            self._one("half an hour", "an hour", "a minute", "a quarter of an hour", "one hour"),
            f"{self.rng.randint(2, 12)} minutes {self.rng.randint(1, 59)} seconds",
        )

    def city(self) -> str:
        roll = self.rng.random()
        if roll < 0.65:
            return self._cased(self.rng.choice(CITIES))
        if roll < 0.75:
            return self.rng.choice(ZONES)
        return self.random_word().capitalize()

    # Pictures and speech ---------------------------------------------------

    def figure(self) -> str:
        """A thing in a picture, such as `three small red circles`."""
        noun = self._one(self.rng.choice(SHAPES), self.rng.choice(THINGS), self.plain_word())
        size = self._one("", "", "", "big ", "small ", "tiny ", "huge ", "round ", "old ")
        colour = self._one("", f"{self.rng.choice(COLOURS)} ", f"{self.rng.choice(COLOURS)} ")
        if self.rng.random() < 0.6:
            start = size or colour or noun
            return f"{'an' if start[0] in 'aeiou' else 'a'} {size}{colour}{noun}"
        count = self.rng.randint(2, 9)
        return f"{self._one(str(count), number_in_words(count))} {size}{colour}{noun}s"

    def scene(self) -> str:
        one, two = self.figure(), self.figure()
        ground = f"{self.rng.choice(COLOURS)} background"
        relation = self._one(
            "above", "below", "left of", "to the right of", "next to", "behind", "inside",
            "on top of", "under", "between two trees and", "in front of",
        )  # fmt: skip
        return self._one(
            one,
            f"{one} on a {ground}",
            f"{one} and {two}",
            f"{one} {relation} {two}",
            f"{one} {relation} {two} on a {ground}",
            f"{one} {self._one(*PLACES)}",
            f"{one} {self._one(*PLACES)}, {self._one(*STYLES)}",
            f"{one} {self._one(*STYLES)}",
            f"{one}, {two} and {self.figure()}",
            f"{self.name()} with {one} {self._one(*PLACES)}",
            f"the {self.plain_word()} of {self.phrase(1, 3)}",
            f"{self.phrase(2, 5)}",
            f"{one} {self._one('eating', 'chasing', 'carrying', 'watching')} {two}",
        )

    def question(self) -> str:
        thing = self._one(self.rng.choice(THINGS), self.rng.choice(SHAPES), self.plain_word())
        colour = self.rng.choice(COLOURS)
        return self._one(
            f"what colour is the {thing}",
            f"how many {thing}s are there",
            f"is there a {thing}",
            f"what is left of the {thing}",
            f"what is the {colour} thing",
            f"does the {thing} look {self.plain_word()}",
            f"where is the {thing}",
            f"which is bigger, the {thing} or the {self.rng.choice(THINGS)}",
            f"what is written on the {thing}",
            f"who is holding the {thing}",
            f"is the {thing} {colour} or {self.rng.choice(COLOURS)}",
            f"what is behind the {thing}",
            f"can you see {self.figure()}",
            f"how big is the {thing}",
            "what colour is the background",
            "what shape is it",
        )

    def say(self) -> str:
        return self._one(
            self.sentence().rstrip("."),
            self.phrase(1, 6),
            f"good {self._one('morning', 'evening', 'night')}, {self.name()}",
            f"{self.name()}, {self._one('dinner is ready', 'the taxi is here', 'come down')}",
            f"{self._one('hello', 'hi', 'goodbye', 'welcome', 'thank you')} {self.word()}",
            self._one("hello", "welcome", "happy birthday"),
            f"the {self.plain_word()} is {self.plain_word()}",
            f"it is {self.clock()} in {self.city()}",
            self.fact(),
        )

    # Work ------------------------------------------------------------------

    def chore(self) -> str:
        """What a person has to do, such as `water the tulips`."""
        thing = self._one(self.rng.choice(THINGS), self.plain_word())
        return self._one(
            f"{self.rng.choice(CHORES)} the {thing}",
            f"{self.rng.choice(CHORES)} {self.name()}",
            f"{self.rng.choice(CHORES)} {self.phrase(1, 3)}",
            f"{self.rng.choice(CHORES)} my {self.rng.choice(RELATIVES)}",
            f"{self._one('take', 'bring', 'give')} {self.name()} the {self.rng.choice(THINGS)}",
        )

    def task(self) -> str:
        """What llmos is to do, such as `read notes.txt aloud`."""
        return self._one(
            f"read {self.path()}",
            f"check {self.url()}",
            f"open {self.url()}",
            f"list the files in {self.folder()}",
            f"search the web for {self.query()}",
            f"write {self.phrase(1, 4)} to {self.path()}",
            f"run {self.path('py')}",
            f"tell me the weather in {self.city()}",
            f"draw {self.figure()}",
            f"say {self.phrase(1, 4)}",
            f"copy {self.path()} to {self.path()}",
            f"look for {self.phrase(1, 2)} in {self.path()}",
            f"summarise {self.path()}",
            f"make a list of {self.phrase(1, 3)}",
            f"send me the news about {self.phrase(1, 2)}",
            f"work out {self.expression().shown}",
            f"tell me what time it is in {self.city()}",
            f"transcribe {self.path('mp3')}",
            f"describe {self.path('png')}",
            f"{self.chore()}",
            f"save {self.url()} as {self.path('txt')}",
            f"{self.plain_word()} the {self.plain_word()} {self.plain_word()}",
        )

    def passage(self) -> str:
        """A short piece of a file's text."""
        return self._one(
            self.word(),
            self.word(),
            self.phrase(2, 4),
            str(self.rng.randint(0, 9999)),
            self.name(),
            f"{self._identifier()} = {self.rng.randint(0, 999)}",
            self.day(),
            f"{self._identifier()}()",
        )
