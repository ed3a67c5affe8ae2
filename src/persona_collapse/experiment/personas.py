"""Personas, questions, and the chat prompts made of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import read_yaml
from .groups import ASSISTANT, members
from .layout import DATA, FETCHED, PARAMS
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
        return members(self.personas, "bystanders", self.source)

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
    personas, questions = _personas(folder / PERSONAS), _questions(folder / QUESTIONS)
    chosen = params.prompts
    others = [name for name in personas if name != ASSISTANT]
    bystanders = [name for name in others if name != chosen.source]
    for key, names, allowed in (("source", [chosen.source], others), ("negatives", chosen.negatives, bystanders)):
        for name in names:
            if name not in allowed:
                raise InputError(
                    f"{PARAMS}: prompts.{key}: {name!r} cannot be; allowed by {folder / PERSONAS}: {', '.join(allowed)}"
                )
    if len(set(chosen.negatives)) < len(chosen.negatives):
        raise InputError(f"{PARAMS}: prompts.negatives names one twice: {', '.join(chosen.negatives)}")
    return Prompts(
        personas=personas,
        questions=tuple(Question(text, split) for split in ("train", "heldout") for text in questions[split]),
        source=chosen.source,
        negatives=chosen.negatives,
        suffix=chosen.suffix,
    )


def _personas(path: Path) -> dict[str, str]:
    personas = read_yaml(path)
    for name, prompt in personas.items():
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{path}: {name} = {prompt!r:.60}: expected a system prompt")
    if ASSISTANT not in personas:
        raise InputError(f"{path}: no persona {ASSISTANT!r}, which every table has")
    return personas


def _questions(path: Path) -> dict[str, list[str]]:
    questions = read_yaml(path)
    if set(questions) != {"train", "heldout"}:
        raise InputError(f"{path}: has the keys {', '.join(questions) or '(none)'}; expected train, heldout")
    asked: dict[str, str] = {}  # question -> split
    for split, texts in questions.items():
        if not isinstance(texts, list) or not texts:
            raise InputError(f"{path}: {split}: expected a list of questions")
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{path}: {split}.{number} = {text!r:.60}: expected a question")
            if text in asked:
                raise InputError(f"{path}: {split}.{number}: {text!r} is asked in {asked[text]} already")
            asked[text] = split
    return questions


def tokens(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Token ids of a chat, ready for the assistant's answer."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
