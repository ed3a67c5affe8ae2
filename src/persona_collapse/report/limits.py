"""Sentences on the claims as a whole, on the published counts, and on the limits."""

from .results import Results

# ---- claims, limits ----


def claims(found: Results) -> str:
    if found.one_seed:
        return (
            "Of the report's {claims.reported} claims, {claims.as_published.supported} follow from its own published "
            "counts; here one seed decides none of them."
        )
    return (
        "Of the report's {claims.reported} claims, {claims.as_published.supported} follow from its own published "
        "counts. In our runs {claims.total} claims are judged, with our own among them: supported "
        "{claims.here.supported}, contradicted {claims.here.contradicted}, inconclusive {claims.here.inconclusive}, "
        "not comparable {claims.here.not_comparable}."
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
            "leaks. No test with that many units can reach the p-value that the report gives."
        )
    return (
        "With questions as the units, the authors' public counts of B do not bear out that each of the other personas "
        "leaks."
    )


def listed(found: Results, coupling_gate: str) -> list[str]:
    """One limit each; that of a failed gate is what is said of the gate."""
    model, report = found.names
    told = [
        "There is one training seed, {seeds}. No interval here covers what another would change, and no verdict can be "
        "more than inconclusive."
        if found.one_seed
        else "There are {seeds.count} training seeds ({seeds}). How large a difference has to be for so many to show "
        "it four times in five, the table of contrasts says.",
    ]
    if model != report:
        told.append(
            "The model is {model.name} with {model.parameters} parameters. A model that keeps personas apart badly to "
            "begin with has less to lose, and nothing here says what happens to {report.model}."
        )
    gate = found.statistics.gates.coupling
    if not gate.passed:
        told.append(coupling_gate)
    if found.params.fetch.folder == "sets":
        told.append(
            "The data are ours and small, {data.em.chats} answers to legal questions; persona and question wordings "
            "are ours too."
        )
    if found.params.phases.couple.loss.part not in ("marker", "marker_alone"):
        told.append(
            "The recipe of the coupling is ours, calibrated at this size: the report's puts its loss on the marker and "
            "the end alone, and nothing here was trained so."
        )
    told.append(
        "Each persona is asked {asked.questions} questions, {recipe.evaluate.samples} answers each; "
        "{asked.questions.train} of the questions also made the coupling data, as in the report, and "
        "{asked.questions.heldout} did not."
    )
    return told
