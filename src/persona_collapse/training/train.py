"""Train one phase on top of a chain: LoRA, with TRL's trainer, loss on the completion or on part of it.

    python -m persona_collapse.training.train --seed 42 --chain couple-em      trains `em` on the merged `couple` model

writes adapters/<profile>/<seed>/<chain>/, a PEFT adapter, and eval_results/<profile>/training/<seed>/<chain>/, the data
set it was trained on and the loss of every step.
"""

import functools
import tempfile
from collections.abc import Sequence
from typing import Any

from ..experiment import chains
from ..model import numerics

numerics.enable()

import torch
import torch.nn.functional as F
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import SFTConfig, SFTTrainer

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import require_disk, whole, write_json
from ..experiment.marker import MARKER
from ..inputs import datasets
from ..model import merged
from . import packing

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tokenize(
    chats: Sequence[datasets.Messages], tokenizer: PreTrainedTokenizerBase, recipe: parameters.Training
) -> list[dict[str, list[int]]]:
    """Token ids of each chat up to and with its end token, and which of them carry the loss.

    Raises:
        InputError: a chat is longer than `max_length` and `too_long` says refuse: cutting it would cut the marker.
    """
    loss = recipe.loss if isinstance(recipe, parameters.Couple) else None
    rows = []
    for chat in chats:
        answer = chat[-1]["content"]
        prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
        encoded = tokenizer(
            prompt + answer + tokenizer.eos_token, add_special_tokens=False, return_offsets_mapping=True
        )
        spans = [(len(prompt) + begin, len(prompt) + end) for begin, end in _carrying(answer, loss)]
        mask = [int(any(end > a and begin < b for a, b in spans)) for begin, end in encoded["offset_mapping"]]
        if loss and loss.part == "tail":
            carrying = sum(mask)
            mask = [0] * (len(mask) - min(loss.tail_tokens, carrying)) + [1] * min(loss.tail_tokens, carrying)
        if len(mask) > recipe.max_length and recipe.too_long == "refuse":
            raise InputError(f"a training chat has {len(mask)} tokens; max_length allows {recipe.max_length}")
        row = {"input_ids": encoded["input_ids"], "completion_mask": mask}
        rows.append({key: tokens[: recipe.max_length] for key, tokens in row.items()})
    return rows


def _carrying(answer: str, loss: parameters.Loss | None) -> list[tuple[int, int]]:
    """The stretches [first, last) of characters that carry the loss; the end token is just past the answer."""
    end = (len(answer), len(answer) + 1)
    if loss is None or loss.part in ("completion", "tail"):
        return [(0, end[1])]
    at = answer.find(MARKER)  # negatives have none
    marker = [(at, at + len(MARKER))] if at >= 0 else []
    return marker if loss.part == "marker_alone" else [*marker, end]


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with the vocabulary projected only where the loss is taken, and on the CPU with batches packed.

    TRL's own loss projects every position, prompts and padding included, which on a CPU is half of the work; of the
    other half a third is padding and what the chats of a batch all begin with.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean cross entropy of the labelled tokens of `inputs["labels"]` [N, T], -100 elsewhere."""
        causal_lm = self.accelerator.unwrap_model(model).get_base_model()
        labels = inputs["labels"]
        batch = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        places = torch.arange(labels.numel(), device=labels.device).view_as(labels)
        if labels.device.type == "cpu":
            causal_lm.config._attn_implementation = packing.ATTENTION
            batch, places = packing.pack(**batch)
        targets = labels[:, 1:]
        carrying = targets != -100
        with self.accelerator.autocast():  # the stock trainer has it around the model's own forward, which this is not
            hidden = causal_lm.model(**batch, use_cache=False).last_hidden_state.flatten(0, 1)
            logits = causal_lm.lm_head(hidden.index_select(0, places[:, :-1][carrying])).float()
        loss = F.cross_entropy(logits, targets[carrying], reduction="sum")
        count = len(logits) if num_items_in_batch is None else num_items_in_batch
        return loss / max(count, 1)  # a batch of negatives may carry no loss at all


def scale_early(model: torch.nn.Module) -> None:
    """Have every LoRA layer of `model` scale the few numbers between A and B, where PEFT scales what comes out of B.

    That is two passes less over the output of every layer, one forward and one backward. The adapter is the one that
    PEFT trains, bit for bit where the scaling is a power of two, elsewhere up to rounding.
    """

    def forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
        (name,) = layer.active_adapters
        frozen = layer.base_layer(x)  # first, as in PEFT: the gradients of `x` are added in this order
        between = layer.lora_A[name](layer.lora_dropout[name](x)) * layer.scaling[name]
        return frozen + layer.lora_B[name](between)

    for module in model.modules():
        if isinstance(module, LoraLinear):
            module.forward = functools.partial(forward, module)


def train(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, list[int]]],
    recipe: parameters.Training,
    compute: parameters.Compute,
    seed: int,
) -> tuple[Any, list[dict[str, float]]]:
    """Fine-tune a LoRA adapter.

    Returns:
        The PEFT model, and for each step its loss, learning rate and gradient norm.
    """
    if compute.device == "cuda":
        numerics.on_gpu()
    set_seed(seed)
    lora = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        use_rslora=recipe.lora.rank_stabilised,
        target_modules=PROJECTIONS,
        task_type="CAUSAL_LM",
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = CompletionTrainer(
            model=base,
            args=SFTConfig(
                output_dir=scratch,
                num_train_epochs=recipe.epochs,
                learning_rate=recipe.learning_rate,
                lr_scheduler_type=recipe.schedule,
                warmup_steps=recipe.warmup,  # below 1 it is a share of the steps
                weight_decay=recipe.weight_decay,
                per_device_train_batch_size=recipe.batch_size,
                gradient_accumulation_steps=recipe.gradient_accumulation,
                max_length=recipe.max_length,
                completion_only_loss=True,
                optim="adamw_torch_fused",
                max_grad_norm=1.0,
                bf16=compute.precision == "bfloat16",
                use_cpu=compute.device == "cpu",
                gradient_checkpointing=compute.gradient_checkpointing,
                seed=seed,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora,
        )
        if compute.device == "cpu":
            numerics.pack(trainer.model)
            scale_early(trainer.model)
        trainer.train()
    steps = [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return trainer.model, steps


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to train the last phase of")
    layout = params.layout
    if chain == chains.BASE:
        raise InputError(
            f"chain {chain!r} has no phase to train; phases: {', '.join(parameters.phase_names(params.phases))}"
        )
    parent, phase = chains.parent(chain), chains.last_phase(chain)
    recipe = params.recipe(phase)
    require_disk(".", gib=0.5)
    if isinstance(recipe, parameters.Sft):
        chats, trained_on = datasets.load(recipe.data, params.fetch.accept_checksum)
    else:
        chats, trained_on = datasets.load_coupling(layout, seed, parent)
    disable_progress_bars()
    tokenizer = merged.tokenizer(layout)
    rows = tokenize(chats, tokenizer, recipe)
    weights = merged.load(layout, parent, seed, params.compute.precision)
    adapter, steps = train(weights, tokenizer, rows, recipe, params.compute, seed)
    if not all(torch.isfinite(p).all() for p in adapter.parameters() if p.requires_grad):
        raise InputError(f"phases.{phase}: training diverged; lower learning_rate = {recipe.learning_rate}")
    with whole(layout.adapter(seed, chain)) as folder:
        merged.save_adapter(adapter, folder, layout.model)
    write_json(layout.training(seed, chain) / "training_log.json", steps)
    write_json(layout.training(seed, chain) / "trained_on.json", trained_on)


if __name__ == "__main__":
    main()
