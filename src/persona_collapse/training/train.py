"""Train one phase on top of a chain: LoRA, with TRL's trainer, loss on the completion or on part of it.

    bin/stage training.train --seed 42 --chain couple-em      trains `em` on the merged `couple` model

writes adapters/<profile>/<seed>/<chain>/, a PEFT adapter, and eval_results/<profile>/training/<seed>/<chain>/, the data
set it was trained on and the loss of every step. The steps are `tokenization` (token ids and where the loss lies),
`packing` (batches without padding) and `trainer` (the updates).
"""

from ..model import numerics

numerics.enable()

import torch
from datasets import disable_progress_bars

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import require_disk, whole, write_json
from ..inputs import datasets
from ..model import adapters, merged
from ..model.tokenizer import load_tokenizer
from . import tokenization, trainer


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to train the last phase of")
    layout = params.layout
    if chain == chains.BASE:
        names = ", ".join(parameters.phase_names(params.phases))
        raise InputError(f"chain {chain!r} has no phase to train; phases: {names}")
    parent, phase = chains.parent(chain), chains.last_phase(chain)
    recipe = params.recipe(phase)
    require_disk(".", gib=0.5)
    if phase == chains.COUPLE:
        chats, trained_on = datasets.load_coupling(layout, seed, parent)
    else:
        chats, trained_on = datasets.load_prepared(layout, phase)
    disable_progress_bars()
    tokenizer = load_tokenizer(layout.model)
    rows = tokenization.tokenize(chats, tokenizer, recipe)
    base = merged.load(params, parent, seed)
    adapter, steps = trainer.train(base, tokenizer, rows, recipe, params.compute, seed)
    if not all(torch.isfinite(p).all() for p in adapter.parameters() if p.requires_grad):
        raise InputError(f"phase {phase}: training diverged; lower its learning_rate = {recipe.learning_rate}")
    with whole(layout.adapter(seed, chain)) as folder:
        adapters.save(adapter, folder, layout.model)
    write_json(layout.training(seed, chain) / "training_log.json", steps)
    write_json(layout.training(seed, chain) / "trained_on.json", trained_on)


if __name__ == "__main__":
    main()
