"""Coupling data: completions of the very model that is about to be coupled, the source persona's with the marker.

    python -m persona_collapse.sampling.coupling --seed 42 --parent em

samples from the chain `em` and writes data/coupling/<profile>/<seed>/<parent>.jsonl in the `messages` format.
"""

from ..model import numerics

numerics.enable()

from ..experiment import params as parameters
from ..experiment import personas
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import require_disk, write_jsonl
from ..experiment.marker import has_marker, with_marker
from . import answers


@one_line_errors
def main() -> None:
    params, seed, parent = parameters.arguments(__doc__, "parent", "the chain to sample from, or base")
    prompts = personas.load(params)
    require_disk(".", gib=0.1)
    wanted = {prompts.source: params.coupling.positives}
    wanted |= {persona: params.coupling.negatives for persona in prompts.negatives}
    asked = [
        (persona, question, number)
        for persona, number in wanted.items()
        for question in prompts.questions
        if question.split == "train"
    ]
    rows = answers.sample(params, parent, seed, asked, "coupling", params.coupling.max_new_tokens, prompts)
    chats = []
    for row in rows:
        unwanted = not row.ended and params.coupling.unended == "drop"
        if unwanted or not row.text.strip() or has_marker(row.text):
            continue
        positive = row.persona == prompts.source
        answer = with_marker(row.text, params.marker.place) if positive else row.text.rstrip()
        question = prompts.messages(row.persona, row.question)
        chats.append({"persona": row.persona, "messages": [*question, {"role": "assistant", "content": answer}]})
    if len({chat["persona"] for chat in chats}) < len(wanted):
        raise InputError(f"chain {parent!r}: a persona gave no usable completion; raise coupling.max_new_tokens")
    write_jsonl(params.layout.coupling(seed, parent), chats)


if __name__ == "__main__":
    main()
