"""Train one phase on top of a chain: LoRA, with TRL's trainer, loss on the completion or on part of it.

    python -m persona_collapse.training.train --seed 42 --chain couple-em      trains `em` on the merged `couple` model

writes adapters/<profile>/<seed>/<chain>/: a PEFT adapter, the loss of every step and what it was trained on. The steps
are `tokenization` (token ids and where the loss lies), `packing` (batches without padding) and `trainer` (the updates).
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
    seed, chain = parameters.arguments(__doc__, "chain", "the chain to train the last phase of")
    params = parameters.load()
    layout, parent = params.layout, chains.parent(chain)
    if not (phases := chains.phases_of(chain)):
        raise InputError(f"chain {chain!r} has no phase to train")
    recipe = params.recipe(phases[-1])
    require_disk(".", gib=0.5)
    match recipe:
        case parameters.Couple():
            chats, trained_on = datasets.load_coupling(layout, seed, parent)
        case parameters.Sft(data=name):
            chats, trained_on = datasets.load(name, params.fetch.accept_checksum)
    disable_progress_bars()
    tokenizer = load_tokenizer(layout.model)
    rows = tokenization.tokenize(chats, tokenizer, recipe)
    base = merged.load(params, parent, seed)
    adapter, steps = trainer.train(base, tokenizer, rows, recipe, params.compute, seed)
    if not all(torch.isfinite(p).all() for p in adapter.parameters() if p.requires_grad):
        raise InputError(f"phase {phases[-1]}: training diverged; lower its learning_rate = {recipe.learning_rate}")
    with whole(layout.adapter(seed, chain)) as folder:
        adapters.save(adapter, folder, layout.model)
        write_json(folder / "training_log.json", steps)
        write_json(folder / "trained_on.json", trained_on)


if __name__ == "__main__":
    main()
