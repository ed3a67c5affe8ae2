"""Nobody is told of a run: what libraries would report of it is not sent, and the watch that says so sees what is.

tests/test_qwen.py holds every stage of its profile to it, and the fixture `base` the making of the smollm2 model.
"""

import sys

import pytest

from . import watched

# what TRL sends whenever a trainer is made, and what the hub's client asks for before its first request
REPORTS = """
from huggingface_hub.utils import build_hf_headers, send_telemetry
from huggingface_hub.utils._telemetry import _TELEMETRY_QUEUE
build_hf_headers()
send_telemetry("trl/SFTTrainer")
_TELEMETRY_QUEUE.join()
"""
CONNECTS = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
"""


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (REPORTS, ["socket.getaddrinfo hub.invalid"] * 2),
        ("import persona_collapse" + REPORTS, []),
        (CONNECTS, ["socket.connect ('127.0.0.1', 9)"]),
    ],
)
def test_a_report_is_seen_by_the_watch_and_none_is_made_once_the_package_is_imported(tmp_path, code, seen):
    result, reached = watched.run([sys.executable, "-c", code], tmp_path, HF_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert [line for line in reached if line.startswith("socket.")] == seen
    assert seen or reached == []
