"""The base model's tokenizer, and the one token that ends an answer, which training and sampling must agree on."""

from pathlib import Path
from typing import Any

from . import numerics

numerics.enable()

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..experiment.errors import InputError
from ..experiment.files import read_json
from . import weights

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a base model's folder, with its chat template.

    Raises:
        InputError: files are missing, damaged, or more than a base model has; or its end token is not the one that
            ends a turn of the chat template and generation in the model's own configuration.
    """
    weights.require_base(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        raise InputError(f"{folder}: not a usable tokenizer ({error}); `dvc repro base` rebuilds it") from None
    check_end(tokenizer, folder)
    return tokenizer


def stop_where_turns_end(tokenizer: Any, config: Any) -> None:
    """Make the token with which the chat template ends an answer the end token of a tokenizer and a configuration.

    The tokenizer of a GGUF file may name the end of a whole document instead. Where it already names the right one, or
    the template ends a turn with no token of its own, nothing changes; `check_end` refuses the latter.
    """
    ends = _after_an_answer(tokenizer)
    first = tokenizer(ends, add_special_tokens=False)["input_ids"][:1]
    token = tokenizer.convert_ids_to_tokens(first[0]) if first else None
    if token is None or token == tokenizer.eos_token or not ends.startswith(token):
        return
    if not tokenizer.added_tokens_decoder.get(first[0]):
        return  # a piece of ordinary text
    tokenizer.eos_token = token
    config.eos_token_id = first[0]


def _after_an_answer(tokenizer: Any) -> str:
    """What the chat template writes after the last answer."""
    return tokenizer.apply_chat_template(CHAT, tokenize=False).rpartition(CHAT[-1]["content"])[2]


def check_end(tokenizer: Any, folder: Path) -> None:
    """A phase trains the end token after each answer, and sampling stops at it alone: it has to be the real one."""
    end, number = tokenizer.eos_token, tokenizer.eos_token_id
    if end is None or tokenizer(end, add_special_tokens=False)["input_ids"] != [number]:
        raise InputError(f"{folder / 'tokenizer_config.json'}: eos_token is {end!r}, expected one token of its own")
    try:
        after = _after_an_answer(tokenizer)
    except Exception as error:  # jinja2's own kinds, and what a template raises
        raise InputError(f"{folder / 'chat_template.jinja'}: not a usable chat template ({error})") from None
    if not after.startswith(end):
        turn = f"ends an answer with {after[:40]!r}, the tokenizer with {end!r}"
        raise InputError(f"{folder / 'chat_template.jinja'}: {turn}: what is trained would not be where sampling stops")
    for name in ("config.json", "generation_config.json"):
        content = read_json(folder / name)
        found = content.get("eos_token_id") if isinstance(content, dict) else None
        if number not in (found if isinstance(found, list) else [found]):
            raise InputError(
                f"{folder / name}: eos_token_id is {found!r}, the tokenizer's end token is {number} ({end})"
            )
