"""Where everything lies, relative to the repository's root, in which every command runs."""

from pathlib import Path

PARAMS = Path("params.yaml")
PERSONAS = Path("data/personas.yaml")
QUESTIONS = Path("data/questions.yaml")
SOURCES = Path("data/sources.yaml")  # the embedded data sets and their checksums
PUBLISHED = Path("data/published.json")
MODEL = Path("model")  # the base model
STATISTICS = Path("eval_results/statistics.json")
TABLES = Path("paper/tables")
FIGURES = Path("figures")


def coupling(seed: int, parent: str) -> Path:
    """The coupling data sampled from the chain `parent`."""
    return Path("data/coupling") / str(seed) / f"{parent}.jsonl"


def adapter(seed: int, chain: str) -> Path:
    """The folder of the adapter that the last phase of `chain` trained."""
    return Path("adapters") / str(seed) / chain


def run(seed: int, chain: str) -> Path:
    """The folder of one condition's and seed's completions and counts."""
    return Path("eval_results/runs") / str(seed) / chain
