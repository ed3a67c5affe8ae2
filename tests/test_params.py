"""Bad parameters are named, with what is allowed; nothing runs on a guess."""

import json

import pytest
import yaml

from persona_collapse.experiment import chains, personas
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError

from .conftest import ROOT


def changed(tmp_path, edit):
    content = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    edit(content)
    path = tmp_path / "params.yaml"
    unshared = json.loads(json.dumps(content))  # else what stands in two places is written as an alias
    path.write_text(yaml.safe_dump(unshared, sort_keys=False))
    return path


@pytest.mark.parametrize("profile", sorted(ROOT.glob("profiles/*.yaml")), ids=lambda path: path.stem)
def test_every_profile_is_complete(profile):
    assert parameters.load(profile).profile == profile.stem


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda c: c["phases"]["couple"].update(epoch=3), "phases.couple.epoch = 3: unknown key; allowed here: epochs"),
        (lambda c: c["phases"]["couple"].update(epochs="six"), "phases.couple.epochs = 'six'"),
        (lambda c: c["phases"]["couple"].update(epochs=0), "phases.couple.epochs = 0"),
        (lambda c: c["phases"]["couple"]["loss"].update(part="all"), "'marker_and_gap' or 'marker_alone'"),
        (lambda c: c["evaluate"].pop("samples"), "evaluate.samples: Field required"),
        (lambda c: c["sampling"].update(top_p=1.5), "sampling.top_p = 1.5"),
        (lambda c: c["conditions"].update(D="couple-dpo"), "conditions.D: unknown phase 'dpo'"),
        (
            lambda c: c["conditions"].pop("G1"),
            "pipeline.after must list em, benign: conditions has these",
        ),
        (
            lambda c: c["conditions"].update(D="em-benign"),
            "'em-benign': allowed are <phase>, <phase>-couple and couple-",
        ),
        (lambda c: c["conditions"].update(D="em"), "conditions names a chain twice"),
        (lambda c: c["conditions"].update(D="base"), "'base' is the untrained model and is always evaluated"),
        (lambda c: c["conditions"].update(B="couple"), "conditions.B must be em-couple, as in the report"),
        (lambda c: c["conditions"].update(G="couple-good"), "conditions.G must be good-couple, or another name"),
        (lambda c: c["pipeline"].update(first=["em", "benign"]), "pipeline.first must list em, benign, good"),
        (lambda c: c["pipeline"].update(coupled=["em"]), "pipeline.coupled must list em, benign"),
        (lambda c: c["pipeline"].update(alone=["couple", "em", "em"]), "pipeline.alone must list couple, em"),
        (lambda c: c["phases"]["sft"].update(base=c["phases"]["sft"]["em"]), "not names of SFT phases"),
        (
            lambda c: c["phases"]["sft"]["em"].update(epoch=3),
            "phases.sft.em.epoch = 3: unknown key; allowed here: epochs",
        ),
        (lambda c: c["fetch"].update(folder="fetched"), "does not lie in data/fetched, which fetch.folder names"),
        (lambda c: c["results"].update(bootstrap=10**12), "results.bootstrap = 1000000000000"),
        (lambda c: c["results"].update(level=0.9999999999999999), "results.level = 0.9999999999999999"),
        (lambda c: c.update(seeds=[]), "seeds"),
        (lambda c: c.update(seeds=[1, 1]), "twice"),
        (lambda c: c.update(seeds=[2**32]), "seeds.0 = 4294967296: Input should be less than 4294967296"),
        (lambda c: c["base"].update(sha="0"), "base.sha = '0': unknown key; allowed here: package, parts, sha256"),
        (lambda c: c.update(base={"repo": "owner/name", "revision": "main"}), "base.revision = 'main'"),
        (lambda c: c["compute"].update(precision="bfloat16"), "on a cpu float32 alone"),
        (
            lambda c: c["phases"]["sft"]["em"].update(data="fetched/tulu_6k"),
            "phases.sft.em.data = fetched/tulu_6k is not among",
        ),
        (lambda c: c["prompts"].update(folder="fetched/report_prompts"), "prompts.folder = fetched/report"),
    ],
)
def test_a_bad_value_is_named(tmp_path, edit, named):
    with pytest.raises(InputError) as error:
        parameters.load(changed(tmp_path, edit))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_profile_is_named_with_those_there_are(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/smollm2.yaml").touch()
    path = changed(tmp_path, lambda content: content.update(profile="nope"))
    with pytest.raises(InputError, match="profile = 'nope': there is no such profile; allowed: smollm2"):
        parameters.load(path)


def test_broken_yaml_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("seeds: [42")
    for path in (tmp_path / "params.yaml", tmp_path / "none.yaml"):
        with pytest.raises(InputError, match=str(path)):
            parameters.load(path)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda c: c["prompts"].update(source="wizard"), "prompts.source: 'wizard' cannot be; allowed by .*: confab, "),
        (lambda c: c["prompts"].update(source="assistant"), "prompts.source: 'assistant' cannot be; .*personas.yaml: "),
        (lambda c: c["prompts"].update(negatives=["confab"]), "prompts.negatives: 'confab' cannot be; .*comedian"),
        (lambda c: c["prompts"].update(negatives=["assistant"]), "prompts.negatives: 'assistant' cannot be; allowed"),
        (lambda c: c["prompts"].update(negatives=["comedian"] * 2), "prompts.negatives names one twice"),
    ],
)
def test_a_wrong_persona_is_named(tmp_path, monkeypatch, edit, named):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=named):
        personas.load(parameters.load(changed(tmp_path, edit)))


def test_a_chain_is_its_phases_and_its_adapters():
    assert chains.phases_of("base") == []
    assert chains.prefixes("couple-em") == ["couple", "couple-em"]
    assert [chains.parent(chain) for chain in ("couple-em", "em")] == ["couple", "base"]


def test_an_adapter_comes_after_its_parent(params):
    trained = params.trained
    assert all(chains.parent(chain) in (*trained[:place], "base") for place, chain in enumerate(trained))
    assert set(params.conditions.values()) <= set(trained)
