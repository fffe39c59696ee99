"""Sandboxes: what a program in one sees, may write, may use, and that all that it started ends with it."""

from __future__ import annotations

import os
import socket
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends import sandbox as sandboxes
from mlflow_dbimage.backends.sandbox import Confinement, Ended, Limits, Sandbox
from mlflow_dbimage.backends.sandbox_output import read_result
from mlflow_dbimage.errors import InputError, ServiceError
from sandboxes import SANDBOX

Run = Callable[..., Ended]

CLOSED = tuple(pytest.param(kind, marks=pytest.mark.sandbox) for kind in ("bubblewrap", "namespaces"))


@pytest.fixture(params=[*CLOSED, "limits"])
def confinement(request: pytest.FixtureRequest) -> Confinement:
    kind: Confinement = request.param
    return kind


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def run(confinement: Confinement, scratch: Path) -> Run:
    """Run a script of Python in each kind of sandbox."""

    def run(script: str, limits: Limits = SANDBOX.limits, **given: object) -> Ended:
        sandbox = replace(SANDBOX, confinement=confinement, limits=limits)
        command = [sys.executable, "-c", textwrap.dedent(script)]
        return sandbox.run(command, scratch=scratch, environment={"PATH": "/usr/bin:/bin"}, **given)  # type: ignore[arg-type]

    return run


def in_namespaces(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test where more than limits stands between a program and the machine."""
    return pytest.mark.parametrize("confinement", CLOSED, indirect=True)(test)


def test_a_program_gets_its_input_its_folder_and_its_variables_and_tells_how_it_ended(
    run: Run, scratch: Path
) -> None:
    ended = run(
        """
        import os, sys
        print(sorted(set(os.environ) - {"LC_CTYPE", "PWD"}), os.getcwd(), sys.stdin.read(), file=sys.stderr)
        open("made", "w").write("here")
        sys.exit(7)
        """,
        text="hello",
    )
    assert ended == Ended(code=7, errors=f"['PATH'] {scratch} hello\n")
    assert (scratch / "made").read_text() == "here"


def test_output_comes_back_apart_from_messages_and_messages_as_they_come(run: Run) -> None:
    heard: list[str] = []
    ended = run(
        "import sys; print('out' * 9); sys.stderr.write('one\\ntwo\\x1b[2J\\nthr')",
        most_output=5,
        report=heard.append,
    )
    assert (ended.output, ended.errors) == (b"outou", "one\ntwo\ufffd[2J\nthr")
    assert heard == ["one", "two\ufffd[2J", "thr"]


def test_of_endless_messages_some_are_heard(run: Run) -> None:
    heard: list[str] = []
    run(
        "import sys\nwhile True: sys.stderr.write('x' * 2**16)",
        Limits(seconds=60, disk=2**26),
        report=heard.append,
    )
    assert heard
    assert max(map(len, heard)) <= 2**16


def test_a_program_that_a_signal_ends_says_so(run: Run) -> None:
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").code == 128 + 11


@in_namespaces
def test_nothing_is_seen_but_what_is_given(run: Run, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given")
    (tmp_path / "secret").write_text("canary")
    ended = run(
        f"""
        import os
        assert open({str(tmp_path / "given")!r}).read() == "given"
        for path in ({str(tmp_path / "secret")!r}, {str(Path.home())!r} + "/.docker", "/etc/shadow", "/run"):
            assert not os.path.exists(path), path
        assert set(os.listdir({str(tmp_path)!r})) == {{"given", "scratch"}}
        assert len([name for name in os.listdir("/proc") if name.isdigit()]) < 4
        """,
        readable=[tmp_path / "given"],
    )
    assert ended == Ended(code=0, errors="")


@in_namespaces
def test_nothing_is_written_but_to_the_scratch_folder(run: Run, tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("as it was")
    ended = run(
        f"""
        import os
        def refused(action, *arguments):
            try:
                action(*arguments)
            except OSError:
                return
            raise SystemExit(f"could do {{action}} {{arguments}}")
        given = {str(tmp_path / "given")!r}
        for path in (given + "/file", given + "/new", "/new", "/usr/new", "/etc/passwd", {sys.executable!r}):
            refused(open, path, "w")
        refused(os.unlink, given + "/file")
        refused(os.chmod, given, 0o777)
        os.symlink(given, "link")
        refused(open, "link/file", "w")
        for path in ("file", "/dev/shm/file", "/dev/null"):
            open(path, "w").write("mine")
        """,
        readable=[tmp_path / "given"],
    )
    assert ended == Ended(code=0, errors="")
    assert (tmp_path / "given" / "file").read_text() == "as it was"
    assert (tmp_path / "scratch" / "file").read_text() == "mine"
    assert not Path("/dev/shm/file").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"given", "scratch"}


@in_namespaces
def test_there_is_no_network_but_its_own_loopback(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0dbimage-{os.getpid()}")
        abstract.listen()
        ended = run(
            f"""
            import socket
            for family, address in (
                (socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
                (socket.AF_INET, ("169.254.169.254", 80)),
                (socket.AF_UNIX, "\\0dbimage-{os.getpid()}"),
            ):
                try:
                    socket.socket(family).connect(address)
                except OSError:
                    continue
                raise SystemExit(f"reached {{address}}")
            own = socket.create_server(("127.0.0.1", 0))
            socket.create_connection(own.getsockname())
            """
        )
    assert ended == Ended(code=0, errors="")


@in_namespaces
def test_there_is_no_privilege_and_none_to_be_had(run: Run) -> None:
    ended = run(
        """
        import ctypes, os
        status = open("/proc/self/status").read()
        assert "CapEff:\\t0000000000000000" in status and "CapBnd:\\t0000000000000000" in status
        assert "NoNewPrivs:\\t1" in status
        libc = ctypes.CDLL(None)
        libc.unshare(0x10000000 | 0x00020000)
        MS_REMOUNT_BIND = 32 | 4096
        assert libc.mount(b"none", b"/usr", None, ctypes.c_ulong(MS_REMOUNT_BIND), None) != 0
        assert libc.umount2(b"/usr", 2) != 0
        """
    )
    assert ended == Ended(code=0, errors="")


@in_namespaces
def test_its_parent_cannot_be_harmed(run: Run) -> None:
    ended = run(
        f"""
        import os, signal
        for process in (os.getppid(), {os.getpid()}, -1):
            try:
                os.kill(process, signal.SIGTERM if process == -1 else signal.SIGKILL)
            except ProcessLookupError:
                pass
        """
    )
    assert ended.code in (0, 128 + 15)


@pytest.mark.parametrize(
    ("script", "limits", "told", "key"),
    [
        ("while True: pass", Limits(seconds=0.5), "took more than 0 s", "model_seconds"),
        (
            "import time; kept = []\nwhile True: kept.append(bytearray(b'x') * 2**24)",
            Limits(seconds=60, memory=2**28),
            "used more than 0.2 GiB of memory",
            "model_memory",
        ),
        (
            "import time\nfor number in range(99):\n open(str(number), 'wb').write(bytes(2**20))\ntime.sleep(60)",
            Limits(seconds=60, disk=2**24),
            "wrote more than 0.0 GiB",
            "model_disk",
        ),
        (
            "import os, time\nfor _ in range(1200):\n  if os.fork() == 0: time.sleep(60)\ntime.sleep(60)",
            Limits(seconds=60),
            "started more than 1024 processes",
            None,
        ),
        (
            "import os\nfor _ in range(200):\n os.mkdir('d'); os.chdir('d')\n",
            Limits(seconds=60),
            "left more files or deeper folders than anybody needs",
            None,
        ),
    ],
    ids=["time", "memory", "disk", "processes", "depth"],
)
def test_what_uses_more_than_it_may_is_stopped(
    run: Run, script: str, limits: Limits, told: str, key: str | None
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        run(script, limits)
    assert caught.value.code == "model-stopped"
    assert caught.value.hint is not None
    assert key is None or f"`{key}`" in caught.value.hint


def test_one_file_cannot_be_larger_than_the_disk_that_is_given(run: Run) -> None:
    ended = run("open('large', 'wb').truncate(2**24 + 1)", Limits(seconds=60, disk=2**24))
    assert "File too large" in ended.errors


def test_endless_messages_fill_neither_memory_nor_disk(run: Run) -> None:
    ended = run("import sys\nwhile True: sys.stderr.write('x' * 2**16)", Limits(seconds=60, disk=2**24))
    assert ended.code != 0
    assert len(ended.errors) <= 2**16


def test_what_a_program_leaves_running_ends_with_it(run: Run, scratch: Path) -> None:
    started = time.monotonic()
    run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    open("alive", "w").write(str(time.time()))
                    time.sleep(0.01)
            os._exit(0)
        os.wait()
        while not os.path.exists("alive"):
            time.sleep(0.01)
        """
    )
    assert time.monotonic() - started < 30
    last = (scratch / "alive").read_text()
    time.sleep(0.1)
    assert (scratch / "alive").read_text() == last


def test_a_program_that_is_not_there_is_told(run: Run, confinement: Confinement, scratch: Path) -> None:
    ended = replace(SANDBOX, confinement=confinement).run(["/no/such/program"], scratch=scratch, environment={})
    assert ended.code != 0
    assert "No such file or directory" in ended.errors


def test_where_a_sandbox_is_required_limits_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes, "reasons", lambda: ("limits", ("bubblewrap: `bwrap` is not installed",)))
    assert Sandbox.find(Limits()).confinement == "limits"
    with pytest.raises(ServiceError, match="`bwrap` is not installed") as caught:
        Sandbox.find(Limits(), required=True)
    assert caught.value.code == "no-sandbox"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**30)


@pytest.mark.parametrize("make", [_fifo, _link, _large, Path.mkdir, lambda path: None])
def test_a_result_is_a_plain_file_of_a_sane_size(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "result")
    with pytest.raises(ServiceError) as caught:
        read_result(tmp_path / "result")
    assert caught.value.code == "program-failed"
