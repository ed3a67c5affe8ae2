"""A file is whole or absent, and what is read is what it says, or it is named."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from persona_collapse.experiment import files
from persona_collapse.experiment.errors import InputError, one_line_errors
from persona_collapse.experiment.files import require_disk, whole, write_all, write_json, write_text


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """As on a disk that fills: no file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    write_json(path, {"b": 1, "a": 2})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt), whole(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_leaves_every_one_of_several_files_as_it_was(tmp_path, capsys):
    small, large, new = (tmp_path / name for name in ("small", "large", "new"))
    write_all({small: "old", large: b"old"})
    with longest_file(1000), pytest.raises(SystemExit) as stop:
        one_line_errors(write_all)({small: "new", new: "new", large: b"x" * 2000})
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: disk: File too large\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"small": "old", "large": "old"}
    with longest_file(1000), pytest.raises(OSError, match="File too large"):  # one by one: half old and half new
        for path, text in ((small, "new"), (large, "x" * 2000)):
            write_text(path, text)
    assert small.read_text() == "new"
    write_all({small: "newest", large: b"x" * 2000})
    assert (small.read_text(), large.stat().st_size) == ("newest", 2000)


def test_a_folder_in_a_files_place_is_named_and_stays(tmp_path):
    (tmp_path / "out.json").mkdir()
    with pytest.raises(OSError, match="Is a directory") as error:
        write_json(tmp_path / "out.json", {})
    assert error.value.filename == str(tmp_path / "out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "adapter"
    for name in ("first", "second"):
        with whole(folder) as beside:
            beside.mkdir()
            (beside / name).touch()
    with pytest.raises(RuntimeError), whole(folder) as beside:
        beside.mkdir()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_what_killed_runs_left_is_removed_and_what_others_write_is_not(tmp_path):
    path = tmp_path / "out.json"
    with subprocess.Popen(["true"]) as ended:
        pass
    left = [tmp_path / f".{ended.pid}-unfinished-out.json", tmp_path / f".{os.getpid()}-unfinished-out.json"]
    left[0].mkdir()
    (left[0] / "half").touch()
    left[1].write_text("of an earlier process with our number")
    kept = [tmp_path / f".{os.getppid()}-unfinished-out.json", tmp_path / f".{ended.pid}-unfinished-other.json"]
    for file in kept:
        file.touch()
    write_json(path, {})
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [1.5, "é"]})
    write_json(tmp_path / "b", {"y": [1.5, "é"], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_little_disk_is_found_before_work_starts(tmp_path):
    with pytest.raises(InputError, match="needs 1e\\+09 GiB"):
        require_disk(tmp_path, gib=1e9)


@pytest.mark.parametrize("read", [files.read_json, files.read_jsonl, files.read_yaml, files.md5])
def test_no_file_a_folder_or_a_pipe_in_a_files_place_is_named_at_once(tmp_path, read):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    (tmp_path / "loop").symlink_to("loop")
    for name, says in (
        ("none", "no such file"),
        ("folder", "is a folder; expected a file"),
        ("pipe", "is a pipe, a socket or a device"),
        ("/dev/zero", "is a pipe, a socket or a device"),
        ("folder/none", "no such file"),
        ("loop", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert says in str(error.value)
        assert name.replace("\0", r"\x00") in str(error.value)


def test_a_link_to_a_file_is_read(tmp_path):
    write_json(tmp_path / "file", [1])
    (tmp_path / "link").symlink_to("file")
    assert files.read_json(tmp_path / "link") == [1]


ANY = [
    ("[", "Expecting value"),
    ('{"a": 1, "b": {"c": 1, "c": 1}}', "key 'c' is given twice"),
    ('{"a": NaN}', "NaN is not finite"),
    ("[-Infinity]", "-Infinity is not finite"),
    ("[1e999]", "1e999 is not finite"),
    ("9" * 309, "too large"),
    ("[" * 100_000, "recursion"),
    ('["\\ud800"]', "surrogates"),
    ("{} {}", "Extra data"),
]


@pytest.mark.parametrize(("text", "says"), ANY)
def test_json_that_could_be_taken_for_something_else_is_refused(tmp_path, text, says):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"x.json: not a JSON file \(.*{says}"):
        files.read_json(path)
    path.write_text("{}\n" + text + "\n")
    with pytest.raises(InputError, match=rf"x.json, line 2: not JSON \(.*{says}"):
        files.read_jsonl(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "line 1: expected ',' or ']'"),
        ("a: 1\nb: {c: 1, c: 1}", "line 2: key 'c' is given twice"),
        ("a: !!timestamp x", "line 1: tag '.*timestamp'"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: tag '.*getcwd'"),
        ("a: !mine {}", "line 1: tag '!mine'"),
        ("a: &x 1", "line 1: anchor 'x'"),
        ("a: 1\nb: *x", "line 2: anchor 'x'"),
        ("a:\n  1: b", "line 2: expected text as a key"),
        ("[1]: b", "line 1: expected text as a key"),
        ("a: 1e999", "line 1: the number 1e999 is not finite"),
        ("a: " + "9" * 309, "line 1: the number 9+... is too large"),
        ("a: 1\n---\nb: 1", "line 2: .*another document"),
        ('a: "\\ud800"', "surrogates"),
        ('a: "\\U00110000"', "0x110000"),
        ("a: b\0", "unacceptable character #x0000"),
        ("a: " + "[" * 10_000, "line 1: more than 50 brackets"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_yaml_that_could_be_taken_for_something_else_is_refused(tmp_path, text, says):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"x.yaml: .*{says}") as error:
        files.read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(error.value)


def test_a_small_file_that_would_be_a_huge_value_is_refused_at_once(tmp_path):
    lines = [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)]
    (tmp_path / "bomb.yaml").write_text("a: &a [x]\n" + "\n".join(lines))
    start = time.monotonic()
    with pytest.raises(InputError, match="aliases"):
        files.read_yaml(tmp_path / "bomb.yaml")
    assert time.monotonic() - start < 0.5


SAME = "no on y Off 5e-4 1e+5 1.5 1. .5 -3 -0 +0.5e1 +.5e1 0.0 1:30 true TRUE tRUE ~ Null"
TEXT_HERE = "010 0x10 0o7 1_000 2026-01-02 .inf"


def test_a_plain_word_of_yaml_is_what_it_is_to_dvc_or_a_text(tmp_path):
    """DVC fills `dvc.yaml` and `dvc.lock` from the parameters that we compute with: one file, one meaning."""
    from dvc.utils.serialize import load_yaml

    path = tmp_path / "x.yaml"
    for word in f"{SAME} {TEXT_HERE}".split():
        path.write_text(f"key: {word}")
        ours, theirs = files.read_yaml(path)["key"], load_yaml(path)["key"]
        assert (ours, type(ours)) == ((theirs, type(theirs)) if word in SAME.split() else (word, str)), word


def test_line_ends_of_windows_and_a_byte_order_mark_are_read_and_other_encodings_named(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}\r\n')
    for read, expected in (
        (files.read_json, {"a": "é"}),
        (files.read_jsonl, [{"a": "é"}]),
        (files.read_yaml, {"a": "é"}),
    ):
        assert read(path) == expected
    for content, line in ((b'{}\n{"a": "\xe9"}\n', 2), ("{}".encode("utf-16"), 1)):
        path.write_bytes(content)
        for read in (files.read_json, files.read_jsonl, files.read_yaml):
            with pytest.raises(InputError, match=f"x, line {line}: not text in UTF-8"):
                read(path)
