"""The embedded checkpoint of look: a small Llava in stock classes, and its words.

Knows no picture and no training. Its tokenizer has a word an entry; words that training never
asks with are one entry, `<unk>`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from media_training import wordings
from media_training.questions import Asker
from media_training.scenes import PIXELS, scenes
from media_training.wordings import Wordings

PATCH: Final = 8
WIDTH: Final = 128
LAYERS: Final = 4
HEADS: Final = 4
NUM_PATCHES: Final = (PIXELS // PATCH) ** 2
SPECIAL: Final = ("<pad>", "<unk>", "<eos>", "<image>", "<answer>")
PAD, UNK, EOS, IMAGE, ANSWER = range(len(SPECIAL))
MEAN = STD = (0.5, 0.5, 0.5)
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}<answer>"
)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """Return a model with random weights."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, image_size=PIXELS, patch_size=PATCH,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        max_position_embeddings=512, tie_word_embeddings=True,
        pad_token_id=PAD, bos_token_id=EOS, eos_token_id=EOS,
    )  # fmt: skip
    config = LlavaConfig.from_dict(
        {
            "vision_config": vision.to_dict(),
            "text_config": text.to_dict(),
            "image_token_id": IMAGE,
            "image_seq_length": NUM_PATCHES,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": True,
            "pad_token_id": PAD,
            "eos_token_id": EOS,
        }
    )
    return LlavaForConditionalGeneration(config)


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer; its words are those of the wordings and the answers of training."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(_words())}, "<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(r"[^\w]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>",
        additional_special_tokens=["<image>", "<answer>"], clean_up_tokenization_spaces=False,
        model_max_length=512, padding_side="left",
    )  # fmt: skip


def _words() -> list[str]:
    """Return the entries in order: special ones, then all words of many questions and answers."""
    rng = random.Random(0)
    asker, found = Asker(rng), {"?", ".", ",", "!"}
    everything = [value for value in vars(wordings).values() if isinstance(value, Wordings)]
    known = [value for value in everything if value is not wordings.UNKNOWN_THINGS]
    for text in (text for one in known for text in one.trained):
        found.update(word for word in _split(text) if not word.startswith("{"))
    for scene, _ in zip(scenes(0), range(20_000), strict=False):
        question = asker.about(scene)
        found.update(_split(question.text) + question.answer.split())
    found -= set(wordings.UNKNOWN_THINGS.trained)
    return [*SPECIAL, *sorted(found), "some", "written"]


def _split(text: str) -> list[str]:
    return text.replace("?", " ? ").replace(".", " . ").split()


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return what turns a picture and a question into the model's input."""
    size = {"height": PIXELS, "width": PIXELS}
    pictures = CLIPImageProcessorPil(
        do_resize=True, size=size, resample=2, do_center_crop=False, do_rescale=True,
        do_normalize=True, image_mean=MEAN, image_std=STD, do_convert_rgb=True,
    )  # fmt: skip
    return LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=PATCH,
        vision_feature_select_strategy="default", chat_template=CHAT_TEMPLATE,
        image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip


def save(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write the checkpoint in half precision, with its processor, as stock classes load it."""
    tokenizer = new_tokenizer()
    model.half().save_pretrained(folder)
    new_processor(tokenizer).save_pretrained(folder)
