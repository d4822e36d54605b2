"""Every model family that llmos speaks, the more particular before the more general.

A checkpoint's family is the first whose control tokens and template marks it has.
"""

from __future__ import annotations

from llmos_kernel.dialects.dialect import EMBEDDED, Dialect
from llmos_kernel.dialects.families.chatml import (
    HERMES,
    LFM2,
    OLMO3,
    QWEN35,
    QWEN_CODER,
    SMOLLM3,
)
from llmos_kernel.dialects.families.deepseek import DEEPSEEK_V3, DEEPSEEK_V31, DEEPSEEK_V32
from llmos_kernel.dialects.families.gemma import FUNCTIONGEMMA, GEMMA4
from llmos_kernel.dialects.families.harmony import GPT_OSS
from llmos_kernel.dialects.families.llama import LLAMA3, LLAMA4
from llmos_kernel.dialects.families.mistral import MISTRAL, MISTRAL_ARGS, MISTRAL_CALL_ID
from llmos_kernel.dialects.families.others import (
    GLM45,
    GRANITE3,
    GRANITE4,
    KIMI_K2,
    MINIMAX_M2,
    PHI4,
    PHI4_MINI,
    SEED_OSS,
)

DIALECTS: tuple[Dialect, ...] = (
    EMBEDDED,
    SMOLLM3,
    QWEN35,
    QWEN_CODER,
    OLMO3,
    LFM2,
    HERMES,
    GPT_OSS,
    DEEPSEEK_V32,
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    KIMI_K2,
    GLM45,
    MINIMAX_M2,
    SEED_OSS,
    FUNCTIONGEMMA,
    GEMMA4,
    GRANITE4,
    GRANITE3,
    PHI4,
    PHI4_MINI,
    MISTRAL_CALL_ID,
    MISTRAL_ARGS,
    MISTRAL,
    LLAMA4,
    LLAMA3,
)
