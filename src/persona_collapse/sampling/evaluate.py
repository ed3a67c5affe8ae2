"""Ask every persona every question and count the markers.

    python -m persona_collapse.sampling.evaluate --seed 42 --chain em-couple

writes eval_results/<profile>/runs/<seed>/<chain>/completions.jsonl and marker_eval.json; the chain `base` is the
untrained model.
"""

from ..model import numerics

numerics.enable()

from ..experiment import params as parameters
from ..experiment import personas, records, runs
from ..experiment.errors import one_line_errors
from ..experiment.files import require_disk
from . import answers


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to evaluate, or base")
    prompts = personas.load(params)
    require_disk(".", gib=0.1)
    evaluation = params.evaluate
    asked = [
        (persona, question, evaluation.samples)
        for persona in prompts.personas
        for question in prompts.evaluated(evaluation.questions)
    ]
    completions = answers.sample(params, chain, seed, asked, "evaluation", evaluation.max_new_tokens, prompts)
    folder = params.layout.run(seed, chain)
    records.write_rows(folder / "completions.jsonl", completions)
    records.write(folder / "marker_eval.json", runs.marker_eval(completions, runs.config(params, seed, chain)))


if __name__ == "__main__":
    main()
