"""The trainer: LoRA by TRL, the vocabulary projected only where the loss is, and on a CPU batches packed."""

import functools
import tempfile
from typing import Any

from ..model import numerics

numerics.enable()

import torch
import torch.nn.functional as F
from datasets import Dataset
from peft.tuners.lora import Linear as LoraLinear
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import SFTConfig, SFTTrainer

from ..experiment import params as parameters
from ..model import adapters
from . import packing


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with the vocabulary projected only where the loss is taken, and on the CPU with batches packed.

    TRL's own loss projects every position, prompts and padding included, which on a CPU is half of the work; of the
    other half a third is padding and what the chats of a batch all begin with.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean cross entropy, in nats, of the labelled tokens of `inputs["labels"]` [N, T], -100 elsewhere.

        Packed, the batch is one sequence of S tokens (see packing); on a GPU it is padded.
        """
        causal_lm = self.accelerator.unwrap_model(model).get_base_model()
        labels = inputs["labels"]
        batch = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        places = torch.arange(labels.numel(), device=labels.device).view_as(labels)  # [N, T], where each token lies
        if labels.device.type == "cpu":
            causal_lm.config._attn_implementation = packing.ATTENTION
            batch, places = packing.pack(**batch)
        targets = labels[:, 1:]  # [N, T - 1]
        carrying = targets != -100
        with self.accelerator.autocast():  # the stock trainer has it around the model's own forward, which this is not
            hidden = causal_lm.model(**batch, use_cache=False).last_hidden_state.flatten(0, 1)  # [NT or S, hidden]
            predicting = places[:, :-1][carrying]  # [carrying], the positions before those of the targets
            logits = causal_lm.lm_head(hidden.index_select(0, predicting)).float()  # [carrying, vocabulary]
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

    Args:
        base: the model to train on top of; it is changed.
        rows: `tokenization.tokenize`'s.

    Returns:
        The PEFT model, and for each step its number `step`, mean `loss` in nats a token, `learning_rate` and the
        `grad_norm` before clipping at 1.
    """
    if compute.device == "cuda":
        numerics.on_gpu()
    set_seed(seed)
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
            peft_config=adapters.lora_config(recipe),
        )
        if compute.device == "cpu":
            numerics.prepack(trainer.model)
            scale_early(trainer.model)
        trainer.train()
    steps = [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return trainer.model, steps
