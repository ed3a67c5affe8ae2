"""Bad parameters are named, with what is allowed; nothing runs on a guess."""

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
    path.write_text(yaml.safe_dump(content))
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
        (lambda c: c["phases"]["couple"]["loss"].update(part="all"), "'tail', 'marker' or 'marker_alone'"),
        (lambda c: c["evaluate"].pop("samples"), "evaluate.samples: Field required"),
        (lambda c: c["sampling"].update(top_p=1.5), "sampling.top_p = 1.5"),
        (lambda c: c["conditions"].update(D="couple-dpo"), "unknown phase 'dpo'"),
        (lambda c: c.update(seeds=[]), "seeds"),
        (lambda c: c.update(seeds=[1, 1]), "twice"),
        (lambda c: c.update(seeds=[2**32]), "seeds.0 = 4294967296: Input should be less than 4294967296"),
        (lambda c: c["base"].update(sha="0"), "base.sha = '0': unknown key; allowed here: package, sha256"),
        (lambda c: c.update(model={"repo": "owner/name", "revision": "main"}), "model.revision = 'main'"),
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


def test_broken_yaml_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("seeds: [42")
    for path in (tmp_path / "params.yaml", tmp_path / "none.yaml"):
        with pytest.raises(InputError, match=str(path)):
            parameters.load(path)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda c: c["prompts"].update(source="wizard"), "prompts.source: 'wizard' cannot be; data/prompts/personas.yaml has: "),
        (lambda c: c["prompts"].update(source="assistant"), "prompts.source: 'assistant' cannot be; .* has: confab, "),
        (lambda c: c["prompts"].update(negatives=["confab"]), "prompts.negatives: 'confab' is not a bystander; .* has: .*comedian"),
        (lambda c: c["prompts"].update(negatives=["assistant"]), "prompts.negatives: 'assistant' is not a bystander"),
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
