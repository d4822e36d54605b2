"""The peer inside transformers that batches: `generate_batch`, which has a paged cache.

It cannot append to a sequence that is alive, so it takes part in decoding only.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.generation.continuous_batching.requests import GenerationOutput

BATCH_TOKENS = 2048
PAGE_SIZE = 32


def generate_batch(
    model: PreTrainedModel, contexts: Sequence[Sequence[int]], num_new: int
) -> list[list[int]]:
    """Continue each context greedily."""
    return [list(output.generated_tokens) for output in _outputs(model, contexts, num_new)]


def batch_step_s(
    model: PreTrainedModel, contexts: Sequence[Sequence[int]], num_steps: int
) -> float:
    """Return the seconds a step, over about `num_steps` in which all contexts decode."""
    # The first ones decode while the last ones are still read.
    num_prompt_tokens = sum(map(len, contexts))
    num_new = num_steps + -(-num_prompt_tokens // (BATCH_TOKENS - len(contexts)))
    outputs = _outputs(model, contexts, num_new)
    return steady_step_s([output.timestamps or [] for output in outputs])


def steady_step_s(arrivals: Sequence[Sequence[float]]) -> float:
    """Return the seconds a step while all streams are at work.

    `arrivals` holds the moments of each stream's tokens, in order.

    Raises:
        RuntimeError: at no time were all at work.
    """
    start = max(moments[0] for moments in arrivals)
    end = min(moments[-1] for moments in arrivals)
    num_tokens = sum(start < moment <= end for moments in arrivals for moment in moments)
    if not num_tokens:
        raise RuntimeError(f"the {len(arrivals)} streams were never at work together; ask for more")
    return (end - start) * len(arrivals) / num_tokens


def _outputs(
    model: PreTrainedModel, contexts: Sequence[Sequence[int]], num_new: int
) -> list[GenerationOutput]:
    num_tokens = sum(len(context) + num_new for context in contexts)
    outputs = model.generate_batch(
        [list(context) for context in contexts],
        GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=num_new),
        ContinuousBatchingConfig(
            page_size=PAGE_SIZE,
            num_blocks=num_tokens // PAGE_SIZE + 2 * len(contexts),
            max_batch_tokens=BATCH_TOKENS,
            allow_block_sharing=False,
        ),
        record_timestamps=True,
    )
    order = sorted(outputs, key=lambda name: int(name.rpartition("_")[2]))
    return [outputs[name] for name in order]
