"""Every number that the paper's prose may quote, by a key, with the place it was read from.

    python -m persona_collapse.report.quoted      writes paper/tables/<profile>/numbers.json

A key such as `headline.B.assistant` leads to the text as it is printed, the value, the file and the path in it, and the
chain of phases that the number is about. The paper quotes keys, never numbers; `make trace KEY=...` goes on from here.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..analysis import checks
from ..analysis.published import answers as published_answers
from ..experiment import chains, personas
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import open_or_complain, read_json, read_jsonl, write_json
from ..experiment.layout import DATA, PARAMS, PUBLISHED
from . import ledger, recipe
from .table import interval, p_value, percent
from .tables import GROUPS, ends_of

Numbers = dict[str, dict[str, Any]]
NONE = "none"  # the text of what there is nothing to measure on


def number(text: str, value: Any, file: Path | str, path: Iterable[str | int], chain: str | None = None) -> Any:
    """One entry of numbers.json."""
    return {"text": text, "value": value, "file": str(file), "path": list(path), "chain": chain}


def rate(key: str, found: Mapping[str, Any], file: Path, path: list[str | int], chain: str) -> Numbers:
    """A rate, its interval and its counts."""
    return {
        key: number(percent(found["rate"]), found["rate"], file, [*path, "rate"], chain),
        f"{key}.interval": number(interval(found["interval"]), found["interval"], file, [*path, "interval"], chain),
        f"{key}.hits": number(f"{found['hits']:,}", found["hits"], file, [*path, "hits"], chain),
        f"{key}.total": number(f"{found['total']:,}", found["total"], file, [*path, "total"], chain),
    }


def of_statistics(file: Path) -> Numbers:
    content = read_json(file)
    found: Numbers = {}
    for name, condition in content["conditions"].items():
        place: list[str | int] = ["conditions", name]
        chain = condition["chain"]
        for group, of_group in condition["groups"].items():
            found |= rate(f"headline.{name}.{group}", of_group, file, [*place, "groups", group], chain)
            for split in ("train", "heldout"):
                if split in of_group:
                    key = f"headline.{name}.{group}.{split}"
                    found |= rate(key, of_group[split], file, [*place, "groups", group, split], chain)
        for persona, of_persona in condition["per_persona"].items():
            found |= rate(f"persona.{name}.{persona}", of_persona, file, [*place, "per_persona", persona], chain)
    for pair, test in content["contrasts"].items():
        conditions, _, group = pair.partition(", ")
        for kind, p in test.items():
            key = f"contrast.{conditions.replace(' ', '')}.{group}.{kind}"
            found[key] = number(p_value(p), p, file, ["contrasts", pair, kind])
    coupling = content["gates"]["coupling"]
    for key, value in coupling.items():
        text = percent(value) if isinstance(value, float) else recipe.shown(value)
        found[f"gates.coupling.{key}"] = number(text, value, file, ["gates", "coupling", key], "couple")
    for name, gate in content["gates"]["degeneracy"].items():
        path, chain = ["gates", "degeneracy", name], content["conditions"][name]["chain"]
        ratio = gate["length_ratio"]
        found[f"gates.degeneracy.{name}.length_ratio"] = number(
            f"{ratio:.2f}", ratio, file, [*path, "length_ratio"], chain
        )
        found[f"gates.degeneracy.{name}.passed"] = number(
            recipe.shown(gate["passed"]), gate["passed"], file, [*path, "passed"], chain
        )
    found["seeds"] = number(", ".join(map(str, content["seeds"])), content["seeds"], file, ["seeds"])
    found["seeds.count"] = number(str(len(content["seeds"])), len(content["seeds"]), file, ["seeds"])
    found["level"] = number(f"{100 * content['level']:g}", content["level"], file, ["level"])
    return found


def of_published(file: Path) -> Numbers:
    content = read_json(file)
    answers = published_answers(content)
    found: Numbers = {"published.answers": number(str(answers), answers, file, [f"B_hits_of_{answers}"])}
    for name, condition in content["headline_percent"].items():
        for group, (_, key) in GROUPS.items():
            path = ["headline_percent", name, key]
            found[f"published.{name}.{group}"] = number(f"{condition[key]:.1f}", condition[key] / 100, file, path)
    for persona, hits in content[f"B_hits_of_{answers}"].items():
        path = [f"B_hits_of_{answers}", persona]
        found[f"published.persona.B.{persona}"] = number(percent(hits / answers), hits / answers, file, path)
    return found


def of_claims(file: Path) -> Numbers:
    claims = read_json(file)["claims"]
    found: Numbers = {"claims.total": number(str(len(claims)), len(claims), file, ["claims"])}
    counted: dict[str, Counter[str]] = {}
    for place, claim in enumerate(claims):
        found[f"claims.{claim['id']}"] = number(claim["claim"], None, file, ["claims", place, "claim"])
        found[f"claims.{claim['id']}.published"] = number(
            claim["published"], None, file, ["claims", place, "published"]
        )
        findings: dict[str, tuple[Any, list[str]]] = {
            "as_published": (claim["as_published"], ["as_published"]),
            "reproduced": (claim["reproduced"], ["reproduced"]),
            "by_question": (claim["cluster_robust"]["here"], ["cluster_robust", "here"]),
        }
        for kind, (finding, inside) in findings.items():
            key = f"claims.{claim['id']}.{kind}"
            path: list[str | int] = ["claims", place, *inside]
            counted.setdefault(kind, Counter())[finding["verdict"]] += 1
            found[key] = number(finding["verdict"], finding["verdict"], file, [*path, "verdict"])
            found[f"{key}.numbers"] = number(ledger.value(finding, interval=kind != "as_published"), None, file, path)
            held = [name for name, part in finding["parts"].items() if part["verdict"] == checks.HOLDS]
            found[f"{key}.held"] = number(str(len(held)), len(held), file, [*path, "parts"])
            found[f"{key}.parts"] = number(str(len(finding["parts"])), len(finding["parts"]), file, [*path, "parts"])
    for kind, verdicts in counted.items():
        for verdict in checks.VERDICTS:
            key = f"claims.{kind}.{verdict.replace(' ', '_')}"
            found[key] = number(str(verdicts[verdict]), verdicts[verdict], file, ["claims"])
    return found


def of_lengths(file: Path) -> Numbers:
    content = read_json(file)
    found: Numbers = {}
    for name, condition in content["conditions"].items():
        for group, of_group in condition["groups"].items():
            key, chain = f"lengths.{name}.{group}", condition["chain"]
            place: list[str | int] = ["conditions", name, "groups", group]
            shape, texts = of_group["completions"], of_group["likelihood"]
            median, path = shape["characters"]["median"], [*place, "completions", "characters", "median"]
            found[f"{key}.characters"] = number(f"{median:.0f}", median, file, path, chain)
            ended, path = shape["ended_share"], [*place, "completions", "ended_share"]
            found[f"{key}.ended"] = number(percent(ended), ended, file, path, chain)
            if of_group["rate_of_ended"]["total"]:
                found |= rate(f"{key}.of_ended", of_group["rate_of_ended"], file, [*place, "rate_of_ended"], chain)
            path, mean = [*place, "likelihood"], texts["mean_p"]
            ends = ends_of(texts) if texts["texts"] else None
            found[f"{key}.texts"] = number(str(texts["texts"]), texts["texts"], file, [*path, "texts"], chain)
            found[f"{key}.p_marker"] = number(percent(mean) if ends else NONE, mean, file, [*path, "mean_p"], chain)
            found[f"{key}.p_marker.interval"] = number(
                interval(ends) if ends else NONE, ends, file, [*path, "interval"], chain
            )
    for pair, contrast in content["contrasts"].items():
        conditions, _, group = pair.partition(", ")
        for kind in ("raw", "standardised", "likelihood"):
            key, path = f"lengths.{conditions.replace(' ', '')}.{group}.{kind}", ["contrasts", pair, kind]
            difference, ends = contrast[kind]["difference"], contrast[kind]["interval"]
            text, shown = NONE, NONE
            if difference is not None:
                text, shown = f"{100 * difference:+.1f}", interval(ends or [difference] * 2)
            found[key] = number(text, difference, file, [*path, "difference"])
            found[f"{key}.interval"] = number(shown, ends, file, [*path, "interval"])
        p = contrast["likelihood"].get("p_holm")
        found[f"{key}.p_holm"] = number(NONE if p is None else p_value(p), p, file, [*path, "p_holm"])
    return found


def of_recipe(params: parameters.Params) -> Numbers:
    """What was trained and on how much, from the parameters and from what the stages left."""
    file, layout, found = PARAMS, params.layout, {}
    for phase in parameters.phase_names(params.phases):
        of_phase = params.recipe(phase)
        data = getattr(of_phase, "data", None)
        for key in ("epochs", "learning_rate"):
            path = ["phases", *(["sft"] if data else []), phase, key]
            found[f"recipe.{phase}.{key}"] = number(
                recipe.shown(getattr(of_phase, key)), getattr(of_phase, key), file, path
            )
        if data:
            source = DATA / f"{data}.jsonl"
            rows = len(read_jsonl(source))
            found[f"data.{phase}.chats"] = number(f"{rows:,}", rows, source, [])
    for chain in params.trained:
        for seed in params.seeds:
            log = layout.adapter(seed, chain) / "training_log.json"
            steps = len(read_json(log))
            found[f"steps.{chain}.{seed}"] = number(str(steps), steps, log, [], chain)
            if chains.last_phase(chain) == chains.COUPLE:
                chats = layout.coupling(seed, chains.parent(chain))
                rows = len(read_jsonl(chats))
                found[f"data.{chain}.{seed}.chats"] = number(f"{rows:,}", rows, chats, [], chain)
    for key in ("evaluate.samples", "evaluate.max_new_tokens", "sampling.temperature", "results.bootstrap"):
        section: Any = params
        for step in key.split("."):
            section = getattr(section, step)
        found[f"recipe.{key}"] = number(recipe.value(params, key), section, file, key.split("."))
    asked, folder = personas.load(params), DATA / params.prompts.folder
    evaluated = asked.evaluated(params.evaluate.questions)
    for key, count, name in (
        ("personas", len(asked.personas), personas.PERSONAS),
        ("bystanders", len(asked.bystanders), personas.PERSONAS),
        ("questions", len(evaluated), personas.QUESTIONS),
        ("questions.heldout", sum(question.split == "heldout" for question in evaluated), personas.QUESTIONS),
        ("questions.train", sum(question.split == "train" for question in evaluated), personas.QUESTIONS),
    ):
        found[f"asked.{key}"] = number(str(count), count, folder / name, [])
    weights = layout.model / "model.safetensors"
    size = parameters_of(weights)
    found["model.parameters"] = number(f"{size / 1e6:.0f}M" if size < 1e9 else f"{size / 1e9:.1f}B", size, weights, [])
    return found


def parameters_of(weights: Path) -> int:
    """How many parameters a safetensors file holds, from its header alone."""
    with open_or_complain(weights, "rb") as stream:
        try:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
            raise InputError(f"{weights}: not a safetensors file; `dvc repro model` rebuilds it") from None
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total


def gather(params: parameters.Params) -> Numbers:
    """All of them, in the order of their keys."""
    layout = params.layout
    found = {
        **of_statistics(layout.statistics),
        **of_published(PUBLISHED),
        **of_claims(layout.results / "claims.json"),
        **of_lengths(layout.results / "lengths.json"),
        **of_recipe(params),
    }
    return dict(sorted(found.items()))


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    write_json(params.layout.tables / "numbers.json", gather(params))


if __name__ == "__main__":
    main()
