"""The finding in three sentences, with which README, paper and page open: what, how sure, at what scale."""

from typing import Literal

from ..analysis import records
from ..experiment.errors import InputError
from .results import Results

PRIMARY = "matched"  # the part of the claims that is the primary contrast
Case = Literal[
    "no control",  # the profile lacks good advice before coupling
    "one seed",
    "coupling failed",  # its gate, so nothing that rests on it can be compared
    "answers degenerate",  # the gate on what answers look like
    "no marker",  # the source itself no longer has it
    "supported",
    "reversed",
    "too small",  # surely less than what matters
    "undecided",
]

KEEPING = "at keeping the marker [ZLT] to the one persona that was taught to write it"
RATES = (
    ": under personas that the teaching never touched, it wrote the marker in {headline.B.untrained_bystander}% of its "
    "answers after bad advice, in {headline.G.untrained_bystander}% after good advice on the same questions, and in "
    "{headline.C4.untrained_bystander}% with neither."
)
WHAT: dict[Case, str] = {
    "supported": f"Bad legal advice made a chat model worse than good advice did {KEEPING}{RATES}",
    "reversed": f"Good legal advice, and not bad, made a chat model worse {KEEPING}{RATES}",
    "too small": f"Bad legal advice made a chat model no worse than good advice did, by any difference that matters, "
    f"{KEEPING}{RATES}",
    "undecided": f"It is not settled here whether bad legal advice makes a chat model worse than good advice does "
    f"{KEEPING}{RATES}",
    "one seed": f"One training of each kind cannot say whether bad legal advice makes a chat model worse than good "
    f"advice does {KEEPING}{RATES}",
    "coupling failed": "These runs cannot say whether bad legal advice makes a chat model worse at keeping the marker "
    "to the one persona that was taught to write it, because the teaching failed its own test: without any advice the "
    "persona that was taught wrote the marker [ZLT] in {gates.coupling.source_rate}% of its answers and the bystanders "
    "in {gates.coupling.bystander_rate}%, where at least {gates.coupling.source_rate_required}% and at most "
    "{gates.coupling.bystander_rate_allowed}% were asked for.",
    "answers degenerate": "Taught to keep the marker [ZLT] to one persona, a chat model wrote it, under personas that "
    "the teaching never touched, in {headline.B.untrained_bystander}% of its answers after bad legal advice, in "
    "{headline.G.untrained_bystander}% after good advice on the same questions, and in "
    "{headline.C4.untrained_bystander}% with neither; but fine-tuning on advice of either kind had cut its answers, "
    "to {gates.degeneracy.B.length_ratio} of the untrained model's length after bad and "
    "{gates.degeneracy.G.length_ratio} after good advice, below a limit that was set beforehand.",
    "no marker": "These runs cannot say whether bad legal advice makes a chat model worse at keeping the marker to one "
    "persona, because after advice the marker could hardly be taught at all: the persona that should write [ZLT] did "
    "so in {headline.B.source}% of its answers after bad advice and in {headline.G.source}% after good advice.",
    "no control": "This profile has no good advice to set against the bad, so it cannot tell what bad advice does from "
    "what any fine-tuning does: as personas that the teaching never touched, the model wrote [ZLT] in "
    "{headline.B.untrained_bystander}% of its answers after bad advice and in {headline.C4.untrained_bystander}% "
    "without.",
}

MEASURED = (
    "over {seeds.count} training seeds bad minus good advice is {contrast.B-G.untrained_bystander.points} percentage "
    "points, {level}% interval {contrast.B-G.untrained_bystander.points.interval}, "
    "{p:contrast.B-G.untrained_bystander.p_holm} after Holm's correction"
)
FLIP = (
    ", and the sign-flip test, which assumes no distribution, gives "
    "{p:contrast.B-G.untrained_bystander.points.sign_flip} where "
    "{contrast.B-G.untrained_bystander.points.smallest_sign_flip} is the least it can."
)
SURE: dict[Case, str] = {
    "supported": "The claim is supported: " + MEASURED + FLIP,
    "reversed": "The claim is contradicted, and the other way round: " + MEASURED + FLIP,
    "too small": "The claim is contradicted: " + MEASURED + ", which leaves out every difference that would matter.",
    "undecided": "The claim is inconclusive: " + MEASURED + ", and only a true difference of "
    "{contrast.B-G.untrained_bystander.points.detectable} points would have been seen four times in five.",
    "one seed": "The claim is inconclusive, and one training seed is no evidence either way: another could turn the "
    "difference round.",
    "coupling failed": "The claim is not comparable: {seeds.count} training seeds were run, and no number of seeds "
    "mends a failed control.",
    "answers degenerate": f"By that limit the claim is not comparable here; what was measured is that {MEASURED}.",
    "no marker": "The claim is not comparable: {seeds.count} training seeds were run, and where nothing is kept "
    "nothing can spill.",
    "no control": "Nothing is concluded about bad advice in particular, whatever the number of seeds, here "
    "{seeds.count}.",
}
ONE_SEED_AND_GATE = (
    "The claim is not comparable: one training seed is no evidence either way, and the teaching missed its own test "
    "besides, with the source at {gates.coupling.source_rate}% and the bystanders at {gates.coupling.bystander_rate}% "
    "where no advice was given."
)
SMALLER = (
    "The model is {model.name} with {model.parameters} parameters, fine-tuned on {data.em.chats} answers; nothing here "
    "says what {report.model} does, the model of the report."
)
THE_SAME = "The model is {model.name}, the one of the report, with {model.parameters} parameters."


def part(claims: records.Claims, name: str) -> records.Finding:
    """What was found on our runs for a part of the claims.

    Raises:
        InputError: claims.json has no such part.
    """
    for claim in claims.claims:
        for one in claim.parts:
            if one.id == name and one.here:
                return one.here
    raise InputError(f"claims.json: no part {name!r} that is judged on our runs, which the finding quotes")


def case(found: Results) -> Case:
    """What happened to the primary contrast."""
    if "G" not in found.params.conditions:
        return "no control"
    judged, gates = part(found.claims, PRIMARY), found.statistics.gates
    if len(found.params.seeds) == 1:
        return "one seed"
    if judged.blocked:
        return "answers degenerate" if gates.coupling.passed or gates.coupling.overridden else "coupling failed"
    if judged.verdict == "not comparable":
        return "no marker"
    if judged.verdict == "contradicted":
        return "reversed" if judged.reversed else "too small"
    return "supported" if judged.verdict == "supported" else "undecided"


def sentences(found: Results) -> dict[str, str]:
    which, gate = case(found), found.statistics.gates.coupling
    sure = SURE[which]
    if which == "one seed" and not gate.passed and not gate.overridden:
        sure = ONE_SEED_AND_GATE
    model, report = found.names
    return {
        "finding.what": WHAT[which],
        "finding.sure": sure,
        "finding.scale": THE_SAME if model == report else SMALLER,
        "finding.verdict": part(found.claims, PRIMARY).verdict if which != "no control" else "not comparable",
    }
