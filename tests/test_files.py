"""A file is whole or absent."""

import pytest

from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import require_disk, whole, write_json


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


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [1.5, "é"]})
    write_json(tmp_path / "b", {"y": [1.5, "é"], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_little_disk_is_found_before_work_starts(tmp_path):
    with pytest.raises(InputError, match="needs 1e\\+09 GiB"):
        require_disk(tmp_path, gib=1e9)
