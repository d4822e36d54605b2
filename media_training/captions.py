"""The text encoder of draw: a small CLIP that learns to say what a caption says.

Its last tokens, which are padding, become a list of the scene: the background, then each thing with
kind, colour and place. What paints attends to them as to any token. Knows no pictures.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Final

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from media_training.figures import COLOURS, KINDS
from media_training.loop import Stage
from media_training.scenes import BACKGROUNDS, Scene, examples

LENGTH: Final = 40
WIDTH: Final = 128
MOST_THINGS: Final = 5
BATCH: Final = 64
VOCABULARY: Final = 1200
PLACE_WEIGHT: Final = 20.0
# What people also say, to be passed over.
ASIDES: Final = (
    "please draw me show paint sketch make nice pretty lovely cute simple happy old new quick "
    "funny beautiful bright colourful cartoon watercolours pencil style photo for my you can "
    "i want with some kind very of just here it is drawing now child friend day morning "
    "garden sky standing "
).split()


def new_tokenizer() -> CLIPTokenizer:
    """A tokenizer in which each word of the captions is a token, and any text has tokens."""
    texts = [text for _, text in itertools.islice(examples(0), 20000)]
    base = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    base.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, end_of_word_suffix="</w>",
        show_progress=False,
    )  # fmt: skip
    base.train_from_iterator((text.replace(",", " ,") for text in (*texts, *ASIDES)), trainer)
    merges = [tuple(pair) for pair in _merges(base)]
    pieces = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *map("".join, merges)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *dict.fromkeys(pieces)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    return json.loads(tokenizer.to_str())["model"]["merges"]


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder for that tokenizer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def encode(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return token ids (batch, LENGTH), padded as the pipeline pads."""
    encoded = tokenizer(
        list(texts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids


def with_asides(text: str, rng: random.Random) -> str:
    """Put a few words that change nothing into a caption, now and then."""
    if rng.random() > 0.25:
        return text
    words = text.split()
    place = rng.choice((0, len(words)))
    words[place:place] = rng.choices(ASIDES, k=rng.randint(1, 4))
    return " ".join(words)


class Reader(nn.Module):
    """The text encoder, and heads that read the scene off its last tokens while it learns."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.background = nn.Linear(WIDTH, len(BACKGROUNDS))
        self.kind = nn.Linear(WIDTH, len(KINDS) + 1)
        self.colour = nn.Linear(WIDTH, len(COLOURS))
        self.place = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits of background, kinds and colours, and places, of a batch of captions."""
        last = self.encoder(ids).last_hidden_state[:, -1 - MOST_THINGS :]
        things = last[:, 1:]
        return (
            self.background(last[:, 0]),
            self.kind(things),
            self.colour(things),
            self.place(things),
        )


def text_stage(tokenizer: CLIPTokenizer, reader: Reader, steps: int) -> Stage:
    """Teach the reader background, kinds, colours and places of scenes by their captions."""

    def loss(step: int) -> Tensor:
        rng = random.Random(step)
        pairs = list(itertools.islice(examples(step), BATCH))
        ids = encode(tokenizer, [with_asides(text, rng) for _, text in pairs])
        background, kind, colour, place = reader(ids)
        told = [_told(scene) for scene, _ in pairs]
        backgrounds, kinds, colours, places = (
            torch.tensor(part) for part in zip(*told, strict=True)
        )
        is_there = kinds > 0
        return (
            functional.cross_entropy(background, backgrounds)
            + functional.cross_entropy(kind.flatten(0, 1), kinds.flatten())
            + functional.cross_entropy(colour[is_there], colours[is_there])
            + PLACE_WEIGHT * (place - places)[is_there].abs().mean()
        )

    return Stage("text_encoder", reader, loss, steps, 2e-3)


def _told(scene: Scene) -> tuple[int, list[int], list[int], list[tuple[float, float, float]]]:
    """Return the numbers of background, kinds (0: no thing), colours, and the places.

    Things are in the order of kinds: a caption may name the second first ("B right of A"), so that
    an order of the scene's own could not be told from it.
    """
    kinds, colours = list(KINDS), list(COLOURS)
    things = sorted(scene.things, key=lambda thing: (kinds.index(thing.kind), thing.x, thing.y))
    absent = MOST_THINGS - len(things)
    return (
        BACKGROUNDS.index(scene.background),
        [kinds.index(thing.kind) + 1 for thing in things] + [0] * absent,
        [colours.index(thing.colour) for thing in things] + [0] * absent,
        [(thing.x, thing.y, thing.size) for thing in things] + [(0.0, 0.0, 0.0)] * absent,
    )
