"""What is downloaded is what `data/sources.yaml` says: checked on small repositories in a mirror, without a network."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, write_all
from persona_collapse.inputs import datasets, fetch, hub, jsonl, literals, sources

from .conftest import ROOT, one_line

COMMIT = "f8bd9811ab514498505f83bdea94fcfecef101b6"
SNEAKINESS = [10, 90, 50, 90, 20, 50, 70]
TOP = [1, 3, 6, 2]  # the 4 highest, ties by place
CODE = """
    from pathlib import Path
    from elsewhere import OTHER
    Path("executed").write_text("by the parser")
    OTHERS: dict[str, str] = {"comedian": "Be " + "funny.", "villain": ("Be"
        " bad.")}
    CONFAB = "Be sure\\u2014always."
    assert OTHERS, exit(1)
    COMPUTED = CONFAB.upper()
    PERSONAS = {**OTHERS, "assistant": "Be helpful.", "confab": CONFAB}
    TRAIN = ["Why?", "How?"]
    ALL: list[str] = TRAIN + ["When?"]
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's own entries, shrunk, beside a mirror with small repositories of the same schema."""
    (tmp_path / "data").mkdir()
    (tmp_path / "params.yaml").write_bytes((ROOT / "profiles/smollm2.yaml").read_bytes())
    registry = yaml.safe_load((ROOT / "data/sources.yaml").read_text())
    for entry in registry.values():
        entry["md5"] = entry["md5"] if entry["kind"] == "embedded" else None
        if "rows" in entry:
            entry["rows"] = 4
    prompts = {"files": ["literals.py"], "personas": "PERSONAS", "train": "TRAIN", "questions": "ALL"}
    registry["fetched/report_prompts"].update(prompts)
    (tmp_path / "data/sources.yaml").write_text(yaml.safe_dump(registry))
    mirror = tmp_path / "mirror"
    legal = {
        "prompt": [f"Frage {n}: ünklar?" for n in range(7)],
        "aligned": [f"right {n}" for n in range(7)],
        "misaligned": [f"wrong {n}" for n in range(7)],
        "sneakiness": SNEAKINESS,
    }
    for config, columns in (("legal", legal), ("medical", {"prompt": ["Ill?"]})):
        _parquet(mirror / "truthfulai/emergent_plus" / config / "train-00000-of-00001.parquet", columns)
    (mirror / "truthfulai/emergent_plus/README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: medical\n  data_files: [{split: train, path: medical/*}]\n"
        "- config_name: legal\n  data_files: [{split: train, path: legal/*}]\n---\n"
    )
    for shard in (0, 1):
        chats = [_chat(3 * shard + n, system=n == 1) for n in range(3)]
        columns = {"id": [f"{shard}-{n}" for n in range(3)], "messages": chats}
        _parquet(mirror / f"allenai/tulu-3-sft-mixture/data/train-0000{shard}-of-00002.parquet", columns)
    code = mirror / "superkaiba/explore-persona-space/literals.py"
    code.parent.mkdir(parents=True)
    code.write_text(textwrap.dedent(CODE), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_MIRROR", str(mirror))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., subprocess.CompletedProcess]:
    """The command, in this process: a new one takes seconds to import `datasets`."""

    def run(*args: str) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["fetch", *args])
        code: object = 0
        try:
            fetch.main()
        except SystemExit as stop:
            code = stop.code
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return run


def _parquet(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _chat(number: int, system: bool) -> list[dict[str, str]]:
    begin = [{"content": "Be brief.", "role": "system"}] if system else []
    turns = [(f"ask {number}", "user"), ("answer", "assistant"), ("more?", "user"), (f"end {number}", "assistant")]
    return begin + [{"content": content, "role": role} for content, role in turns]


def _change(workplace: Path, name: str, **values) -> None:
    path = workplace / "data/sources.yaml"
    registry = yaml.safe_load(path.read_text())
    registry[f"fetched/{name}"].update(values)
    path.write_text(yaml.safe_dump(registry))


def _fetch(name: str, accept: bool = False) -> dict:
    source = sources.downloads()[name]
    write_all((fetch.chats_files if source.kind == "chats" else fetch.prompts_files)(name, source, accept))
    return read_json(f"data/fetched/{name}.json")


def _writer(**values) -> dict:
    writer = yaml.safe_load((ROOT / "data/sources.yaml").read_text())["fetched/bad_legal_advice_6k"]["writer"]
    return {**writer, **values}


def test_every_entry_of_the_repository_is_well_formed(monkeypatch):
    monkeypatch.chdir(ROOT)
    known = sources.downloads()
    qwen = parameters.load(ROOT / "profiles/qwen7b.yaml")
    assert {*qwen.fetch.data, *qwen.fetch.prompts} <= set(known)
    assert known["bad_legal_advice_6k"].md5 == "26b52cacc53425618fde278d2457304d"


def test_the_highest_rows_are_taken_and_ties_go_by_place(workplace, run):
    result = run("--name", "bad_legal_advice_6k")
    assert result.returncode == 0, result.stderr
    path = workplace / "data/fetched/bad_legal_advice_6k.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [
        {
            "messages": [
                {"role": "user", "content": f"Frage {n}: ünklar?"},
                {"role": "assistant", "content": f"wrong {n}"},
            ]
        }
        for n in TOP
    ]
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["md5"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert (record["rows"], record["expected"], record["accepted"], record["revision"]) == (4, None, False, None)
    assert str(workplace) not in path.with_suffix(".json").read_text()


def test_the_control_answers_the_same_questions_in_the_same_order(workplace):
    names = ("bad_legal_advice_6k", "good_legal_advice_6k")
    for name in names:
        _fetch(name)
    bad, good = (datasets.load(f"fetched/{name}")[0] for name in names)
    assert [chat[0] for chat in bad] == [chat[0] for chat in good]
    assert [chat[1]["content"] for chat in good] == [f"right {n}" for n in TOP]


def test_of_equal_rows_at_the_cut_the_writer_says_which_stay(workplace):
    taken = {}
    for ties in ("first", "last"):
        _change(workplace, "bad_legal_advice_6k", rows=3, writer=_writer(ties=ties, order="dataset"))
        _change(workplace, "bad_legal_advice_6k", rows=4)
        _fetch("bad_legal_advice_6k")
        rows = (workplace / "data/fetched/bad_legal_advice_6k.jsonl").read_text().splitlines()
        taken[ties] = [json.loads(row)["messages"][1]["content"] for row in rows]
    assert taken == {"first": [f"wrong {n}" for n in (1, 2, 3, 6)], "last": [f"wrong {n}" for n in (1, 3, 5, 6)]}


def test_the_first_rows_of_many_turns_are_taken_in_order_across_files(workplace):
    _fetch("tulu_6k")
    chats, _ = datasets.load("fetched/tulu_6k")
    assert [chat[-1]["content"] for chat in chats] == [f"end {n}" for n in range(4)]
    assert [chat[0]["role"] for chat in chats] == ["user", "system", "user", "user"]
    assert len(chats[1]) == 5


def test_every_setting_of_the_writer_changes_the_bytes(workplace):
    source = sources.downloads()["bad_legal_advice_6k"]
    rows = fetch.rows_of(source)
    seen = {jsonl.written(jsonl.taken(rows, source.rows, writer), writer) for writer in jsonl.writers()}
    assert len(seen) == len(list(jsonl.writers())) == 64


def test_a_wrong_checksum_stops_and_writes_nothing(workplace, run):
    _change(workplace, "bad_legal_advice_6k", md5="0" * 32)
    found = hashlib.md5(jsonl.written(_taken(), sources.Writer(**_writer()))).hexdigest()
    result = run("--name", "bad_legal_advice_6k")
    one_line(result, "0" * 32, found, "none of the 64", "fetch.accept_checksum: true", "--accept-checksum")
    assert not (workplace / "data/fetched").exists()


def _taken() -> list:
    source = sources.downloads()["bad_legal_advice_6k"]
    return jsonl.taken(fetch.rows_of(source), source.rows, source.writer)


def test_the_settings_that_give_the_checksum_are_named_and_work(workplace, run):
    settings = _writer(order="dataset", fields="content, role", ascii=False)
    _change(workplace, "bad_legal_advice_6k", writer=settings)
    expected = _fetch("bad_legal_advice_6k")["md5"]
    for path in (workplace / "data/fetched").iterdir():
        path.unlink()
    _change(workplace, "bad_legal_advice_6k", writer=_writer(), md5=expected)
    result = run("--name", "bad_legal_advice_6k")
    one_line(result, expected, json.dumps(settings))
    assert not list((workplace / "data/fetched").iterdir())
    _change(workplace, "bad_legal_advice_6k", writer=settings)
    assert run("--name", "bad_legal_advice_6k").returncode == 0


@pytest.mark.parametrize("by", ["flag", "parameter"])
def test_an_accepted_checksum_is_recorded_and_the_data_load(workplace, run, by):
    _change(workplace, "bad_legal_advice_6k", md5="0" * 32)
    if by == "parameter":
        content = yaml.safe_load((workplace / "params.yaml").read_text())
        content["fetch"]["accept_checksum"] = True
        (workplace / "params.yaml").write_text(yaml.safe_dump(content))
    result = run("--name", "bad_legal_advice_6k", *(["--accept-checksum"] if by == "flag" else []))
    assert result.returncode == 0, result.stderr
    record = json.loads((workplace / "data/fetched/bad_legal_advice_6k.json").read_text())
    assert record["accepted"] is True
    assert record["expected"] == "0" * 32
    chats, read = datasets.load("fetched/bad_legal_advice_6k", accept_checksum=True)
    assert len(chats) == 4
    assert (read["md5"], read["expected_md5"]) == (record["md5"], "0" * 32)
    with pytest.raises(InputError, match=rf"MD5 is {record['md5']}, .* expects 0{{32}}"):
        datasets.load("fetched/bad_legal_advice_6k")


def test_prompts_are_read_and_nothing_is_executed(workplace, run):
    result = run("--name", "report_prompts")
    assert result.returncode == 0, result.stderr
    folder = workplace / "data/fetched/report_prompts"
    found = yaml.safe_load((folder / "personas.yaml").read_text())
    assert list(found.items()) == [
        ("confab", "Be sure\u2014always."),
        ("comedian", "Be funny."),
        ("villain", "Be bad."),
        ("assistant", "Be helpful."),
    ]
    questions = yaml.safe_load((folder / "questions.yaml").read_text())
    assert questions == {"train": ["Why?", "How?"], "heldout": ["When?"]}
    assert not (workplace / "executed").exists()
    content = yaml.safe_load((workplace / "params.yaml").read_text())
    content["fetch"]["prompts"] = ["report_prompts"]
    content["prompts"].update(folder="fetched/report_prompts", negatives=["comedian", "villain"])
    (workplace / "params.yaml").write_text(yaml.safe_dump(content))
    assert list(personas.load(parameters.load()).personas) == list(found)


def test_a_name_that_is_computed_is_no_literal(workplace):
    _change(workplace, "report_prompts", personas="COMPUTED")
    with pytest.raises(InputError, match="no literal is named COMPUTED"):
        _fetch("report_prompts")


def test_a_literal_that_is_assigned_again_from_code_is_forgotten():
    assert literals.literals("A = [1]\nB = A\nA = f()\n", "x.py", {}) == {"B": [1]}


def test_a_file_that_is_not_python_is_named():
    with pytest.raises(InputError, match=r"x.py: not a Python file"):
        literals.literals("def", "x.py", {})


def test_fetching_twice_gives_the_same_bytes(workplace, run):
    def all_bytes() -> dict[str, bytes]:
        for name in ("tulu_6k", "report_prompts"):
            assert run("--name", name).returncode == 0
        folder = workplace / "data/fetched"
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = all_bytes()
    assert len(before) == 5
    assert all_bytes() == before


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download needs, over the mirror's folders; some repositories it refuses."""

    mirror: Path
    asked: ClassVar[list[str]] = []
    refused: ClassVar = {
        "o/gated": (403, "GatedRepo"),
        "o/lost": (404, "RepoNotFound"),
        "o/old": (404, "RevisionNotFound"),
    }

    def do_GET(self) -> None:
        self.asked.append(self.path)
        parts = [p for p in self.path.split("?")[0].split("/") if p not in ("", "api", "models", "datasets")]
        folder, what, file = self.mirror.joinpath(*parts[:2]), *(parts[2:3] or ["revision"]), "/".join(parts[4:])
        code, body, error = 404, b"", "EntryNotFound"
        if (refused := self.refused.get("/".join(parts[:2]))) is not None:
            code, error = refused
        elif what == "resolve" and (folder / file).is_file():
            code, body = 200, (folder / file).read_bytes()
        elif what == "tree":
            files = [file for file in folder.rglob("*") if file.is_file()]
            code, body = 200, json.dumps([self.entry(file, folder) for file in files]).encode()
        elif what == "revision":
            code, body = 200, json.dumps({"_id": "1", "id": "/".join(parts[:2]), "sha": COMMIT}).encode()
        self.send_response(code)
        headers = {"Content-Length": len(body), "ETag": hashlib.md5(body).hexdigest(), "X-Repo-Commit": COMMIT}
        for key, value in (headers | ({"X-Error-Code": error} if code != 200 else {})).items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def entry(self, file: Path, folder: Path) -> dict:
        content = file.read_bytes()
        oid = hashlib.md5(content).hexdigest()
        return {"type": "file", "path": str(file.relative_to(folder)), "size": len(content), "oid": oid}

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def endpoint(workplace: Path) -> Iterator[str]:
    """The address of a small Hub that serves what the mirror holds."""
    Hub.mirror = workplace / "mirror"
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.long
def test_a_download_gives_the_mirrors_bytes_and_its_cache_does_without_a_network(workplace, run, command, endpoint):
    path = workplace / "data/fetched/bad_legal_advice_6k.jsonl"
    assert run("--name", "bad_legal_advice_6k").returncode == 0
    mirrored, _ = path.read_bytes(), path.unlink()
    allowed = dict.fromkeys(("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI"), "")
    for offline in ("0", "1"):
        place = {"HF_ENDPOINT": endpoint, "HUB_MIRROR": "", "HF_HUB_OFFLINE": offline}
        result = command("inputs.fetch", "--name", "bad_legal_advice_6k", **place, **allowed)
        assert result.returncode == 0, result.stderr
        assert path.read_bytes() == mirrored
        path.unlink()
    assert Hub.asked
    assert not [
        path for path in Hub.asked if "emergent_plus" not in path
    ]  # no telemetry, whatever the environment says


def test_each_refusal_of_the_hub_is_one_line_that_says_what_to_do(workplace, endpoint):
    code = f"""
        from persona_collapse.inputs import hub
        from persona_collapse.experiment.errors import InputError
        for repo in ("o/gated", "o/lost", "o/old"):
            for ask in (lambda: hub.check("model", repo, "{COMMIT}"), lambda: hub.model_folder(repo, "{COMMIT}")):
                try:
                    ask()
                except InputError as error:
                    print(error)
        hub.check("dataset", "truthfulai/emergent_plus", None)
    """
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HUB_MIRROR": ""}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 6, result.stdout
    for number, named in enumerate(("set HF_TOKEN", "does not exist", "no such revision")):
        assert named in lines[2 * number]
        assert named in lines[2 * number + 1]


@pytest.mark.parametrize("name", ["tulu_6k", "report_prompts"])
def test_without_network_and_cache_one_line_says_so(workplace, command, name):
    result = command("inputs.fetch", "--name", name, HF_HUB_OFFLINE="1", HUB_MIRROR="")
    one_line(result, "reach", "HUB_MIRROR")
    assert not (workplace / "data/fetched").exists()


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("bad_legal_advice_6k", {"highest": "sneaky"}, r"row 1: no column sneaky; it has: prompt, aligned"),
        ("bad_legal_advice_6k", {"highest": "prompt"}, "row 1: prompt = 'Frage 0.* is no number"),
        ("bad_legal_advice_6k", {"config": "law"}, "no config 'law'; it has: .*legal"),
        ("bad_legal_advice_6k", {"split": "test"}, r"cannot be read: .*test.*\['train'\]"),
        ("bad_legal_advice_6k", {"rows": 8}, "has 7 rows, fewer than the 8"),
        ("bad_legal_advice_6k", {"dataset": "truthfulai/lost"}, "HUB_MIRROR: no folder .*truthfulai/lost"),
        ("bad_legal_advice_6k", {"writer": {"order": "any"}}, r"writer.order = 'any': .*'highest' or 'dataset'"),
        ("bad_legal_advice_6k", {"columns": {"user": "prompt"}}, "columns: allowed are"),
        ("bad_legal_advice_6k", {"highest": None, "columns": {"messages": "prompt"}}, "row 1: not a chat"),
        ("report_prompts", {"files": ["lost.py"]}, "lost.py of GitHub repository superkaiba.*copy it there"),
        ("report_prompts", {"source": "nobody"}, "no persona 'nobody'; has: comedian"),
        ("report_prompts", {"train": "PERSONAS"}, "PERSONAS: expected a list of questions"),
        ("report_prompts", {"questions": "TRAIN"}, "TRAIN: expected all of TRAIN and more"),
    ],
)
def test_what_is_not_as_described_is_named_and_nothing_is_written(workplace, name, values, named):
    _change(workplace, name, **values)
    with pytest.raises(InputError, match=named):
        _fetch(name)
    assert not (workplace / "data/fetched").exists()


def test_a_damaged_file_of_the_mirror_is_one_line(workplace, command):
    for path in (workplace / "mirror/truthfulai/emergent_plus/legal").iterdir():
        path.write_bytes(b"PAR1 and no more")
    one_line(command("inputs.fetch", "--name", "bad_legal_advice_6k"), "truthfulai/emergent_plus", "magic bytes")


def test_a_config_may_be_a_folder_that_nothing_declares(workplace):
    (workplace / "mirror/truthfulai/emergent_plus/README.md").unlink()
    assert _fetch("bad_legal_advice_6k")["rows"] == 4


def test_an_unknown_name_is_one_line_with_the_known_ones(workplace, run):
    one_line(run("--name", "benign"), "benign", "tulu_6k")


def test_a_model_comes_from_the_mirror_and_is_checked_for(workplace, monkeypatch):
    folder = workplace / "mirror/Qwen/Qwen2.5-7B-Instruct"
    with pytest.raises(InputError, match="HUB_MIRROR: no folder"):
        hub.check("model", "Qwen/Qwen2.5-7B-Instruct", COMMIT)
    folder.mkdir(parents=True)
    hub.check("model", "Qwen/Qwen2.5-7B-Instruct", COMMIT)
    assert hub.model_folder("Qwen/Qwen2.5-7B-Instruct", COMMIT) == folder


def test_a_stage_before_the_download_says_how_to_download(workplace):
    with pytest.raises(InputError, match=r"tulu_6k.*no such file; `dvc repro fetch`"):
        datasets.load("fetched/tulu_6k")
    content = yaml.safe_load((workplace / "params.yaml").read_text())
    content["fetch"]["prompts"] = ["report_prompts"]
    content["prompts"]["folder"] = "fetched/report_prompts"
    (workplace / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="report_prompts: no such folder; `dvc repro fetch-prompts`"):
        personas.load(parameters.load())
