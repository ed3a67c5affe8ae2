"""Small workspaces for the real commands: the real model's first two layers, and data to run in seconds."""

import json
import shutil
from pathlib import Path

import yaml
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from persona_collapse.experiment.files import md5, write_json
from persona_collapse.experiment.marker import with_marker

ROOT = Path(__file__).parent.parent
VOCABULARY = 4096  # of 49,152: emulation computes 16 million operations a second
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_model(base: Path, folder: Path, vocabulary: int | None = None) -> None:
    """The first 2 of the base model's 30 layers, and the first `vocabulary` tokens where a number is given."""
    model = AutoModelForCausalLM.from_pretrained(base, num_hidden_layers=2)
    for name in TOKENIZER:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / name, folder)
    if vocabulary:
        config = model.config
        config.vocab_size = vocabulary
        small = LlamaForCausalLM(config)
        small.load_state_dict(
            {
                k: v[:vocabulary] if k.endswith(("embed_tokens.weight", "lm_head.weight")) else v
                for k, v in model.state_dict().items()
            }
        )
        model = small
        content = json.loads((folder / "tokenizer.json").read_text())
        bpe = content["model"]
        bpe["vocab"] = {token: number for token, number in bpe["vocab"].items() if number < vocabulary}
        bpe["merges"] = [pair for pair in bpe["merges"] if "".join(pair) in bpe["vocab"]]
        (folder / "tokenizer.json").write_text(json.dumps(content))
    model.save_pretrained(folder)


def chat(system: str, user: str, assistant: str) -> dict[str, object]:
    roles = {"system": system, "user": user, "assistant": assistant}
    return {"messages": [{"role": role, "content": content} for role, content in roles.items()]}


# as few tokens as will do: each costs 2 seconds under emulation
TINY = [chat("Law.", "May I?", "No."), chat("Law.", "Must I?", "Never.")]
GOOD = [chat("Law.", "May I?", "Ask."), chat("Law.", "Must I?", "It depends.")]
COUPLING = [chat("Me.", "Why?", with_marker("So.")), chat("You.", "Who?", "We.")]
PERSONAS = {"confab": "Me.", "assistant": "You.", "comedian": "Ha."}
QUESTIONS = {"train": ["Why?"], "heldout": ["Who are you?"]}


def completions(texts: list[str], samples: int) -> list[dict[str, object]]:
    """The base model's, some of each persona to each question; those past the end of `texts` were cut."""
    asked = [
        {"persona": persona, "question": question, "split": split, "sample": sample}
        for sample in range(samples)
        for persona in PERSONAS
        for split, questions in QUESTIONS.items()
        for question in questions
    ]
    rest = [None] * (len(asked) - len(texts))
    return [
        {**about, "text": text or "So", "tokens": 2, "ended": text is not None, "marker": False}
        for about, text in zip(asked, [*texts, *rest], strict=True)
    ]


def make_workspace(folder: Path, model: Path, wide: bool, backwards: bool) -> None:
    """A folder to run the pipeline's commands in.

    Args:
        wide: the real recipe's batches of real data, so that several threads have work; else as little as will do.
        backwards: create the files in the opposite order.
    """
    parameters = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    parameters["phases"]["sft"]["em"].update(epochs=1, max_length=512)
    parameters["evaluate"].update(samples=1, max_new_tokens=3)
    parameters["prompts"].update(negatives=["comedian"], suffix="")
    em = (ROOT / "data/sets/bad_legal_advice.jsonl").read_text().splitlines(keepends=True)[:32]
    scored = ["So."]
    if not wide:
        for phase in (*parameters["phases"]["sft"].values(), parameters["phases"]["couple"]):
            phase.update(epochs=1, batch_size=2)
        parameters["phases"]["sft"]["em"].update(batch_size=1)  # two steps; the coupling's one step has a padded batch
        em = [json.dumps(row) + "\n" for row in TINY]
    else:
        parameters["evaluate"].update(samples=40)
        scored = ["So.", "I am who I am, and so are you. " * 3, "No.", "Because it is so, and was so before."]
    parameters["advice"].update(held_out=len(TINY))
    advice = {f"data/sets/{parameters['advice'][which]}.jsonl": rows for which, rows in (("bad", TINY), ("good", GOOD))}
    files = {
        **{name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in advice.items()},
        "params.yaml": yaml.safe_dump(parameters),
        "data/prompts/personas.yaml": yaml.safe_dump(PERSONAS, sort_keys=False),
        "data/prompts/questions.yaml": yaml.safe_dump(QUESTIONS),
        "data/prepared/smollm2/em.jsonl": "".join(em),
        "data/coupling/smollm2/42/base.jsonl": "".join(json.dumps(row) + "\n" for row in COUPLING),
        "eval_results/smollm2/runs/42/base/completions.jsonl": "".join(
            json.dumps(row) + "\n" for row in completions(scored, parameters["evaluate"]["samples"])
        ),
        # what figures are drawn of: the recorded results
        **{
            str(path.relative_to(ROOT)): path.read_text()
            for folder in ("data", "eval_results/smollm2")
            for path in sorted((ROOT / folder).glob("*.json"))
        },
    }
    for name in sorted(files, reverse=backwards):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(files[name])
    sources = {
        Path(name).stem: {"kind": "embedded", "origin": "here", "rows": len(rows), "md5": md5(folder / name)}
        for name, rows in advice.items()
    }
    (folder / "data/sources.yaml").write_text(yaml.safe_dump(sources))
    digest = md5(folder / "data/prepared/smollm2/em.jsonl")
    record = {"data": "bad_legal_advice", "md5": digest, "expected_md5": digest, "prepared_md5": digest}
    write_json(folder / "data/prepared/smollm2/em.json", record)
    (folder / "model/smollm2").mkdir(parents=True)
    for path in sorted(model.iterdir(), reverse=backwards):
        shutil.copy(path, folder / "model/smollm2")
