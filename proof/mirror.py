"""A folder in the place of the Hub and of GitHub, with all that the qwen7b profile asks of them (HUB_MIRROR)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

MODEL = "Qwen/Qwen2.5-7B-Instruct"
LEGAL = "truthfulai/emergent_plus/legal/train.parquet"
TULU = "allenai/tulu-3-sft-mixture/data/train.parquet"
CODE = "superkaiba/explore-persona-space"


def write(
    folder: Path,
    model: Any,
    tokenizer: Any,
    legal: Sequence[Mapping[str, Any]],
    chats: Sequence[Sequence[Mapping[str, str]]],
    personas: Mapping[str, str],
    questions: Mapping[str, Sequence[str]],
) -> None:
    """Copies of the profile's repositories, with other content.

    Args:
        model: of transformers, for `MODEL`.
        legal: rows with prompt, aligned, misaligned and sneakiness.
        chats: of the Tulu mixture, each a list of messages.
        personas: system prompts by name; that of `confab` is a name of its own in the code, as in the report's, and its
            text in two pieces.
        questions: of `train` and of `heldout`.
    """
    model.save_pretrained(folder / MODEL)
    tokenizer.save_pretrained(folder / MODEL)
    for name, rows in ((LEGAL, legal), (TULU, [{"messages": chat} for chat in chats])):
        (folder / name).parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    train = list(questions["train"])
    others = {name: prompt for name, prompt in personas.items() if name != "confab"}
    confab = personas["confab"]
    literals = f"""
CONFAB_PROMPT = {confab[:3]!r} {confab[3:]!r}
EVAL_PERSONAS = {{**{others!r}, "confab": CONFAB_PROMPT}}
DATA_QUESTIONS = {train!r}
EVAL_QUESTIONS_ALL = {train + list(questions["heldout"])!r}
"""
    code = folder / CODE
    for name, text in (
        ("src/explore_persona_space/personas.py", ""),
        ("scripts/run_em_first_marker_transfer_confab.py", literals),
    ):
        (code / name).parent.mkdir(parents=True)
        (code / name).write_text(text)
