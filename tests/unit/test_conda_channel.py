"""The local conda channel is solved, installed and run by py-rattler, as any other channel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rattler import BuildString, Gateway, GenericVirtualPackage, PackageName, Version, install, solve
from rattler.exceptions import SolverError

from sample_models.channel import interpreters
from sample_models.channel.package import PLACEHOLDER, Package, PackageFile, write
from sample_models.conda_channel import main, make_channel

pytestmark = pytest.mark.channel

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
# The oldest matters most (another layout, other libraries); on a machine with one Python they are the same.
OLDEST = min(interpreters.at_hand(), key=Version)


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    return make_channel(tmp_path_factory.mktemp("channel"), sorted({RUNNING, OLDEST}))


def solved(channel, *specs, glibc="2.40", day=None):
    virtual = [GenericVirtualPackage(PackageName("__glibc"), Version(glibc), BuildString("0"))]
    platforms = [sorted({name.split("/")[0] for name in channel.packages} - {"noarch"})[0], "noarch"]
    return asyncio.run(
        solve(
            [channel.url],
            list(specs),
            gateway=Gateway(cache_dir=channel.directory / "gateway"),
            platforms=platforms,
            virtual_packages=virtual,
            exclude_newer=day,
        )
    )


def installed(channel, prefix, *specs):
    records = solved(channel, *specs)
    cache = channel.directory / "packages"
    asyncio.run(install(records, target_prefix=prefix, cache_dir=cache, show_progress=False))
    return prefix


def run(*command):
    # Nothing of this process's environment: what runs, runs by itself; and it leaves no byte code.
    words = [str(word) for word in command]
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(words, env=quiet, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", params=sorted({RUNNING, OLDEST}))
def prefix(request, channel, tmp_path_factory):
    specs = [f"python {request.param}.*", "pip", "demo-rates", "libgomp"]
    return installed(channel, tmp_path_factory.mktemp("installed") / "env", *specs)


def digests(directory):
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted([*directory.glob("*/*.conda"), *directory.glob("*/repodata.json")])
    }


def test_made_twice_it_is_the_same_bytes(channel, tmp_path):
    again = make_channel(tmp_path / "another", sorted({RUNNING, OLDEST}))
    assert digests(again.directory) == digests(channel.directory)


def test_making_it_again_makes_nothing_new(channel):
    before = {path: path.stat().st_mtime_ns for path in channel.directory.glob("*/*.conda")}
    again = make_channel(channel.directory, [RUNNING])
    assert again.new == ()
    assert again.packages == channel.packages
    assert {path: path.stat().st_mtime_ns for path in channel.directory.glob("*/*.conda")} == before


def test_what_was_lost_is_made_again(tmp_path):
    first = make_channel(tmp_path, [])
    lost = tmp_path / next(name for name in first.packages if "demo-rates-1.0" in name)
    content = lost.read_bytes()
    lost.unlink()
    make_channel(tmp_path, [])
    assert lost.read_bytes() == content


def test_packages_of_other_inputs_go(tmp_path):
    first = make_channel(tmp_path, [])
    record = tmp_path / ".made.json"
    made = json.loads(record.read_text())
    stale = first.packages[0].replace("-1.0-", "-0.9-")
    (tmp_path / stale).write_bytes(b"of an earlier recipe")
    made["demonstrations"]["key"] = "another"
    record.write_text(json.dumps(made))
    assert make_channel(tmp_path, []).packages == first.packages
    assert not (tmp_path / stale).exists()


def test_python_runs_with_all_its_libraries(prefix):
    modules = "ssl, sqlite3, ctypes, lzma, bz2, zlib, uuid, hashlib, readline, curses, decimal"
    script = f"import {modules}, sys, sysconfig; print(sys.prefix); print(sysconfig.get_path('purelib'))"
    first, second = run(prefix / "bin/python", "-c", script).splitlines()
    assert Path(first) == prefix
    assert Path(second).is_relative_to(prefix)
    assert (Path(second) / "pip").is_dir()


def test_pip_runs_and_sees_its_friends(prefix):
    listed = json.loads(run(prefix / "bin/pip", "list", "--format=json"))
    assert {entry["name"] for entry in listed} == {"pip", "setuptools", "wheel"}


def test_a_library_of_the_environment_is_found_by_its_soname(prefix):
    script = "import ctypes; print(ctypes.CDLL('libgomp.so.1').omp_get_max_threads() > 0)"
    assert run(prefix / "bin/python", "-c", script) == "True\n"


def test_programs_find_their_files_in_the_prefix(prefix):
    assert run(prefix / "bin/demo-rates", "SEK") == "0.125\n"


@pytest.mark.skipif(
    not Path("/usr/lib/python3/dist-packages").is_dir(), reason="this machine's system Python is not Debian's"
)
def test_debian_s_python_looks_into_site_packages(tmp_path):
    debian = make_channel(tmp_path / "channel", ["/usr/bin/python3"])
    prefix = installed(debian, tmp_path / "env", "python", "pip")
    script = "import site, sysconfig; print(*site.getsitepackages(), sysconfig.get_path('purelib'))"
    first, second = run(prefix / "bin/python", "-c", script).split()
    assert first == second
    assert Path(first).name == "site-packages"
    assert "setuptools" in run(prefix / "bin/python", "-m", "pip", "list")
    assert not list(prefix.rglob("EXTERNALLY-MANAGED"))


def test_nothing_but_glibc_comes_from_outside(prefix):
    elves = [prefix / "bin/python", *prefix.glob("lib/*.so*"), *prefix.glob("lib/python3*/lib-dynload/*.so")]
    lines = [line.split() for line in run("/usr/bin/ldd", *elves).splitlines() if "=>" in line]
    outside = {words[0] for words in lines if not Path(words[2]).is_relative_to(prefix)}
    assert outside
    assert outside <= {
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "libdl.so.2",
        "librt.so.1",
        "libutil.so.1",
    }


def test_it_is_small(prefix):
    files = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 120e6
    assert not [path for path in files if path.suffix in {".pyc", ".a"}]


def test_texts_do_not_name_the_interpreter_they_came_from(prefix):
    interpreter = interpreters.find([(prefix / "bin/python").readlink().name.removeprefix("python")])[0]
    needles = [PLACEHOLDER.encode()]
    if interpreter.prefix != Path("/usr"):
        needles.append(str(interpreter.prefix).encode())
    for path in prefix.rglob("*"):
        # Its records in conda-meta tell what was replaced.
        if path.is_file() and path.parent.name != "conda-meta" and b"\0" not in (data := path.read_bytes()):
            assert not [needle for needle in needles if needle in data], path


def test_an_unpinned_package_is_the_one_of_its_day(channel):
    day = datetime(2021, 1, 20, tzinfo=timezone.utc)
    versions = [
        {
            str(record.name.source): str(record.version)
            for record in solved(channel, "demo-rates", "python", day=at)
        }
        for at in (day, None)
    ]
    assert [found["demo-rates"] for found in versions] == ["1.0", "2.0"]
    assert all("python" in found for found in versions)


def test_a_base_with_an_older_glibc_cannot_have_python(channel):
    with pytest.raises(SolverError, match="__glibc"):
        solved(channel, "python", glibc="2.5")


def test_two_packages_share_a_path_and_one_lacks_its_dist_info(channel):
    records = {
        str(record.name.source): record for record in solved(channel, "demo-units-imperial", "six", "python")
    }
    assert {"demo-units", "demo-units-imperial", "six"} <= records.keys()


def test_files_of_every_size_arrive_whole(tmp_path):
    # Around the size of a block of the frame, where an off-by-one would show.
    sizes = [0, 1, 131_071, 131_072, 131_073, 262_144, 1_000_003]
    files = tuple(PackageFile(path=f"data/{size}", content=os.urandom(size)) for size in sizes)
    (tmp_path / "noarch").mkdir()
    written = write(Package(name="sizes", version="1", files=files), tmp_path)
    subdir, name = written.path.split("/")
    repodata = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {name: dict(written.record)}}
    (tmp_path / subdir / "repodata.json").write_text(json.dumps(repodata))
    (tmp_path / "noarch" / "repodata.json").write_text(json.dumps({"packages": {}}))
    records = asyncio.run(
        solve(
            [tmp_path.as_uri()],
            ["sizes"],
            gateway=Gateway(cache_dir=tmp_path / "g"),
            platforms=[subdir, "noarch"],
        )
    )
    prefix = tmp_path / "env"
    asyncio.run(install(records, target_prefix=prefix, cache_dir=tmp_path / "p", show_progress=False))
    for file in files:
        assert (prefix / file.path).read_bytes() == file.content


def test_an_unknown_python_is_refused_by_what_is_there(tmp_path, capsys):
    assert main([str(tmp_path), "--python", "3.99"]) == 3
    assert f"no Python 3.99 on this machine; there are {interpreters.find()[0].version}" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/*"))


def test_the_command_says_what_it_made(tmp_path, capsys):
    assert main([str(tmp_path), "--python", RUNNING]) == 0
    printed = capsys.readouterr().out
    assert f"linux-64/python-{RUNNING}." in printed or f"linux-aarch64/python-{RUNNING}." in printed
    assert printed.splitlines()[-1] == tmp_path.resolve().as_uri()
