"""How look is trained: what the model is shown, and that packed questions are as if asked alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from media_training.figures import KINDS
from media_training.look import PATCH_COLOURS, PATCH_KINDS, Packed, pack, patches_of, pixels_of
from media_training.look_model import (
    NUM_PATCHES,
    WIDTH,
    new_model,
    new_processor,
    new_tokenizer,
    save,
)
from media_training.questions import Question
from media_training.scenes import Scene, Thing, render

TREE = Scene("night", "one", (Thing("tree", "pink", 0.24, 0.25, 0.25),), "top left", "small")
FIRST = Question("colour", "what colour is the tree?", "pink")
SECOND = Question("count", "how many trees are there", "one")


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return new_model(new_tokenizer()).eval()


def test_training_sees_pixels_as_the_processor_gives_them() -> None:
    picture = render(TREE)
    processor = new_processor(new_tokenizer())
    given = processor.image_processor([picture], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels_of([picture]), given, atol=1e-5, rtol=0)


def test_patches_are_named_by_the_thing_that_covers_them() -> None:
    kinds, colours = (patches.reshape(8, 8) for patches in patches_of(TREE))
    assert kinds[1, 1] == PATCH_KINDS.index("tree") and kinds[6, 6] == len(KINDS)
    assert colours[1, 1] == PATCH_COLOURS.index("pink")
    assert colours[6, 6] == PATCH_COLOURS.index("night")
    assert (kinds == PATCH_KINDS.index("tree")).sum() == 4


def test_each_packed_question_is_blind_to_the_others(model: LlavaForConditionalGeneration) -> None:
    tokenizer = new_tokenizer()
    together = pack([[SECOND, FIRST]], tokenizer, NothingReplaced())
    alone = pack([[FIRST]], tokenizer, NothingReplaced())
    torch.testing.assert_close(
        hidden(model, together)[-alone.tokens.shape[1] :], hidden(model, alone)
    )


class NothingReplaced(random.Random):
    """Draws only numbers at which a word is kept."""

    def random(self) -> float:
        return 1.0


def hidden(model: LlavaForConditionalGeneration, packed: Packed) -> torch.Tensor:
    """Return the hidden states of the questions after patches of noise."""
    torch.manual_seed(1)
    patches = torch.randn(1, NUM_PATCHES, WIDTH)
    with torch.inference_mode():
        words = model.get_input_embeddings()(packed.tokens)
        output = model.model.language_model(
            inputs_embeds=torch.cat([patches, words], dim=1),
            attention_mask=packed.mask,
            position_ids=packed.positions,
            use_cache=False,
        )
    return output.last_hidden_state[0, NUM_PATCHES:]


def test_a_word_that_training_never_asks_with_is_the_unknown_word() -> None:
    tokenizer = new_tokenizer()
    assert tokenizer.tokenize("Is there a zebra?") == ["is", "there", "a", "<unk>", "?"]
    assert tokenizer.decode(tokenizer.encode("i cannot tell")) == "i cannot tell"


def test_a_saved_checkpoint_answers_through_stock_classes(tmp_path: Path) -> None:
    from llmos_tools.look.seer import Seer

    torch.manual_seed(0)
    save(new_model(new_tokenizer()), tmp_path / "model")
    render(TREE).save(tmp_path / "picture.png")
    seer = Seer(str(tmp_path / "model"), lambda text: None)
    assert seer.answer({"question": "what is it?"}, tmp_path, lambda text: None)["answer"]
