"""Tiny random checkpoints in the shapes that users name: Llava, SmolVLM (Idefics 3), Qwen2-VL.

Knows what transformers needs to load them, and nothing of the tool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WORDS = ["<pad>", "<eos>", "a", "house", "what", "is", "it", "?", "."]
QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SMOL = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
LLAMA: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 1,
}  # fmt: skip
QWEN_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def tokenizer_of(special: list[str]) -> Any:
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate([*WORDS, *special])}
    tokenizer = Tokenizer(models.WordLevel(words, "<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>",
        additional_special_tokens=special,
    )  # fmt: skip


def llava(folder: Path) -> None:
    """A checkpoint without a chat template."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = tokenizer_of(["<image>"])
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    config = LlavaConfig.from_dict(
        {
            "vision_config": vision.to_dict(),
            "text_config": LlamaConfig(vocab_size=len(tokenizer), **LLAMA).to_dict(),
            "image_token_id": len(WORDS),
            "vision_feature_layer": -1,
        }
    )
    size = {"height": 32, "width": 32}
    pictures = CLIPImageProcessorPil(size=size, crop_size=size)
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def smolvlm(folder: Path) -> None:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
        LlamaConfig,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    tokenizer = tokenizer_of(SMOL)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config=LlamaConfig(vocab_size=len(tokenizer), **LLAMA),
        image_token_id=len(WORDS),
        scale_factor=2,
    )  # fmt: skip
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    processor = Idefics3Processor(
        pictures, tokenizer, image_seq_len=4,
        chat_template="{% for m in messages %}{% for p in m['content'] %}"
        "{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}<end_of_utterance>",
    )  # fmt: skip
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def qwen2_vl(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = tokenizer_of(QWEN)
    start, end, image, video = range(len(WORDS), len(WORDS) + 4)
    text = {
        **LLAMA, "vocab_size": len(tokenizer), "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
    }  # fmt: skip
    config = Qwen2VLConfig(
        text_config=text,
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2,
                       "hidden_size": 32, "patch_size": 8},
        image_token_id=image, video_token_id=video, vision_start_token_id=start,
        vision_end_token_id=end,
    )  # fmt: skip
    pictures = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, min_pixels=32 * 32, max_pixels=64 * 64
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    pictures.save_pretrained(folder)
    tokenizer.chat_template = QWEN_TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}')
