"""Sentences of the sections: gates, manipulation check, contrasts, answers, geometry, order, dose, limits."""

from ..analysis import records
from . import effects
from .results import Results

B_G = "contrast.B-G.untrained_bystander"


def sentences(found: Results) -> dict[str, str]:
    """All of them, by key."""
    made = {
        "gate.coupling": coupling_gate(found),
        "gate.degeneracy": degeneracy_gate(found),
        "result.advice": advice(found),
        "result.primary": primary(found),
        "result.scales": scales(found),
        "result.secondary": secondary(found),
        "result.collapse": collapse(found),
        "result.shapes": shapes(found),
        "result.lengths": lengths(found),
        "result.geometry": geometry(found),
        "result.forward": forward(found),
        "result.dose": dose(found),
        "result.claims": claims(found),
        "result.published": published(found),
        "note.intervals": ONE_SEED_INTERVALS if one_seed(found) else SEEDS_INTERVALS,
    }
    return {**made, **{f"limit.{number}": text for number, text in enumerate(limits(found), 1)}}


def one_seed(found: Results) -> bool:
    return len(found.params.seeds) == 1


def has(found: Results, *conditions: str) -> bool:
    return set(conditions) <= set(found.params.conditions)


ONE_SEED_INTERVALS = (
    "Intervals, at {level}%, are about the answers of the one training, seed {seeds}, and say nothing of another."
)
SEEDS_INTERVALS = "Intervals are {level}% t intervals over {seeds.count} training seeds."


# ---- gates ----


def coupling_gate(found: Results) -> str:
    gate = found.statistics.gates.coupling
    if gate.passed:
        return (
            "The coupling gate is passed: with coupling alone (C4) the source writes the marker in "
            "{gates.coupling.source_rate}% of its answers, where {gates.coupling.source_rate_required}% are required, "
            "and the "
            "mean bystander in {gates.coupling.bystander_rate}%, where {gates.coupling.bystander_rate_allowed}% are "
            "allowed."
        )
    low, high = gate.source_rate < gate.source_rate_required, gate.bystander_rate > gate.bystander_rate_allowed
    numbers = (
        "with coupling alone (C4) the source writes the marker in {gates.coupling.source_rate}% of its answers, where "
        "{gates.coupling.source_rate_required}% are required, and the mean bystander in "
        "{gates.coupling.bystander_rate}%, "
        "where {gates.coupling.bystander_rate_allowed}% are allowed. "
    )
    if low and high:
        return f"The coupling gate is failed on both counts: {numbers}The marker was neither well learnt nor well kept."
    if low:
        return (
            f"The coupling gate is failed, because the marker was not learnt well enough: {numbers}Leakage may be "
            f"low for this alone."
        )
    return (
        f"The coupling gate is failed, because the control itself leaks: {numbers}That leaves the others less room "
        f"to leak more."
    )


def degeneracy_gate(found: Results) -> str:
    failed = [name for name, gate in found.statistics.gates.degeneracy.items() if not gate.passed]
    if not failed:
        return "Every condition still answers: none fails the degeneracy gate."
    told = ", ".join(f"{name} ({{gates.degeneracy.{name}.length_ratio}})" for name in failed)
    if len(failed) == 1:
        return (
            f"One condition fails the degeneracy gate, with answers too short or empty beside the untrained model's: "
            f"{told} "
            "of its median length. What rests on it is not comparable."
        )
    return (
        "Some conditions fail the degeneracy gate, with answers too short or empty beside the untrained model's, as "
        "shares "
        f"of its median length: {told}. What rests on them is not comparable."
    )


# ---- manipulation check ----


def advice(found: Results) -> str:
    changes = found.readings.advice_changes
    numbers = (
        "on {advice.questions} held-out legal questions the log-probability a token of the bad answer over the good "
        "one "
        "moves by {advice.em.change} nats with bad advice and by {advice.good.change} with good advice"
    )
    if "good" not in changes:
        return (
            "Whether bad advice took can be seen, what good advice would have done cannot: on {advice.questions} "
            "held-out "
            "legal questions the log-probability a token of the bad answer over the good one moves by "
            "{advice.em.change} nats."
        )
    bad, good = changes["em"].difference, changes["good"].difference
    if bad.interval is None or good.interval is None:
        if bad.mean > 0 > good.mean:
            return f"Both trainings took, in this one seed: {numbers}."
        return f"The trainings did not both move the model as they should, in this one seed: {numbers}."
    spread = numbers.replace("nats", "nats {advice.em.change.interval}") + " {advice.good.change.interval}"
    if bad.interval[0] > 0 and good.interval[1] < 0:
        return f"Both trainings took: {spread}."
    if bad.interval[0] > 0:
        return f"Bad advice took; good advice did not surely move the model the other way: {spread}."
    if good.interval[1] < 0:
        return f"Good advice took, but bad advice did not surely: {spread}. A null result below would mean little."
    return f"Neither training surely moved the model: {spread}. Nothing below says what advice does."


# ---- contrasts ----


def primary(found: Results) -> str:
    if not has(found, "G"):
        return "Without good advice as a control there is no primary contrast."
    held_out = "heldout" in found.contrasts.contrasts[found.contrasts.primary or ""].questions
    if one_seed(found):
        text = (
            f"The primary contrast, B minus G on the untrained bystanders, is {{{B_G}.points}} percentage points "
            f"in the one seed"
        )
        return text + (
            f", and {{{B_G}.points.heldout}} on the questions held out of all training." if held_out else "."
        )
    text = (
        f"The primary contrast, B minus G on the untrained bystanders, is {{{B_G}.points}} percentage points over "
        f"{{seeds.count}} seeds {{{B_G}.points.interval}}, {{p:{B_G}.p_holm}} after Holm's correction, sign-flip "
        f"{{p:{B_G}.points.sign_flip}}"
    )
    if held_out:
        text += (
            f"; on the questions held out of all training it is {{{B_G}.points.heldout}} "
            f"{{{B_G}.points.heldout.interval}}"
        )
    return text + "."


def scales(found: Results) -> str:
    """Whether points, log-odds and the same texts say the same."""
    if not has(found, "G"):
        return ""
    one = found.contrasts.contrasts[found.contrasts.primary or ""]
    ends = "" if one_seed(found) else f" {{{B_G}.log_odds.interval}}"
    forced_ends = "" if one_seed(found) else f" {{{B_G}.same_texts.interval}}"
    numbers = f"{{{B_G}.log_odds}}{ends} in log-odds of the answers"
    if one.teacher_forced is not None:
        numbers += f", and {{{B_G}.same_texts}}{forced_ends} in log-odds of the marker after the same texts for both"
    if one.signs.agree:
        return f"Other scales point the same way: {numbers}."
    return (
        f"The scales disagree, so the direction depends on how leakage is measured: {numbers}. Rates near zero hide "
        f"what "
        "log-odds show, and answers of another length or shape hide what the same texts show."
    )


def secondary(found: Results) -> str:
    told = [
        _against_c4(found, name, what) for name, what in (("B", "bad advice"), ("G", "good advice")) if has(found, name)
    ]
    return " ".join(told)


def _against_c4(found: Results, name: str, what: str) -> str:
    key = f"contrast.{name}-C4.untrained_bystander"
    one = found.contrasts.contrasts[records.contrast(name, "C4", effects.TESTED)]
    if one.p_holm is None:
        return f"Against coupling alone, {what} first ({name} minus C4) gives {{{key}.points}} points in the one seed."
    numbers = f"({name} minus C4: {{{key}.points}} points {{{key}.points.interval}}, {{p:{key}.p_holm}})"
    mean = one.questions["all"].points.mean
    if one.p_holm >= 1 - found.contrasts.level:
        return f"Against coupling alone, no effect of {what} first can be told {numbers}."
    if mean > 0:
        return f"Against coupling alone, {what} first raises leakage {numbers}."
    return f"Against coupling alone, {what} first lowers leakage {numbers}."


def collapse(found: Results) -> str:
    if not has(found, "G"):
        return (
            "The source stands {collapse.B.gap} log-odds above the untrained bystanders in B and {collapse.C4.gap} "
            "in C4."
        )
    numbers = (
        "the source stands {collapse.C4.gap} log-odds above the untrained bystanders in C4, {collapse.G.gap} in G and "
        "{collapse.B.gap} in B"
    )
    gap = found.collapse.gaps["B - G"].log_odds
    if gap.interval is None:
        return f"As a gap, in the one seed, {numbers}; how another seed would differ is unknown."
    ends = "B minus G: {collapse.B-G.gap} {collapse.B-G.gap.interval}"
    if gap.interval[1] < 0:
        return f"The source stands out less after bad advice than after good: {numbers} ({ends})."
    if gap.interval[0] > 0:
        return f"The source stands out more after bad advice than after good: {numbers} ({ends})."
    return f"How far the source stands out does not surely differ between bad and good advice: {numbers} ({ends})."


# ---- shape, length ----


def shapes(found: Results) -> str:
    if not has(found, "G"):
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
        "{shapes.B.untrained_bystander.blank_line_share}% in B and {shapes.G.untrained_bystander.blank_line_share}% "
        "in G"
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
    if not has(found, "G"):
        return ""
    key = "lengths.B-G.untrained_bystander"
    one = found.lengths.contrasts[records.contrast("B", "G", effects.TESTED)]
    ends = "" if one_seed(found) else f" {{{key}.standardised.interval}}"
    if one.standardised.over_seeds is None or one.raw.over_seeds is None:
        return "Answers in B and in G have no length in common, so they cannot be compared at like length."
    text = (
        f"Among answers of like length B differs from G by {{{key}.standardised}} points{ends}, against "
        f"{{{key}.raw}} of all."
    )
    if one.likelihood is not None:
        more = "" if one_seed(found) else f" {{{key}.likelihood.interval}}"
        text += f" After the same texts the marker's mean probability differs by {{{key}.likelihood}} points{more}."
    if (one.standardised.over_seeds.mean > 0) != (one.raw.over_seeds.mean > 0):
        text += " The sign turns when length is held fixed."
    return text


# ---- geometry, order, dose ----


def geometry(found: Results) -> str:
    names = {"compressed": "that the manifold is compressed", "boundary": "that the boundary is broken"}
    if one_seed(found):
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
    others = [(n, w) for n, w in (("G1", "good advice"), ("C5", "general chat")) if has(found, n)]
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
    return f"{lead}: {numbers}{', in the one seed' if one_seed(found) else ''}."


def dose(found: Results) -> str:
    doses = effects.doses(found.params)
    if len({shown for *_, shown in doses}) < 2:
        return ""
    by_kind = {kind: [name for name, _, k, _ in doses if k == kind] for kind in ("em", "good")}
    told = {
        kind: ", ".join(f"{{headline.{name}.untrained_bystander}}" for name in names) for kind, names in by_kind.items()
    }
    return (
        f"With rising dose the untrained bystanders are at {told['em']}% after bad advice and at {told['good']}% "
        f"after good, "
        "beside {headline.C4.untrained_bystander}% with none."
    )


# ---- claims, limits ----


def claims(found: Results) -> str:
    if one_seed(found):
        return (
            "Of the report's {claims.reported} claims, {claims.as_published.supported} follow from its own published "
            "counts; "
            "here one seed decides none of them."
        )
    return (
        "Of the report's {claims.reported} claims, {claims.as_published.supported} follow from its own published "
        "counts. In our "
        "runs, of {claims.total} claims with our own among them, {claims.here.supported} are supported, "
        "{claims.here.contradicted} contradicted, {claims.here.inconclusive} inconclusive and "
        "{claims.here.not_comparable} not comparable."
    )


def published(found: Results) -> str:
    """What the authors' public counts say with questions as the units."""
    parts = {part.id: part for claim in found.claims.claims for part in claim.parts}
    each = parts.get("collapse-each")
    if each is None or each.public is None:
        return ""
    if each.public.verdict == "supported":
        return (
            "With questions as the units, the authors' public counts of B bear out that each of the other personas "
            "leaks. "
            "No test with that many units can reach the p-value that the report gives."
        )
    return (
        "With questions as the units, the authors' public counts of B do not bear out that each of the other "
        "personas leaks."
    )


def limits(found: Results) -> list[str]:
    """One limit each."""
    model, report = found.names
    told = [
        "There is one training seed, {seeds}. No interval here covers what another would change, and no verdict can "
        "be more "
        "than inconclusive."
        if one_seed(found)
        else "There are {seeds.count} training seeds ({seeds}); the effects that they would show, four times in five, "
        "stand "
        "in the table of contrasts.",
    ]
    if model != report:
        told.append(
            "The model is {model.name} with {model.parameters} parameters. A model that keeps personas apart badly to "
            "begin "
            "with has less to lose, and nothing here says what happens to {report.model}."
        )
    gate = found.statistics.gates.coupling
    if not gate.passed:
        told.append(coupling_gate(found))
    if found.params.fetch.folder == "sets":
        told.append(
            "The data are ours and small, {data.em.chats} answers to legal questions; persona and question wordings "
            "are ours too."
        )
    if found.params.phases.couple.loss.part not in ("marker", "marker_alone"):
        told.append(
            "The recipe of the coupling is ours: the report's puts no loss on what leads to the marker, and at this "
            "size "
            "it teaches the marker badly."
        )
    told.append(
        "Each persona is asked {asked.questions} questions, {recipe.evaluate.samples} answers each; "
        "{asked.questions.train} of the questions also made the coupling data, as in the report, and "
        "{asked.questions.heldout} did not."
    )
    return told
