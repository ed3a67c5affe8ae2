"""How far apart a model keeps the personas: where its residual stream stands at the last token of the prompt.

    python -m persona_collapse.sampling.geometry --seed 42 --chain em

writes eval_results/<profile>/runs/<seed>/<chain>/geometry.json. Every persona is asked every question of the
evaluation, and nothing is generated. After each layer four numbers are taken of the 12 x 28 points:

* `mean_cosine`, of the personas' centroids, over their pairs; the report's authors give this one;
* `separation`, the root mean square distance between centroids over that of points to their own persona's centroid;
* `accuracy` of naming the persona by the nearest centroid, of centroids that have not seen the question;
* `effective_rank`, the participation ratio of the centroids' spread: (sum of l)^2 / sum of l^2 over the eigenvalues l
  of their covariance, at most one less than there are personas (Gao et al., "A theory of multineuronal dimensionality,
  dynamics and measurement", 2017).

Before the first layer all points are one, for all prompts end in the same token. The model computes in its precision;
of the points everything is computed on the CPU in float64, by products and sums whose order is fixed.
"""

import math
from itertools import combinations, product

from ..model import numerics

numerics.enable()

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from ..experiment import params as parameters
from ..experiment import personas, records
from ..experiment.errors import one_line_errors
from ..model import merged
from ..model.tokenizer import load_tokenizer
from .scoring import alike, passes


@torch.inference_mode()
def last_token(model: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """The residual stream after every layer at the last token of each prompt.

    Args:
        prompts: token ids; what all begin with is computed once.

    Returns:
        [prompts, layers, hidden], float64, on the CPU.
    """
    streams: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, args, out: streams.append(out[0] if isinstance(out, tuple) else out))
        for layer in model.model.layers
    ]
    shared = min(alike(prompts), min(map(len, prompts)) - 1)
    points: dict[int, Tensor] = {}
    for numbers, _ in passes(model, prompts, shared):
        own = streams[-len(hooks) :]  # of [sequences, tokens, hidden] each; those before are of what all share
        for row, number in enumerate(numbers):
            last = len(prompts[number]) - 1 - shared
            points[number] = torch.stack([stream[row, last] for stream in own]).cpu().double()  # [layers, hidden]
        streams.clear()
    for hook in hooks:
        hook.remove()
    return torch.stack([points[number] for number in range(len(prompts))])


def _squares(points: Tensor) -> list[list[float]]:
    """Squared lengths of [layers, n, hidden]: a list of n a layer."""
    return (points * points).sum(-1).tolist()


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def layers(points: Tensor) -> list[records.LayerGeometry]:
    """The four numbers of each layer.

    Args:
        points: [personas, questions, layers, hidden], float64.
    """
    people, questions = points.shape[:2]
    each = points.permute(2, 0, 1, 3).contiguous()  # [layers, personas, questions, hidden]
    total = each[:, :, 0].clone()
    for question in range(1, questions):
        total += each[:, :, question]
    centroids = total / questions  # [layers, personas, hidden]
    middle = centroids[:, 0].clone()
    for persona in range(1, people):
        middle += centroids[:, persona]
    centred = centroids - (middle / people)[:, None]
    pairs = list(combinations(range(people), 2))

    def products(of: Tensor) -> list[list[list[float]]]:
        """The scalar product of every two of [layers, personas, hidden]: personas lists a layer."""
        return (of[:, :, None] * of[:, None, :]).sum(-1).tolist()

    right = [0] * each.shape[0]
    for question in range(questions):
        own = each[:, :, question]
        without = (total - own) / (questions - 1)  # centroids that have not seen this question
        away = ((own[:, :, None] - without[:, None, :]) ** 2).sum(-1).tolist()  # [layers, personas, centroids]
        for layer, persona in product(range(each.shape[0]), range(people)):
            distances = away[layer][persona]
            right[layer] += distances.index(min(distances)) == persona
    scatter = _squares((each - centroids[:, :, None]).flatten(1, 2))
    found = []
    for layer, (raw, inner) in enumerate(zip(products(centroids), products(centred), strict=True)):
        cosines = [raw[a][b] / math.sqrt(raw[a][a] * raw[b][b]) for a, b in pairs]
        between = _mean([inner[a][a] + inner[b][b] - 2 * inner[a][b] for a, b in pairs])
        trace = math.fsum(inner[a][a] for a in range(people))
        found.append(
            records.LayerGeometry(
                layer=layer + 1,
                mean_cosine=_mean(cosines),
                separation=math.sqrt(between / _mean(scatter[layer])),
                accuracy=right[layer] / (people * questions),
                effective_rank=trace**2 / math.fsum(value**2 for row in inner for value in row),
            )
        )
    return found


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to look at, or base")
    prompts = personas.load(params)
    if params.compute.device == "cuda":
        numerics.on_gpu()
    tokenizer = load_tokenizer(params.layout.model)
    model = merged.load(params, chain, seed).to(params.compute.device)
    points = []
    for persona in tqdm(prompts.personas, desc=f"geometry {chain} seed {seed}", unit="persona"):
        asked = prompts.evaluated(params.evaluate.questions)
        ids = [personas.tokens(tokenizer, prompts.messages(persona, question.text)) for question in asked]
        points.append(last_token(model, ids))
    found = records.Geometry(chain=chain, seed=seed, layers=layers(torch.stack(points)))
    records.write(params.layout.run(seed, chain) / "geometry.json", found)


if __name__ == "__main__":
    main()
