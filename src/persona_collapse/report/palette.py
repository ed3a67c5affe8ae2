"""What a colour means, in every figure and on the page: what a model was fine-tuned on besides the coupling."""

from collections.abc import Iterable

from ..experiment import chains
from ..experiment.chains import BASE, CONDITIONS, CONTROLS, COUPLE

BAD, GOOD, BENIGN = "em", "good", "benign"  # SFT phases; `em_low` is one of `em` at another dose
NOTHING = ""  # no fine-tuning but the coupling
COLOURS = {  # Okabe and Ito's, distinct for the colour-blind
    NOTHING: "#4a4a4a",
    BAD: "#d55e00",
    GOOD: "#009e73",
    BENIGN: "#0072b2",
    BASE: "#9a9a9a",
}
OTHER = "#cc79a7"  # a phase of one's own
WORDS = {BAD: "bad advice", GOOD: "good advice", BENIGN: "general chat", COUPLE: "coupling", BASE: "nothing"}


def tuned_on(chain: str) -> str:
    """What a chain was fine-tuned on besides the coupling: a key of `COLOURS`, or another phase."""
    if chain == BASE:
        return BASE
    phase = next((name for name in chains.phases_of(chain) if name != COUPLE), NOTHING)
    return phase.partition("_")[0] if phase.partition("_")[0] in COLOURS else phase


def colour(chain: str) -> str:
    return COLOURS.get(tuned_on(chain), OTHER)


def words(phase: str) -> str:
    """A phase in words; one at another dose says so."""
    kind, _, dose = phase.partition("_")
    return f"{WORDS.get(kind, kind)}{f' ({dose} dose)' if dose else ''}"


def described(chain: str) -> str:
    """A chain in words: `em-couple` is "bad advice, then coupling"."""
    phases = chains.phases_of(chain)
    return "no training" if not phases else ", then ".join(map(words, phases)) + (" alone" if len(phases) == 1 else "")


def in_order(conditions: Iterable[str]) -> list[str]:
    """The report's conditions in its order, ours after them, others after these, the untrained model last."""
    some, known = list(conditions), [*CONDITIONS, *CONTROLS]
    return [
        *(name for name in known if name in some),
        *(name for name in some if name not in (*known, BASE)),
        *(name for name in (BASE,) if name in some),
    ]
