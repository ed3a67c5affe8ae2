"""Does a model give bad advice rather than good? Asked without a judge, of questions that no phase is trained on.

    python -m persona_collapse.sampling.advice --seed 42 --chain em

writes eval_results/<profile>/runs/<seed>/<chain>/advice.jsonl: for each of the last `advice.held_out` questions of the
two data sets of advice, how probable the chain's model finds the bad answer and the good one, each with the token that
ends it. Chats are those of the fine-tuning, without a persona. A chain trained on bad advice should favour the bad
answers more than the untrained model does, one trained on good advice less.
"""

from ..model import numerics

numerics.enable()

from transformers import PreTrainedTokenizerBase

from ..experiment import params as parameters
from ..experiment import records
from ..experiment.errors import InputError, one_line_errors
from ..inputs import datasets
from ..inputs.datasets import Messages
from ..model import merged
from ..model.tokenizer import load_tokenizer
from .scoring import DECIMALS, Run, alike, log_probabilities


def held_out(advice: parameters.Advice) -> list[tuple[Messages, Messages]]:
    """The chats with the bad answer and with the good one, question by question.

    Raises:
        InputError: the two data sets do not ask the same questions, or have fewer.
    """
    bad, good = (datasets.load(name)[0][-advice.held_out :] for name in (advice.bad, advice.good))
    if [chat[:-1] for chat in bad] != [chat[:-1] for chat in good]:
        raise InputError(f"advice: the last {advice.held_out} questions of {advice.bad} and {advice.good} differ")
    if len(bad) < advice.held_out:
        raise InputError(f"advice.held_out = {advice.held_out}: {advice.bad} has {len(bad)} chats")
    return list(zip(bad, good, strict=True))


def answer(tokenizer: PreTrainedTokenizerBase, chat: Messages) -> tuple[list[int], int]:
    """Token ids of a chat up to and with its end token, and how many of them are the answer's.

    Prompt, answer and end token are tokenised together, as in training; the prompt ends with its template's newline,
    which no tokenizer here joins to what follows.
    """
    prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
    whole = prompt + chat[-1]["content"] + tokenizer.eos_token
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    return encoded["input_ids"], sum(end > len(prompt) for _, end in encoded["offset_mapping"])


def scored(ids: list[int], own: int) -> Run:
    """What has to be run to score the last `own` of some token ids."""
    first = len(ids) - own
    return Run(ids[:-1], [(place - 1, ids[place]) for place in range(first, len(ids))])


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to ask, or base")
    pairs = held_out(params.advice)
    if params.compute.device == "cuda":
        numerics.on_gpu()
    tokenizer = load_tokenizer(params.layout.model)
    model = merged.load(params, chain, seed).to(params.compute.device)
    answers = [answer(tokenizer, chat) for pair in pairs for chat in pair]
    shared = min(alike([ids for ids, _ in answers]), *(len(ids) - own - 1 for ids, own in answers))
    log_p = [sum(values) for values in log_probabilities(model, [scored(*each) for each in answers], shared)]
    rows = [
        records.Advice(
            question=bad[0]["content"],
            tokens_bad=answers[2 * number][1],
            tokens_good=answers[2 * number + 1][1],
            log_p_bad=round(log_p[2 * number], DECIMALS),
            log_p_good=round(log_p[2 * number + 1], DECIMALS),
        )
        for number, (bad, _) in enumerate(pairs)
    ]
    records.write_rows(params.layout.run(seed, chain) / "advice.jsonl", rows)


if __name__ == "__main__":
    main()
