"""How people ask about a picture: wordings to train with, and others kept for evaluation.

Knows no picture: `{...}` are filled in by `questions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Wordings:
    """The wordings of one kind of question."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, *, held_out: bool) -> tuple[str, ...]:
        return self.held_out if held_out else self.trained


def _wordings(trained: str, held_out: str) -> Wordings:
    return Wordings(
        *(tuple(line.strip() for line in text.split(";")) for text in (trained, held_out))
    )


CAPTION: Final = _wordings(
    """describe the picture; describe this image; describe this; what is in the picture;
    what is in this picture; what is in this image; what does the picture show;
    what does this show; what do you see; what can you see here; what can be seen; what is this;
    what is shown here; what is it; tell me what is in the image; caption this picture;
    give a short description; what is this a picture of; what is the picture of; say what you see;
    look at the picture and describe it; what is in {file}.png; what does {file}.jpg show;
    describe {file}.png; what is on the picture; what is drawn here; what has been drawn;
    what is visible; tell me about the picture; give a caption; what is depicted""",
    """please describe what is visible here; can you tell me what the image shows;
    what have we got in this picture; summarize the image; what do you see in {file}.png""",
)
COUNT: Final = _wordings(
    """how many {kinds} are there; how many {kinds} do you see; count the {kinds};
    what is the number of {kinds}; how many {kinds} are in the picture; number of {kinds};
    tell me how many {kinds} there are; how many {kinds} does it show; how many {kinds};
    how many {kinds} are shown here; how many {kinds} can be seen;
    count how many {kinds} there are""",
    """how many {kinds} can you find; what number of {kinds} is shown;
    how many {kinds} does the image contain; please count the {kinds} in this picture""",
)
COUNT_ALL: Final = _wordings(
    """how many things are there; how many objects are in the picture; count the things;
    how many things do you see; how many shapes are there; what is the number of objects""",
    "how many objects can you find; please count the objects in this image",
)
COLOUR: Final = _wordings(
    """what colour is the {kind}; what color is the {kind}; which colour does the {kind} have;
    the colour of the {kind}; what is the colour of the {kind}; what is the color of the {kind};
    tell me the color of the {kind}; in what colour is the {kind} drawn; which color is the {kind};
    what colour does the {kind} have; {kind} colour""",
    """which color has the {kind}; say which colour the {kind} is; of what colour is the {kind};
    please name the color of the {kind}""",
)
COLOURS: Final = _wordings(
    """what colour are the {kinds}; what color are the {kinds}; which colour do the {kinds} have;
    what is the colour of the {kinds}; tell me the color of the {kinds}""",
    "which color have the {kinds}; say which colour the {kinds} are",
)
BACKGROUND: Final = _wordings(
    """what is the background; what colour is the background; what color is the background;
    what is behind the {kind}; which background does the picture have; what is in the background;
    which colour does the background have; what is the colour of the background;
    what background is it; the background""",
    """what does the background look like; describe the background;
    which color has the background; what kind of background is there""",
)
KIND: Final = _wordings(
    """what is the {colour} thing; which thing is {colour}; what is {colour};
    what {colour} object is there; what is the {colour} object; which object is {colour};
    what {colour} thing do you see; name the {colour} thing""",
    "what {colour} thing is shown; which of the things is {colour}; say what the {colour} thing is",
)
AT_PLACE: Final = _wordings(
    """what is {place}; what is there {place}; which thing is {place}; what do you see {place};
    what object is {place}; which object is {place}; what is shown {place};
    name the thing {place}""",
    "what can you find {place}; which thing can be seen {place}; tell me what is {place}",
)
POSITION: Final = _wordings(
    """where is the {kind}; in which part of the picture is the {kind};
    where in the picture is the {kind}; what is the position of the {kind};
    where is the {kind} drawn;
    at which place is the {kind}; tell me where the {kind} is; in what part is the {kind}""",
    "where can i find the {kind}; where do you see the {kind}; in which place is the {kind} shown",
)
SIZE: Final = _wordings(
    """how big is the {kind}; what size is the {kind}; is the {kind} big or small;
    what is the size of the {kind}; which size does the {kind} have; is the {kind} small or big""",
    "how large is the {kind}; tell me the size of the {kind}; how small is the {kind}",
)
EXISTS: Final = _wordings(
    """is there {a_thing}; do you see {a_thing}; is {a_thing} in the picture; can you see {a_thing};
    is there {a_thing} in the picture; does the picture show {a_thing}; is this {a_thing};
    do you see {a_thing} here; is there {a_thing} here; is {a_thing} shown; is it {a_thing};
    does it show {a_thing}; has it {a_thing}""",
    """does this contain {a_thing}; is {a_thing} visible; can {a_thing} be seen here;
    do we have {a_thing} in this image""",
)
HAS_COLOUR: Final = _wordings(
    """is the {kind} {colour}; is the colour of the {kind} {colour}; does the {kind} have the colour
    {colour}; is the color of the {kind} {colour}; is the {kind} drawn in {colour}""",
    "would you say the {kind} is {colour}; is it true that the {kind} is {colour}",
)
HAS_BACKGROUND: Final = _wordings(
    """is the background {ground}; is it {ground} in the background; is there {ground} in the
    background; is {ground} behind the {kind}""",
    "would you say the background is {ground}; does the background show {ground}",
)
RELATION: Final = _wordings(
    """is the {kind} {relation} the {other}; can you see the {kind} {relation} the {other};
    do you see the {kind} {relation} the {other}; is there a {kind} {relation} the {other}""",
    """does the {kind} stand {relation} the {other};
    is it true that the {kind} is {relation} the {other}""",
)
WHICH_HIGHER: Final = _wordings(
    "which is higher; which thing is higher; which one is higher; what is higher; which is on top",
    "which of the two is higher; which object is higher up",
)
WHICH_LOWER: Final = _wordings(
    "which is lower; which thing is lower; which one is lower; what is lower",
    "which of the two is lower; which object is lower down",
)
SAME_COLOUR: Final = _wordings(
    """do they have the same colour; are both things the same colour; are they the same color;
    do both things have the same color; is the colour of both things the same""",
    "are the two things of the same colour; do the two objects have the same colour",
)
MORE_THAN: Final = _wordings(
    """are there more than {number} {kinds}; do you see more than {number} {kinds};
    is the number of {kinds} above {number}; does it show more than {number} {kinds}""",
    "can you see more than {number} {kinds}; are more than {number} {kinds} visible",
)
FEWER_THAN: Final = _wordings(
    """are there fewer than {number} {kinds}; are there less than {number} {kinds};
    do you see fewer than {number} {kinds}; is the number of {kinds} below {number}""",
    "can you see fewer than {number} {kinds}; are fewer than {number} {kinds} visible",
)
HAS_WRITING: Final = _wordings(
    """is there any text; is there text in the picture; are there words; do you see words;
    is there writing in the picture; does it show text; can you see any words""",
    "does this contain text; is any text visible; are words shown here",
)
# Nothing in a drawn scene answers these; the words that no other question uses are not known.
BEYOND: Final = _wordings(
    """who is this; who made this; who painted this; who is in the picture; when was this made;
    why is the {kind} {colour}; what is the name of the {kind}; how much does it cost;
    what is the weather like; what time is it; is the {kind} happy; how old is the {kind};
    where was this taken; what will happen next; how many people are there; what is his name;
    what is she wearing; what is the man doing; is she smiling; what brand is the {kind};
    what is inside the {kind}; how fast is the {kind}; what does the {kind} think;
    in which year was this made; what is the {kind} made of; who lives in the {kind};
    what city is this; which country is it; what is the price of the {kind}; is he angry;
    what language is this; how heavy is the {kind}; what is the temperature""",
    """who drew the {kind}; how expensive is the {kind}; what is the {kind} called;
    when did this happen; what is the woman holding; which season of which year is it;
    does the {kind} belong to anyone; what does the {kind} smell like; why is this so""",
)
UNKNOWN_THINGS: Final = Wordings(
    tuple(
        """dog horse bird table chair man woman child person phone computer guitar pizza apple
        bicycle train bus elephant lion bottle lamp window door bridge mountain river road shoe
        hat sofa bed clock book cup spoon knife fork ship-wheel robot truck plane rocket
        dragon""".split()
    ),
    tuple("zebra violin sandwich helicopter giraffe umbrella castle keyboard turtle pear".split()),
)
