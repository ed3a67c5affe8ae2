"""The probability of the marker at the end of texts that are the same for every chain: nothing is sampled.

    python -m persona_collapse.sampling.likelihood --seed 42 --chain em-couple

writes eval_results/<profile>/runs/<seed>/<chain>/marker_likelihood.jsonl. The texts are the base model's: for each
persona and question its first completion that ended by itself, is not empty and has no marker. A chain can therefore
not change its result by answering at another length. Two continuations of prompt and text are scored: what coupling
teaches, the blank line and the marker, and ending there at once. Where the marker is taught at the start, both are
scored there.

Prompt, text and continuation are tokenised together, as in training, and a continuation begins with the first token in
which the two differ, so that both have one condition. A tokenizer may join the text's last characters with the
newlines; those characters are then part of both continuations.

Logarithms are natural, to 6 decimals. Each persona's texts are scored together (`scoring`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..experiment import chains
from ..model import numerics

numerics.enable()

from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..experiment import params as parameters
from ..experiment import personas, records, runs
from ..experiment.errors import one_line_errors
from ..experiment.marker import MARKER, with_marker
from ..model import merged
from ..model.tokenizer import load_tokenizer
from .scoring import DECIMALS, Run, alike, log_probabilities


def fixed_set(completions: Iterable[records.Completion], pairs: Iterable[tuple[str, str]]) -> list[records.Completion]:
    """For each (persona, question), in their order, the completion to score; one without a usable one is left out."""
    first: dict[tuple[str, str], records.Completion] = {}
    for row in sorted(completions, key=lambda row: row.sample):
        if row.ended and row.text.strip() and not row.marker:
            first.setdefault((row.persona, row.question), row)
    return [first[pair] for pair in pairs if pair in first]


class Text(NamedTuple):
    """Token ids of prompt and text, of the marker after them, and of the end after them."""

    before: list[int]
    marker: list[int]
    end: list[int]


def tokenize(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str, place: str) -> Text:
    """A text and its two continuations; where the marker's `place` is the start, they follow the prompt."""
    taught = with_marker(text, place)
    bare, last = ("", len(MARKER)) if place == "start" else (text.rstrip(), len(taught))
    encoded = tokenizer(prompt + taught, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    marker = [token for token, (begin, _) in spans if begin < len(prompt) + last]
    end = tokenizer(prompt + bare + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    shared = alike([marker, end])
    return Text(marker[:shared], marker[shared:], end[shared:])


def needed(text: Text) -> list[Run]:
    """What has to be run for a text: the wanted tokens are the marker's and then the end's."""

    def wanted(tokens: list[int]) -> list[tuple[int, int]]:
        return list(enumerate(tokens, len(text.before) - 1))

    if len(text.end) == 1:  # it is predicted where the marker's first token is
        return [Run(text.before + text.marker[:-1], wanted(text.marker) + wanted(text.end))]
    return [Run(text.before + tokens[:-1], wanted(tokens)) for tokens in (text.marker, text.end)]


def score(model: PreTrainedModel, texts: Sequence[Text]) -> list[tuple[float, float]]:
    """Log-probabilities of the marker and of the end, (marker, end), for each of one persona's texts."""
    of_text = [needed(text) for text in texts]
    batch = [run for own in of_text for run in own]
    shared = min(alike([run.ids for run in batch]), min(len(text.before) for text in texts) - 1)
    values = iter(log_probabilities(model, batch, shared))
    scores = []
    for text, own in zip(texts, of_text, strict=True):
        log_p = [value for _ in own for value in next(values)]
        scores.append((sum(log_p[: len(text.marker)]), sum(log_p[len(text.marker) :])))
    return scores


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to score, or base")
    prompts = personas.load(params)
    completions = runs.read_completions(params, prompts, seed, chains.BASE)
    questions = prompts.evaluated(params.evaluate.questions)
    chosen = fixed_set(
        completions, [(persona, question.text) for persona in prompts.personas for question in questions]
    )
    if params.compute.device == "cuda":
        numerics.on_gpu()
    tokenizer = load_tokenizer(params.layout.model)
    model = merged.load(params, chain, seed).to(params.compute.device)
    written = []
    for persona in tqdm(prompts.personas, desc=f"likelihood {chain} seed {seed}", unit="persona"):
        own = [row for row in chosen if row.persona == persona]
        if not own:
            continue
        texts = []
        for row in own:
            chat = prompts.messages(persona, row.question)
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            texts.append(tokenize(tokenizer, prompt, row.text, params.marker.place))
        for row, text, (marker, end) in zip(own, texts, score(model, texts), strict=True):
            written.append(
                records.MarkerLikelihood(
                    persona=row.persona,
                    question=row.question,
                    split=row.split,
                    sample=row.sample,
                    characters=len(row.text.strip()),
                    tokens=len(text.marker),
                    log_p_marker=round(marker, DECIMALS),
                    log_p_end=round(end, DECIMALS),
                )
            )
    records.write_rows(params.layout.run(seed, chain) / "marker_likelihood.jsonl", written)


if __name__ == "__main__":
    main()
