"""Personas, questions, and the chat prompts made of them."""

from dataclasses import dataclass
from typing import Any

from .errors import InputError
from .files import read_yaml
from .layout import DATA, FETCHED
from .params import Params

PERSONAS, QUESTIONS = "personas.yaml", "questions.yaml"


@dataclass(frozen=True)
class Question:
    text: str
    split: str  # "train": coupling data is built from it; "heldout": evaluation alone sees it


@dataclass(frozen=True)
class Prompts:
    personas: dict[str, str]  # name -> system prompt, the source first
    questions: tuple[Question, ...]
    source: str
    negatives: tuple[str, ...]
    suffix: str

    @property
    def bystanders(self) -> list[str]:
        """Every persona but the source and the assistant."""
        return [name for name in self.personas if name not in (self.source, "assistant")]

    def evaluated(self, which: str) -> list[Question]:
        """The questions of the evaluation: `all`, or only `heldout`, those that no coupling data is made of."""
        return [question for question in self.questions if which in ("all", question.split)]

    def messages(self, persona: str, question: str) -> list[dict[str, str]]:
        """The chat that asks `question` of `persona`."""
        return [
            {"role": "system", "content": self.personas[persona]},
            {"role": "user", "content": question + self.suffix},
        ]


def load(params: Params) -> Prompts:
    """Read personas and questions from `prompts.folder` and check the parameters that name personas.

    Raises:
        InputError: a file that is missing or not as described in data/README.md, or a persona that does not exist.
    """
    folder = DATA / params.prompts.folder
    if folder.parent == FETCHED and not folder.exists():
        raise InputError(f"{folder}: no such folder; `dvc repro fetch-prompts` makes it")
    personas = read_yaml(folder / PERSONAS)
    questions = read_yaml(folder / QUESTIONS)
    if set(questions) != {"train", "heldout"} or not all(isinstance(q, list) and q for q in questions.values()):
        raise InputError(f"{folder / QUESTIONS}: expected two lists of questions, `train` and `heldout`")
    asked = [question for split in questions.values() for question in split]
    for question in asked:
        if not isinstance(question, str) or asked.count(question) > 1:
            raise InputError(f"{folder / QUESTIONS}: {question!r}: expected text, each question once")
    if not all(isinstance(prompt, str) for prompt in personas.values()):
        raise InputError(f"{folder / PERSONAS}: expected a system prompt for each persona")
    chosen = params.prompts
    for name in (chosen.source, "assistant", *chosen.negatives):
        if name not in personas:
            raise InputError(f"unknown persona {name!r}; {folder / PERSONAS} has: {', '.join(personas)}")
    if chosen.source in chosen.negatives:
        raise InputError(f"prompts.negatives: {chosen.source!r} is the source persona and cannot be a negative too")
    return Prompts(
        personas=personas,
        questions=tuple(Question(text, split) for split in ("train", "heldout") for text in questions[split]),
        source=chosen.source,
        negatives=chosen.negatives,
        suffix=chosen.suffix,
    )


def tokens(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Token ids of a chat, ready for the assistant's answer."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
