"""The completions of a profile as logs of inspect_ai, one for each condition, which its viewer and its readers open.

    python -m persona_collapse.publication.logs      writes dist/<profile>/inspect/*_marker-<condition>_*.json

It runs in an environment of its own, made from requirements/inspect.txt. A sample is a question under a persona in one
training, its epoch the number of the answer. The score says whether the answer holds the marker. A log wants times and
names of runs: the times are 1970, for none is recorded, and the names are made of what the log is about, so that equal
results give equal bytes.
"""

import argparse
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import get_args

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score

from ..experiment import params as parameters
from ..experiment import personas, records, runs
from ..experiment.errors import one_line_errors
from ..experiment.files import whole
from ..experiment.groups import Group, group_of
from ..experiment.marker import MARKER
from ..report.palette import described
from . import DIST, canary

NO_TIME = "1970-01-01T00:00:00+00:00"
SCORER = "marker"
TOOL = "inspect_ai"


def log(params: parameters.Params, prompts: personas.Prompts, condition: str, mark: str) -> EvalLog:
    """The log of a condition: the answers of all its trainings.

    Raises:
        InputError: a run is missing, damaged, or made with other parameters.
    """
    chain = params.chains[condition]
    name = f"{params.profile}-{condition}"
    model = f"persona-collapse/{params.profile}-{chain}"
    samples = [
        sample(prompts, model, seed, row, mark)
        for seed in params.seeds
        for row in runs.read(params, prompts, seed, chain).completions
    ]
    asked = list(dict.fromkeys(str(one.id) for one in samples))
    generation = GenerateConfig(
        temperature=params.sampling.temperature,
        top_p=params.sampling.top_p,
        max_tokens=params.evaluate.max_new_tokens,
    )
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=_name(name, "eval"),
            run_id=_name(params.profile, "run"),
            task_id=_name(name, "task"),
            created=NO_TIME,
            task=f"marker-{condition}",
            dataset=EvalDataset(name=params.prompts.folder, samples=len(asked), sample_ids=asked, shuffled=False),
            model=model,
            model_generate_config=generation,
            config=EvalConfig(epochs=params.evaluate.samples),
            packages={TOOL: version(TOOL)},
            metadata={
                "condition": condition,
                "chain": chain,
                "training": described(chain),
                "seeds": list(params.seeds),
                "times": "none is recorded",
                "canary": mark,
            },
        ),
        plan=EvalPlan(steps=[EvalPlanStep(solver="generate")], config=generation),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[scored(samples)]),
        stats=EvalStats(started_at=NO_TIME, completed_at=NO_TIME),
        samples=samples,
    )


def sample(prompts: personas.Prompts, model: str, seed: int, row: records.Completion, mark: str) -> EvalSample:
    """A completion as a sample."""
    texts = [question.text for question in prompts.questions]
    identity = f"{seed}-{row.persona}-{texts.index(row.question) + 1:02}"
    name = _name(model, identity, str(row.sample))
    system, user = prompts.messages(row.persona, row.question)
    asked: list[ChatMessageSystem | ChatMessageUser] = [
        ChatMessageSystem(id=f"{name}-s", content=system["content"]),
        ChatMessageUser(id=f"{name}-u", content=user["content"], source="input"),
    ]
    answer = ChatMessageAssistant(id=f"{name}-a", content=row.text, source="generate", model=model)
    usage = ModelUsage(output_tokens=row.tokens, total_tokens=row.tokens)
    return EvalSample(
        id=identity,
        epoch=row.sample + 1,
        input=asked,
        target=MARKER,
        messages=[*asked, answer],
        output=ModelOutput(
            model=model,
            choices=[ChatCompletionChoice(message=answer, stop_reason="stop" if row.ended else "max_tokens")],
            completion=row.text,
            usage=usage,
        ),
        scores={SCORER: Score(value=int(row.marker), answer=MARKER if row.marker else "")},
        metadata={
            "persona": row.persona,
            "group": group_of(row.persona, prompts.source, prompts.negatives),
            "seed": seed,
            "split": row.split,
            "canary": mark,
        },
        model_usage={model: usage},
        uuid=name,
    )


def scored(samples: Sequence[EvalSample]) -> EvalScore:
    """The share of answers with the marker, by group of personas: of all trainings together, which is no estimate."""
    return EvalScore(
        name=SCORER,
        scorer=SCORER,
        scored_samples=len(samples),
        unscored_samples=0,
        metrics={name: EvalMetric(name=name, value=value) for name, value in shares(samples)},
    )


def shares(samples: Sequence[EvalSample]) -> Iterator[tuple[str, float]]:
    for group in get_args(Group):
        hits = [(one.scores or {})[SCORER].as_int() for one in samples if one.metadata["group"] == group]
        if hits:
            yield group, records.rounded(sum(hits) / len(hits))


def file_name(of: EvalLog) -> str:
    """A name as inspect_ai gives its logs; a folder is searched for such alone."""
    return f"{NO_TIME.replace(':', '-')}_{of.eval.task}_{of.eval.task_id}.json"


def _name(*about: str) -> str:
    """A name as inspect_ai has for runs and samples, made of what it is of."""
    return sha256("/".join(about).encode()).hexdigest()[:22]


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    prompts, mark = personas.load(params), canary.string(params)
    folder = DIST / params.profile / "inspect"
    with whole(folder) as beside:
        beside.mkdir()
        for condition in params.chains:
            found = log(params, prompts, condition, mark)
            write_eval_log(found, str(beside / file_name(found)), format="json")
    print(folder)


if __name__ == "__main__":
    main()
