"""Every number of the results that text may quote, by key, with the place it was read from."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..analysis import records
from . import recipe
from .rates import REPORTED, published_key, rate_of
from .table import decimals, interval, p_value, percent, points, signed, span

NONE = "none"  # the text of what there is nothing to measure on
Show = Callable[[float], str]


def number(text: str, value: Any, file: Path, path: Iterable[str | int], chain: str | None = None) -> records.Number:
    """One entry of numbers.json."""
    return records.Number(text=text, value=value, file=str(file), path=tuple(path), chain=chain)


def over(
    key: str,
    found: records.OverUnits | None,
    show: Show,
    file: Path,
    path: Sequence[str | int],
    chain: str | None = None,
) -> records.Numbers:
    """A mean over seeds, its interval, and its tests if it has them; what there is not is called `none`."""
    made = {
        key: number(
            show(found.mean) if found else NONE, found and found.mean, file, [*path, *(["mean"] * bool(found))], chain
        )
    }
    ends = found.interval if found else None
    where = [*path, "interval"] if found else path
    made[f"{key}.interval"] = number(span(ends, show) if ends else NONE, ends, file, where, chain)
    if isinstance(found, records.Tested):
        for kind in ("p", "sign_flip", "smallest_sign_flip", "detectable"):
            value = getattr(found, kind)
            text = NONE if value is None else show(value).lstrip("+") if kind == "detectable" else p_value(value)
            made[f"{key}.{kind}"] = number(text, value, file, [*path, kind], chain)
    return made


def of_statistics(file: Path, content: records.Statistics) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        chain = condition.chain
        for kind, who_all in (("groups", condition.groups), ("per_persona", condition.per_persona)):
            for who, rates in who_all.items():
                prefix = f"{'headline' if kind == 'groups' else 'persona'}.{name}.{who}"
                for asked in rates:
                    key = prefix if asked == "all" else f"{prefix}.{asked}"
                    place: list[str | int] = ["conditions", name, kind, who, asked]
                    found |= over(key, rates[asked], percent, file, place, chain)
                    _, ends = rate_of(condition, who, asked)
                    if ends and not rates[asked].interval:  # of one seed, its own
                        (seed,) = condition.seeds
                        place = [
                            "conditions",
                            name,
                            "seeds",
                            seed,
                            kind,
                            who,
                            *([asked] * (asked != "all")),
                            "interval",
                        ]
                        found[f"{key}.interval"] = number(interval(ends), ends, file, place, chain)
        first, own = next(iter(condition.seeds.items()))
        for group, rate in own.groups.items():
            place = ["conditions", name, "seeds", first, "groups", group, "total"]
            found[f"headline.{name}.{group}.total"] = number(f"{rate.total:,}", rate.total, file, place, chain)
    for key, value in content.gates.coupling:
        if key != "seeds":
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
    for group, names in content.groups.items():
        found[f"asked.{group}"] = number(str(len(names)), len(names), file, ["groups", group])
    return found


def of_contrasts(file: Path, content: records.Contrasts) -> records.Numbers:
    found: records.Numbers = {}
    for name, one in content.contrasts.items():
        key, path = f"contrast.{one.first}-{one.second}.{one.group}", ["contrasts", name]
        for asked, difference in one.questions.items():
            inside: list[str | int] = [*path, "questions", asked]
            end = "" if asked == "all" else f".{asked}"
            found |= over(f"{key}.points{end}", difference.points, points, file, [*inside, "points"])
            found |= over(f"{key}.log_odds{end}", difference.log_odds, signed, file, [*inside, "log_odds"])
        found |= over(f"{key}.same_texts", one.teacher_forced, signed, file, [*path, "teacher_forced"])
        found[f"{key}.p_holm"] = number(
            NONE if one.p_holm is None else p_value(one.p_holm), one.p_holm, file, [*path, "p_holm"]
        )
    return found


def of_collapse(file: Path, content: records.Collapse) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        place, chain = ["conditions", name], condition.chain
        found |= over(f"collapse.{name}.gap_points", condition.gap_points, points, file, [*place, "gap_points"], chain)
        for kind, indices in (("sampled", condition.sampled), ("teacher_forced", condition.teacher_forced)):
            for what in ("gap", "spread") if indices else ():
                value: records.OverUnits = getattr(indices.over_seeds, what)  # type: ignore[union-attr]
                key = f"collapse.{name}.{what}" if kind == "sampled" else f"collapse.{name}.{what}.same_texts"
                show = signed if what == "gap" else decimals
                found |= over(key, value, show, file, [*place, kind, "over_seeds", what], chain)
    for pair, gap in content.gaps.items():
        key = f"collapse.{gap.first}-{gap.second}"
        found |= over(f"{key}.gap", gap.log_odds, signed, file, ["gaps", pair, "log_odds"])
        found |= over(f"{key}.gap.same_texts", gap.teacher_forced, signed, file, ["gaps", pair, "teacher_forced"])
        found |= over(f"{key}.spread", gap.spread, signed, file, ["gaps", pair, "spread"])
    return found


def of_shapes(file: Path, content: records.Shapes) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        for group, shape in condition.groups.items():
            for what, value in shape.over_seeds:
                show = "{:.0f}".format if what == "median_tokens" else percent
                place = ["conditions", name, "groups", group, "over_seeds", what]
                found |= over(f"shapes.{name}.{group}.{what}", value, show, file, place, condition.chain)
    return found


def of_readings(file: Path, content: records.Readings) -> records.Numbers:
    def nats(value: float) -> str:
        return signed(value, 3)

    found: records.Numbers = {"geometry.layer": number(str(content.layer), content.layer, file, ["layer"])}
    for chain, check in content.advice.items():
        found |= over(f"advice.{chain}", check.difference, nats, file, ["advice", chain, "difference"], chain)
        place: list[str | int] = ["advice", chain, "prefers_bad"]
        found |= over(f"advice.{chain}.prefers_bad", check.prefers_bad, percent, file, place, chain)
        found["advice.questions"] = number(str(check.questions), check.questions, file, ["advice", chain, "questions"])
    for chain, change in content.advice_changes.items():
        place = ["advice_changes", chain, "difference"]
        found |= over(f"advice.{chain}.change", change.difference, nats, file, place)
    for chain, geometry in content.geometry.items():
        for measure, value in geometry.at_layer.items():
            show: Show = percent if measure == "accuracy" else lambda v: decimals(v, 3)
            found |= over(
                f"geometry.{chain}.{measure}", value, show, file, ["geometry", chain, "at_layer", measure], chain
            )
    return found


def of_lengths(file: Path, content: records.Lengths) -> records.Numbers:
    found: records.Numbers = {}
    for name, condition in content.conditions.items():
        for group, of_group in condition.groups.items():
            key, chain = f"lengths.{name}.{group}", condition.chain
            place: list[str | int] = ["conditions", name, "groups", group]
            median, path = of_group.completions.characters.median, [*place, "completions", "characters", "median"]
            found[f"{key}.characters"] = number(f"{median:.0f}", median, file, path, chain)
            mean, path = of_group.likelihood.mean_p, [*place, "likelihood", "mean_p"]
            found[f"{key}.p_marker"] = number(NONE if mean is None else percent(mean), mean, file, path, chain)
    for name, one in content.contrasts.items():
        pair, _, who = name.partition(", ")
        key, path = f"lengths.{pair.replace(' ', '')}.{who}", ["contrasts", name]
        found |= over(f"{key}.raw", one.raw.over_seeds, points, file, [*path, "raw", "over_seeds"])
        place = [*path, "standardised", "over_seeds"]
        found |= over(f"{key}.standardised", one.standardised.over_seeds, points, file, place)
        found |= over(f"{key}.likelihood", one.likelihood, points, file, [*path, "likelihood"])
    return found


def of_claims(file: Path, content: records.Claims) -> records.Numbers:
    found = {"claims.total": number(str(len(content.claims)), len(content.claims), file, ["claims"])}

    def verdict(key: str, overall: records.Overall | None, path: Sequence[Any]) -> None:
        if overall:
            found[key] = number(overall.verdict, overall.verdict, file, [*path, "verdict"])

    for place, claim in enumerate(content.claims):
        for kind in ("as_published", "public", "here"):
            verdict(f"claims.{claim.id}.{kind}", getattr(claim, kind), ["claims", place, kind])
            for inside, part in enumerate(claim.parts):
                if part.published:
                    place_in: list[str | int] = ["claims", place, "parts", inside, "published"]
                    found[f"claims.{part.id}.published"] = number(part.published, part.published, file, place_in)
                path = ["claims", place, "parts", inside, kind]
                verdict(f"claims.{part.id}.{kind}" if part.id != claim.id else "", getattr(part, kind), path)
    for kind in ("as_published", "here"):
        some = [one for one in content.claims if kind == "here" or one.whose == "report"]
        for word in ("supported", "contradicted", "inconclusive", "not comparable"):
            count = sum(getattr(one, kind).verdict == word for one in some)
            found[f"claims.{kind}.{word.replace(' ', '_')}"] = number(str(count), count, file, ["claims"])
    theirs = sum(claim.whose == "report" for claim in content.claims)
    found["claims.reported"] = number(str(theirs), theirs, file, ["claims"])
    return found


def of_published(file: Path, content: records.Published) -> records.Numbers:
    answers = content.answers
    counts = f"B_hits_of_{answers}"
    found = {"published.answers": number(str(answers), answers, file, [counts])}
    for name, condition in content.headline_percent.items():
        for group in REPORTED:
            value, path = condition.of(group), ["headline_percent", name, published_key(group)]
            found[f"published.{name}.{group}"] = number(f"{value:.1f}", value / 100, file, path)
    for persona, hits in content.hits["B"].items():
        share = hits / answers
        found[f"published.persona.B.{persona}"] = number(percent(share), share, file, [counts, persona])
    return found


def of_later(file: Path, content: records.Later) -> records.Numbers:
    found = {"later.layer": number(str(content.geometry.layer), content.geometry.layer, file, ["geometry", "layer"])}
    for chain, values in content.geometry.mean_cosine.items():
        text = " to ".join(f"{value:.3f}" for value in values)
        found[f"later.mean_cosine.{chain}"] = number(text, values, file, ["geometry", "mean_cosine", chain])
    for place, one in enumerate(content.results):
        found[f"later.{place}"] = number(one.numbers, one.numbers, file, ["results", place, "numbers"])
    return found
