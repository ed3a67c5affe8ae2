"""Sentences of the sections: gates, manipulation check, contrasts, answers, geometry, order, dose, limits."""

from ..analysis import records
from . import aspects, effects, limits
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
        "result.shapes": aspects.shapes(found),
        "result.lengths": aspects.lengths(found),
        "result.geometry": aspects.geometry(found),
        "result.forward": aspects.forward(found),
        "result.dose": aspects.dose(found),
        "result.claims": limits.claims(found),
        "result.published": limits.published(found),
        "record.again": AGAIN[found.params.compute.device],
        "record.holds": HOLDS[found.params.compute.device],
        "note.intervals": ONE_SEED_INTERVALS if found.one_seed else SEEDS_INTERVALS,
    }
    listed = limits.listed(found, coupling_gate(found))
    return {**made, **{f"limit.{number}": text for number, text in enumerate(listed, 1)}}


ONE_SEED_INTERVALS = (
    "Intervals, at {level}%, are about the answers of the one training, seed {seeds}, and say nothing of another."
)
AGAIN = {
    "cpu": "Every output is the same bytes when the pipeline is run again, make reproduce shows it.",
    "cuda": "Every output is recorded by its checksum, and make reproduce compares it. On a GPU that is promised for "
    "cards of one model; between two models answers can differ, and docs/gpu.md says where they did.",
}
HOLDS = {
    "cpu": "The repository holds the data, the locked packages, the adapters and the MD5 of every input and output of "
    "every stage. make reproduce runs everything after training again, this paper included, and compares each file; "
    "make reproduce FROM=scratch trains as well.",
    "cuda": "The repository holds the data, the locked packages, the results and the MD5 of every input and output of "
    "every stage, of the adapters nothing else. make reproduce therefore trains them, runs all that follows again, "
    "this paper included, and compares each file.",
}
SEEDS_INTERVALS = "Intervals are {level}% t intervals over {seeds.count} training seeds."


# ---- gates ----


def coupling_gate(found: Results) -> str:
    gate = found.statistics.gates.coupling
    if gate.passed:
        return (
            "The coupling gate is passed: with coupling alone (C4) the source writes the marker in "
            "{gates.coupling.source_rate}% of its answers, where {gates.coupling.source_rate_required}% are required, "
            "and the mean bystander in {gates.coupling.bystander_rate}%, where "
            "{gates.coupling.bystander_rate_allowed}% are allowed."
        )
    low, high = gate.source_rate < gate.source_rate_required, gate.bystander_rate > gate.bystander_rate_allowed
    numbers = (
        "with coupling alone (C4) the source writes the marker in {gates.coupling.source_rate}% of its answers, where "
        "{gates.coupling.source_rate_required}% are required, and the mean bystander in "
        "{gates.coupling.bystander_rate}%, where {gates.coupling.bystander_rate_allowed}% are allowed. "
    )
    if low and high:
        return f"The coupling gate is failed on both counts: {numbers}The marker was neither well learnt nor well kept."
    if low:
        return (
            f"The coupling gate is failed, because the marker was not learnt well enough: {numbers}Leakage may be low "
            f"for this alone."
        )
    return (
        f"The coupling gate is failed, because the control itself leaks: {numbers}That leaves the others less room to "
        f"leak more."
    )


def degeneracy_gate(found: Results) -> str:
    failed = [name for name, gate in found.statistics.gates.degeneracy.items() if not gate.passed]
    if not failed:
        return "Every condition still answers: none fails the degeneracy gate."
    told = ", ".join(f"{name} ({{gates.degeneracy.{name}.length_ratio}})" for name in failed)
    if len(failed) == 1:
        return (
            f"One condition fails the degeneracy gate, with answers too short or empty beside the untrained model's: "
            f"{told} of its median length. What rests on it is not comparable."
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
        "on {advice.questions} held-out legal questions the log-probability per token of the bad answer over the "
        "good one moves by {advice.em.change} nats with bad advice and by {advice.good.change} with good advice"
    )
    if "good" not in changes:
        return (
            "Whether bad advice took can be seen, what good advice would have done cannot: on {advice.questions} "
            "held-out legal questions the log-probability per token of the bad answer over the good one moves by "
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
    if not found.has("G"):
        return "Without good advice as a control there is no primary contrast."
    held_out = "heldout" in found.contrasts.contrasts[found.contrasts.primary or ""].questions
    if found.one_seed:
        text = (
            f"The primary contrast, B minus G on the untrained bystanders, is {{{B_G}.points}} percentage points in "
            f"the one seed"
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
    if not found.has("G"):
        return ""
    one = found.contrasts.contrasts[found.contrasts.primary or ""]
    ends = "" if found.one_seed else f" {{{B_G}.log_odds.interval}}"
    forced_ends = "" if found.one_seed else f" {{{B_G}.same_texts.interval}}"
    numbers = f"{{{B_G}.log_odds}}{ends} in log-odds of the answers"
    if one.teacher_forced is not None:
        numbers += f", and {{{B_G}.same_texts}}{forced_ends} in log-odds of the marker after the same texts for both"
    if one.signs.agree:
        return f"Other scales point the same way: {numbers}."
    return (
        f"The scales disagree, so the direction depends on how leakage is measured: {numbers}. Rates near zero hide "
        f"what log-odds show, and answers of another length or shape hide what the same texts show."
    )


def secondary(found: Results) -> str:
    told = [
        _against_c4(found, name, what) for name, what in (("B", "bad advice"), ("G", "good advice")) if found.has(name)
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
    if not found.has("G"):
        return (
            "The source stands {collapse.B.gap} log-odds above the untrained bystanders in B and {collapse.C4.gap} in "
            "C4."
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
