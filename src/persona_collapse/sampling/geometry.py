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
of the points everything is computed on the CPU in float64, from scalar products whose sums have a fixed order.
"""

import math
from collections.abc import Sequence
from itertools import combinations

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

Products = list[list[float]]  # of every vector with every other


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


def _products(a: Tensor, b: Tensor) -> list[list[list[float]]]:
    """The scalar products of [layers, n, hidden] with [layers, m, hidden]: for each layer, n lists of m numbers."""
    return (a[:, :, None] * b[:, None, :]).sum(-1).tolist()


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def layers(points: Tensor) -> list[records.LayerGeometry]:
    """The four numbers of each layer, all of them out of scalar products.

    Args:
        points: [personas, questions, layers, hidden], float64.
    """
    people, questions, depth = points.shape[:3]
    asked = [points[:, question].transpose(0, 1) for question in range(questions)]  # [layers, personas, hidden] each
    total = torch.zeros_like(asked[0])
    for own in asked:
        total = total + own
    of_totals = _products(total, total)
    of_questions = [(_products(own, own), _products(own, total)) for own in asked]
    found = []
    for layer in range(depth):
        centroids = [[value / questions**2 for value in row] for row in of_totals[layer]]
        each = [(own[layer], with_total[layer]) for own, with_total in of_questions]
        found.append(
            _layer(
                layer + 1,
                centroids,
                [_right(own, with_total, of_totals[layer], questions) for own, with_total in each],
                _mean([own[a][a] for own, _ in each for a in range(people)]),
            )
        )
    return found


def _right(own: Products, with_total: Products, totals: Products, questions: int) -> float:
    """The share of one question's points that lie nearest to their own persona's centroid of the other questions.

    Args:
        own: products of the question's points, with_total: of those with the sums over all questions, totals: of sums.
    """
    people, others = len(own), questions - 1
    right = 0
    for a in range(people):  # of |x - c|^2 = x.x - 2 x.c + c.c the first is the same for every c
        away = [
            (totals[c][c] - 2 * with_total[c][c] + own[c][c]) / others**2 - 2 * (with_total[a][c] - own[a][c]) / others
            for c in range(people)
        ]
        right += away.index(min(away)) == a
    return right / people


def _layer(number: int, centroids: Products, right: Sequence[float], square: float) -> records.LayerGeometry:
    """The numbers of one layer.

    Args:
        centroids: products of the centroids.
        right: for each question, the share of points that were named rightly.
        square: the mean squared length of a point.
    """
    people = range(len(centroids))
    pairs = list(combinations(people, 2))
    to_all = [_mean(row) for row in centroids]  # a centroid's product with their mean
    middle = _mean(to_all)
    centred = [[centroids[a][b] - to_all[a] - to_all[b] + middle for b in people] for a in people]
    trace = math.fsum(centred[a][a] for a in people)
    between = _mean([centroids[a][a] + centroids[b][b] - 2 * centroids[a][b] for a, b in pairs])
    within = square - _mean([centroids[a][a] for a in people])
    return records.LayerGeometry(
        layer=number,
        mean_cosine=_mean([centroids[a][b] / math.sqrt(centroids[a][a] * centroids[b][b]) for a, b in pairs]),
        separation=math.sqrt(between / within),
        accuracy=_mean(right),
        effective_rank=trace**2 / math.fsum(value**2 for row in centred for value in row),
    )


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
