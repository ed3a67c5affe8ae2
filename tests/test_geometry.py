"""The geometry of personas: the four numbers of points whose geometry is known, and of a model."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from persona_collapse.sampling.geometry import last_token, layers


def by_definition(points: np.ndarray) -> tuple[float, float, float, float]:
    """The four numbers of [personas, questions, hidden], as the module's docstring defines them."""
    people, questions, _ = points.shape
    centroids = points.mean(1)
    a, b = np.triu_indices(people, 1)
    unit = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    between = ((centroids[a] - centroids[b]) ** 2).sum(-1).mean()
    within = ((points - centroids[:, None]) ** 2).sum(-1).mean()
    right = 0
    for question in range(questions):
        others = np.delete(points, question, 1).mean(1)
        away = np.linalg.norm(points[:, question][:, None] - others[None], axis=-1)
        right += (away.argmin(1) == np.arange(people)).sum()
    eigenvalues = np.linalg.eigvalsh(np.cov(centroids.T))
    return (
        (unit @ unit.T)[a, b].mean(),
        math.sqrt(between / within),
        right / (people * questions),
        eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
    )


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_the_numbers_are_those_of_their_definitions(spread):
    generator = np.random.default_rng(0)
    points = 30 + spread * generator.normal(size=(5, 1, 3, 8)) + generator.normal(size=(5, 7, 3, 8))
    for number, found in enumerate(layers(torch.from_numpy(points))):
        assert found.layer == number + 1
        expected = by_definition(points[:, :, number])
        given = (found.mean_cosine, found.separation, found.accuracy, found.effective_rank)
        assert given == pytest.approx(expected, rel=1e-8)
        assert (found.accuracy == 1) == (spread == 5.0)


def test_two_personas_lie_on_a_line_and_four_corners_span_three_dimensions():
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 50, 1, 4))) / 100
    corners = torch.eye(4, dtype=torch.float64)[:, None, None] + noise
    (pair,) = layers(corners[:2])
    assert pair.effective_rank == pytest.approx(1)
    (simplex,) = layers(corners)
    assert simplex.effective_rank == pytest.approx(3, abs=0.01)


def test_points_are_those_that_transformers_gives_for_each_prompt_alone(two_layers):
    tiny_model = AutoModelForCausalLM.from_pretrained(two_layers)
    prompts = [[5, 6, 7, 8, 9], [5, 6, 8], [5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2]]
    found = last_token(tiny_model, prompts)
    for ids, point in zip(prompts, found, strict=True):
        states = tiny_model.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer, state in enumerate(states[1:-1]):  # the last one has the final norm in it
            torch.testing.assert_close(point[layer].float(), state[0, -1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            tiny_model.model.norm(point[-1].float()[None])[0], states[-1][0, -1], rtol=1e-4, atol=1e-5
        )
