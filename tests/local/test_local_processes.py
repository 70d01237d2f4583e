"""Processes end with whoever started them; the cloud as a process of its own, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3

from ops.local.processes import Command, Processes
from tests.local.local_helpers import ROLE, eventually, zipped

REPOSITORY = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP[-1]}",
]


def running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("command", [SLEEP, DEAF], ids=["willing", "deaf"])
def test_closing_ends_every_child(command: list[str], tmp_path: Path) -> None:
    processes = Processes()
    children = [processes.start(Command(command, tmp_path, {})) for _ in range(3)]
    for child in children:
        assert child.output.readline() == b"up\n"
    processes.close(grace=0.2)
    assert not any(running(child.pid) for child in children)
    for child in children:
        child.output.close()


def test_a_child_sees_only_the_environment_it_was_given(tmp_path: Path) -> None:
    processes = Processes()
    source = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}), os.getcwd())"
    child = processes.start(Command([sys.executable, "-c", source], tmp_path, {"ONLY": "this"}))
    assert child.output.read().decode().strip() == f"['ONLY'] {tmp_path}"
    assert child.wait() == 0
    child.output.close()
    processes.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_children_end_when_their_parent_is_killed_outright(tmp_path: Path) -> None:
    source = f"""
import pathlib, time
from ops.local.processes import Command, Processes
child = Processes().start(Command({SLEEP!r}, pathlib.Path({str(tmp_path)!r}), {{}}))
child.output.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()
    eventually(lambda: not running(pid))


class Served:
    """`python -m ops.local serve` and one function in it that has run."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.local", "serve"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.ready: Any = json.loads(self.process.stdout.readline())
        session = boto3.Session(
            aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        functions = session.client("lambda", endpoint_url=self.ready["address"])
        functions.create_function(
            FunctionName="f",
            Role=ROLE,
            Runtime="python3.11",
            Handler="source.handle",
            Code={"ZipFile": zipped("source.py", "import os\ndef handle(*_): return os.getpid()")},
        )
        answer = functions.invoke(FunctionName="f")
        self.function_pid = int(answer["Payload"].read())
        functions.close()

    def close(self) -> None:
        """Close the pipes, which a process that ended leaves open here."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGKILL"])
def test_a_served_cloud_ends_with_all_its_processes(how: str) -> None:
    served = Served()
    assert served.ready["environment"]["AWS_ENDPOINT_URL"] == served.ready["address"]
    assert urllib3.request("GET", served.ready["address"]).status == 200
    if how == "end of input":
        assert served.process.stdin is not None
        served.process.stdin.close()
    else:
        os.kill(served.process.pid, signal.Signals[how])
    status = served.process.wait(10)
    served.close()
    assert status == (-signal.SIGKILL if how == "SIGKILL" else 0)
    eventually(lambda: not running(served.function_pid))


def test_a_served_cloud_says_why_it_refuses_an_assembly() -> None:
    with tempfile.TemporaryDirectory() as empty:
        ended = subprocess.run(
            [sys.executable, "-m", "ops.local", "serve", "--assembly", empty],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 1
    assert "Synthesize first" in ended.stderr
    assert ended.stdout == ""
