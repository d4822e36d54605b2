"""Writes a Qwen3 checkpoint as a GGUF file, which llama.cpp reads.

    python -m llmos_kernel.training.gguf MODEL OUT.gguf

The tokenizer goes in too where the folder has one in the embedded model's form: byte-level BPE,
split as llama.cpp's `smollm` splits. Knows no engine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
from safetensors.torch import load_file
from transformers import Qwen3Config

PRE_TOKENIZER = "smollm"
SPLITS = ("Digits", "ByteLevel")
DTYPES = ("bfloat16", "float32")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint as a GGUF file.")
    parser.add_argument("model", type=Path, help="a folder in the Hugging Face form")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    arguments = parser.parse_args()
    try:
        write_gguf(arguments.model, arguments.dtype, arguments.out)
    except (OSError, ValueError) as error:
        parser.exit(1, f"no GGUF file was written: {error}\n")
    print(arguments.out)


def write_gguf(folder: Path, dtype: str, target: Path) -> Path:
    """Write a checkpoint; without a `tokenizer.json`, ids go in and come out.

    Raises:
        OSError: the folder is not a checkpoint, or the target cannot be written.
        ValueError: the model or its tokenizer is of another kind.
    """
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    if kind != "qwen3":
        raise ValueError(f"expected a model of type 'qwen3', not {kind!r}")
    config = Qwen3Config.from_pretrained(folder).to_dict()
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(target, "qwen3")
    _add_shape(writer, config)
    _add_tokenizer(writer, folder, config)
    _add_tensors(writer, folder, config["num_hidden_layers"], dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        writer.add_tokenizer_model("none")
        return
    state: dict[str, Any] = json.loads(path.read_text())
    _check_split(state)
    tokens, types = _entries(state, config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in state["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text())


def _check_split(state: dict[str, Any]) -> None:
    """Refuse a tokenizer that llama.cpp would split in another way.

    Raises:
        ValueError: it is not in the embedded model's form.
    """
    parts = state["pre_tokenizer"].get("pretokenizers", [state["pre_tokenizer"]])
    kinds = tuple(part["type"] for part in parts)
    if state["model"]["type"] != "BPE" or kinds != SPLITS or state["normalizer"]:
        raise ValueError(
            f"expected a BPE tokenizer split by {SPLITS}, not {state['model']['type']} by "
            f"{kinds}; use llama.cpp's own convert_hf_to_gguf.py for this model"
        )


def _entries(state: dict[str, Any], size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Return all entries in the order of their ids, and what llama.cpp takes each for.

    An added token that is not special stays visible in decoded text, so that a server's parser
    of calls can see it.
    """
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for text, index in state["model"]["vocab"].items():
        tokens[index], types[index] = text, gguf.TokenType.NORMAL
    for added in state["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    return tokens, types


def _add_tensors(writer: gguf.GGUFWriter, folder: Path, num_layers: int, dtype: str) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, num_layers)
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        kind = gguf.GGMLQuantizationType.F32
        # llama.cpp keeps norms in float32 in every file.
        if dtype == "bfloat16" and values.ndim > 1:
            kind = gguf.GGMLQuantizationType.BF16
        target = names.get_name(name, try_suffixes=(".weight",))
        if target is None:
            raise ValueError(f"GGUF has no place for the tensor {name!r} of a Qwen3 model")
        writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)


if __name__ == "__main__":
    main()
