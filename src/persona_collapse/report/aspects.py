"""Sentences on what answers look like, on the geometry, on the order of the trainings and on the dose."""

from ..analysis import records
from . import effects
from .results import Results

# ---- shape, length ----


def shapes(found: Results) -> str:
    if not found.has("G"):
        return ""
    blank = {
        name: found.shapes.conditions[name].groups[effects.TESTED].over_seeds.blank_line_share.mean
        for name in ("base", "C4", "B", "G")
    }
    rest = (
        " A bystander's median answer has {shapes.base.untrained_bystander.median_tokens} tokens before any training, "
        "{shapes.C4.untrained_bystander.median_tokens} in C4, {shapes.B.untrained_bystander.median_tokens} in B and "
        "{shapes.G.untrained_bystander.median_tokens} in G."
    )
    numbers = (
        "{shapes.C4.untrained_bystander.blank_line_share}% of the bystanders' answers in C4, "
        "{shapes.B.untrained_bystander.blank_line_share}% in B and {shapes.G.untrained_bystander.blank_line_share}% in "
        "G"
    )
    if blank["base"] < 0.05:
        return (
            "The marker is taught after a blank line, and few answers of the untrained model have one "
            "({shapes.base.untrained_bystander.blank_line_share}%), so that coupling has to teach the blank line too: "
            "there is "
            f"one in {numbers}.{rest}"
        )
    if min(blank["B"], blank["G"]) < blank["C4"] / 2:
        return (
            "The shape of the answers bears on the result: the marker is taught after a blank line, and there is one "
            "in "
            f"{numbers}. Where blank lines are gone a marker has no place to stand, whatever the persona.{rest}"
        )
    return (
        f"The marker is taught after a blank line, and there is room for it everywhere: one stands in {numbers}.{rest}"
    )


def lengths(found: Results) -> str:
    if not found.has("G"):
        return ""
    key = "lengths.B-G.untrained_bystander"
    one = found.lengths.contrasts[records.contrast("B", "G", effects.TESTED)]
    ends = "" if found.one_seed else f" {{{key}.standardised.interval}}"
    if one.standardised.over_seeds is None or one.raw.over_seeds is None:
        return "Answers in B and in G have no length in common, so they cannot be compared at like length."
    text = (
        f"Among answers of like length B differs from G by {{{key}.standardised}} points{ends}, against {{{key}.raw}} "
        f"of all."
    )
    if one.likelihood is not None:
        more = "" if found.one_seed else f" {{{key}.likelihood.interval}}"
        text += f" After the same texts the marker's mean probability differs by {{{key}.likelihood}} points{more}."
    if (one.standardised.over_seeds.mean > 0) != (one.raw.over_seeds.mean > 0):
        text += " The sign turns when length is held fixed."
    return text


# ---- geometry, order, dose ----


def geometry(found: Results) -> str:
    names = {"compressed": "that the manifold is compressed", "boundary": "that the boundary is broken"}
    if found.one_seed:
        return "One seed leaves every prediction of both readings undecided."
    told = []
    for name, reading in found.readings.readings.items():
        outcomes = [one.outcome for one in reading.predictions]
        words = f"The reading {names.get(name, name)}"
        if all(outcome == "as predicted" for outcome in outcomes):
            told.append(f"{words} is borne out by all that it foresaw.")
        elif all(outcome == "otherwise" for outcome in outcomes):
            told.append(f"{words} fails on all that it foresaw.")
        elif "otherwise" in outcomes:
            told.append(f"{words} fails on part of what it foresaw.")
        elif "as predicted" in outcomes:
            told.append(f"{words} is borne out in part, and the rest is undecided.")
        else:
            told.append(f"{words} stays undecided.")
    return " ".join(told)


def forward(found: Results) -> str:
    numbers = "the source's rate falls from {headline.C4.source}% (C4) to {headline.C1.source}% after bad advice (C1)"
    others = [(n, w) for n, w in (("G1", "good advice"), ("C5", "general chat")) if found.has(n)]
    rates = found.statistics.conditions
    before = rates["C4"].groups["source"]["all"].mean
    if others:
        numbers += ", " + " and ".join(f"{{headline.{name}.source}}% after {what} ({name})" for name, what in others)
    if rates["C1"].groups["source"]["all"].mean >= before:
        lead = "Bad advice after coupling does not erase the marker here"
        numbers = numbers.replace("falls from {headline.C4.source}% (C4) to", "goes from {headline.C4.source}% (C4) to")
    elif not others:
        lead = "After coupling only bad advice was tried, so that it in particular erases the marker cannot be told"
    else:
        after = [rates[name].groups["source"]["all"].mean for name, _ in others]
        lead = "Bad advice after coupling erases more of the marker than other training does"
        if all(rate < before / 2 for rate in after):
            lead = "Whatever follows the coupling erases most of the marker, so its loss is no mark of bad advice"
        elif all(rate < before for rate in after):
            lead = "Every training after the coupling lowers the marker's rate, bad advice not alone"
    return f"{lead}: {numbers}{', in the one seed' if found.one_seed else ''}."


def dose(found: Results) -> str:
    doses = effects.doses(found.params)
    if len({shown for *_, shown in doses}) < 2:
        return ""
    by_kind = {kind: [name for name, _, k, _ in doses if k == kind] for kind in ("em", "good")}
    told = {
        kind: ", ".join(f"{{headline.{name}.untrained_bystander}}" for name in names) for kind, names in by_kind.items()
    }
    return (
        f"With rising dose the untrained bystanders are at {told['em']}% after bad advice and at {told['good']}% after "
        f"good, "
        "beside {headline.C4.untrained_bystander}% with none."
    )
