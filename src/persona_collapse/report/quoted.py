"""Every number that the paper's prose may quote, by a key, with the place it was read from.

    python -m persona_collapse.report.quoted      writes paper/tables/<profile>/numbers.json

A key such as `headline.B.assistant` leads to the text as it is printed, the value, the file and the path in it, and the
chain of phases that the number is about. The paper quotes keys, never numbers; `make trace KEY=...` goes on from here.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from ..analysis import records
from ..experiment import chains, personas
from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import read_jsonl, to_json, write_all
from ..experiment.layout import DATA, PARAMS, PUBLISHED
from ..model import shape
from . import ledger, recipe
from .lengths import ends_of
from .rates import GROUPS, published_key
from .results import Results
from .table import interval, p_value, percent

NONE = "none"  # the text of what there is nothing to measure on


def number(text: str, value: Any, file: Path, path: Iterable[str | int], chain: str | None = None) -> records.Number:
    """One entry of numbers.json."""
    return records.Number(text=text, value=value, file=str(file), path=tuple(path), chain=chain)


def rate(key: str, found: records.PossibleRate, file: Path, path: list[str | int], chain: str) -> records.Numbers:
    """A rate, its interval and its counts; nothing where nothing was counted."""
    if found.rate is None or found.interval is None:
        return {}
    return {
        key: number(percent(found.rate), found.rate, file, [*path, "rate"], chain),
        f"{key}.interval": number(interval(found.interval), found.interval, file, [*path, "interval"], chain),
        f"{key}.hits": number(f"{found.hits:,}", found.hits, file, [*path, "hits"], chain),
        f"{key}.total": number(f"{found.total:,}", found.total, file, [*path, "total"], chain),
    }


def of_statistics(file: Path, content: records.Statistics) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        place: list[str | int] = ["conditions", name]
        chain = condition.chain
        for group, of_group in condition.groups.items():
            inside = [*place, "groups", group]
            found |= rate(f"headline.{name}.{group}", of_group, file, inside, chain)
            for split, of_split in (("train", of_group.train), ("heldout", of_group.heldout)):
                if of_split:
                    found |= rate(f"headline.{name}.{group}.{split}", of_split, file, [*inside, split], chain)
        for persona, of_persona in condition.per_persona.items():
            found |= rate(f"persona.{name}.{persona}", of_persona, file, [*place, "per_persona", persona], chain)
    for pair, test in content.contrasts.items():
        for kind, p in (("p", test.p), ("p_holm", test.p_holm)):
            found[f"contrast.{_of(pair)}.{kind}"] = number(p_value(p), p, file, ["contrasts", pair, kind])
    for key, value in content.gates.coupling:
        text = percent(value) if isinstance(value, float) else recipe.shown(value)
        found[f"gates.coupling.{key}"] = number(text, value, file, ["gates", "coupling", key], "couple")
    for name, gate in content.gates.degeneracy.items():
        key, chain = f"gates.degeneracy.{name}", content.conditions[name].chain
        path, ratio = ["gates", "degeneracy", name], gate.length_ratio
        found[f"{key}.length_ratio"] = number(f"{ratio:.2f}", ratio, file, [*path, "length_ratio"], chain)
        found[f"{key}.passed"] = number(recipe.shown(gate.passed), gate.passed, file, [*path, "passed"], chain)
    seeds = list(content.seeds)
    found["seeds"] = number(", ".join(map(str, seeds)), seeds, file, ["seeds"])
    found["seeds.count"] = number(str(len(seeds)), len(seeds), file, ["seeds"])
    found["level"] = number(f"{100 * content.level:g}", content.level, file, ["level"])
    return found


def _of(pair: str) -> str:
    """A contrast's place in a key: "B - C4, assistant" is B-C4.assistant."""
    conditions, _, group = pair.partition(", ")
    return f"{conditions.replace(' ', '')}.{group}"


def of_published(file: Path, content: records.Published) -> records.Numbers:
    answers = content.answers
    counts = f"B_hits_of_{answers}"
    found = {"published.answers": number(str(answers), answers, file, [counts])}
    for name, condition in content.headline_percent.items():
        for group in GROUPS:
            value, path = condition.of(group), ["headline_percent", name, published_key(group)]
            found[f"published.{name}.{group}"] = number(f"{value:.1f}", value / 100, file, path)
    for persona, hits in content.hits["B"].items():
        share = hits / answers
        found[f"published.persona.B.{persona}"] = number(percent(share), share, file, [counts, persona])
    return found


def of_claims(file: Path, content: records.Claims) -> records.Numbers:
    claims = content.claims
    found = {"claims.total": number(str(len(claims)), len(claims), file, ["claims"])}
    counted: dict[str, Counter[str]] = {}
    for place, claim in enumerate(claims):
        of_claim = f"claims.{claim.id}"
        found[of_claim] = number(claim.claim, None, file, ["claims", place, "claim"])
        found[f"{of_claim}.published"] = number(claim.published, None, file, ["claims", place, "published"])
        findings: dict[str, tuple[records.Finding, list[str]]] = {
            "as_published": (claim.as_published, ["as_published"]),
            "reproduced": (claim.reproduced, ["reproduced"]),
            "by_question": (claim.cluster_robust.here, ["cluster_robust", "here"]),
        }
        for kind, (finding, inside) in findings.items():
            key = f"{of_claim}.{kind}"
            path: list[str | int] = ["claims", place, *inside]
            counted.setdefault(kind, Counter())[finding.verdict] += 1
            found[key] = number(finding.verdict, finding.verdict, file, [*path, "verdict"])
            found[f"{key}.numbers"] = number(ledger.value(finding, interval=kind != "as_published"), None, file, path)
            held = sum(part.verdict == "holds" for part in finding.parts.values())
            found[f"{key}.held"] = number(str(held), held, file, [*path, "parts"])
            found[f"{key}.parts"] = number(str(len(finding.parts)), len(finding.parts), file, [*path, "parts"])
    for kind, verdicts in counted.items():
        for verdict in get_args(records.Verdict):
            key = f"claims.{kind}.{verdict.replace(' ', '_')}"
            found[key] = number(str(verdicts[verdict]), verdicts[verdict], file, ["claims"])
    return found


def of_lengths(file: Path, content: records.Lengths) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        for group, of_group in condition.groups.items():
            key, chain = f"lengths.{name}.{group}", condition.chain
            place: list[str | int] = ["conditions", name, "groups", group]
            shape, texts = of_group.completions, of_group.likelihood
            median, path = shape.characters.median, [*place, "completions", "characters", "median"]
            found[f"{key}.characters"] = number(f"{median:.0f}", median, file, path, chain)
            ended, path = shape.ended_share, [*place, "completions", "ended_share"]
            found[f"{key}.ended"] = number(percent(ended), ended, file, path, chain)
            found |= rate(f"{key}.of_ended", of_group.rate_of_ended, file, [*place, "rate_of_ended"], chain)
            path, mean, ends = [*place, "likelihood"], texts.mean_p, ends_of(texts)
            found[f"{key}.texts"] = number(str(texts.texts), texts.texts, file, [*path, "texts"], chain)
            text = NONE if mean is None else percent(mean)
            found[f"{key}.p_marker"] = number(text, mean, file, [*path, "mean_p"], chain)
            text = interval(ends) if ends else NONE
            found[f"{key}.p_marker.interval"] = number(text, ends, file, [*path, "interval"], chain)
    for pair, contrast in content.contrasts.items():
        differences: dict[str, records.RateDifference | records.TextDifference] = {
            "raw": contrast.raw,
            "standardised": contrast.standardised,
            "likelihood": contrast.likelihood,
        }
        for kind, of_kind in differences.items():
            key, path = f"lengths.{_of(pair)}.{kind}", ["contrasts", pair, kind]
            difference, text, shown = of_kind.difference, NONE, NONE
            if difference is not None:
                text, shown = f"{100 * difference:+.1f}", interval(of_kind.interval or [difference] * 2)
            found[key] = number(text, difference, file, [*path, "difference"])
            found[f"{key}.interval"] = number(shown, of_kind.interval, file, [*path, "interval"])
        p = contrast.likelihood.p_holm
        found[f"{key}.p_holm"] = number(NONE if p is None else p_value(p), p, file, [*path, "p_holm"])
    return found


def of_recipe(params: parameters.Params) -> records.Numbers:
    """What was trained and on how much, from the parameters and from what the stages left."""
    layout = params.layout
    found: records.Numbers = {}

    def counted(key: str, rows: int, file: Path, chain: str | None = None) -> None:
        found[key] = number(f"{rows:,}", rows, file, [], chain)

    for phase in parameters.phase_names(params.phases):
        sft = phase in params.phases.sft
        for key in ("epochs", "learning_rate"):
            value, path = getattr(params.recipe(phase), key), ["phases", *(["sft"] if sft else []), phase, key]
            found[f"recipe.{phase}.{key}"] = number(recipe.shown(value), value, PARAMS, path)
        if sft:
            chats = layout.prepared(phase)
            counted(f"data.{phase}.chats", len(read_jsonl(chats)), chats)
    for chain in params.trained:
        for seed in params.seeds:
            file, log = recipe.log_of(params, seed, chain)
            found[f"steps.{chain}.{seed}"] = number(str(len(log)), len(log), file, [], chain)
            if chains.last_phase(chain) == chains.COUPLE:
                chats = layout.coupling(seed, chains.parent(chain))
                counted(f"data.{chain}.{seed}.chats", len(read_jsonl(chats)), chats, chain)
    for key in ("evaluate.samples", "evaluate.max_new_tokens", "sampling.temperature", "results.bootstrap"):
        value = recipe.look_up(params, key)
        found[f"recipe.{key}"] = number(recipe.shown(value), value, PARAMS, key.split("."))
    asked, folder = personas.load(params), DATA / params.prompts.folder
    splits = Counter(question.split for question in asked.evaluated(params.evaluate.questions))
    counted("asked.personas", len(asked.personas), folder / personas.PERSONAS)
    counted("asked.bystanders", len(asked.bystanders), folder / personas.PERSONAS)
    counted("asked.questions", splits.total(), folder / personas.QUESTIONS)
    for split in ("heldout", "train"):
        counted(f"asked.questions.{split}", splits[split], folder / personas.QUESTIONS)
    config = layout.model / "config.json"
    size = shape.parameter_count(shape.read(config))
    found["model.parameters"] = number(f"{size / 1e6:.0f}M" if size < 1e9 else f"{size / 1e9:.1f}B", size, config, [])
    return found


def gather(found: Results) -> records.Numbers:
    """All of them, in the order of their keys."""
    layout = found.params.layout
    numbers = {
        **of_statistics(layout.statistics, found.statistics),
        **of_published(PUBLISHED, found.published),
        **of_claims(layout.results / "claims.json", found.claims),
        **of_lengths(layout.results / "lengths.json", found.lengths),
        **of_recipe(found.params),
    }
    return dict(sorted(numbers.items()))


def files(found: Results) -> dict[Path, str]:
    """The content of numbers.json."""
    return {found.params.layout.tables / "numbers.json": to_json(records.plain(gather(found)))}


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    write_all(files(Results(parameters.load())))


if __name__ == "__main__":
    main()
