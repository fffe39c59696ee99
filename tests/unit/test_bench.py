"""The benchmark's pure parts: medians, targets, tables, plots, the month, and what it counts."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.bench import report
from scripts.bench.__main__ import main
from scripts.bench.counting import counted
from scripts.bench.growth import ENVIRONMENTS, content, team
from scripts.bench.limits import halves
from scripts.bench.meter import CommandFailed, Usage, run, together
from scripts.bench.month import Company, ImageCost, UnitCosts, month, units
from scripts.bench.plots import Chart, Line, svg
from scripts.bench.results import Cost, Results, Scenario, WrongResult, median, same_digest, steps_of
from scripts.bench.targets import SMALL, evaluate

MEGABYTE = 1_000_000


def usage(seconds: float, memory: int = 0) -> Usage:
    return Usage(seconds=seconds, cpu=seconds / 2, machine=seconds, memory=memory, written=100)


def scenario(key: str, *seconds: float, pushed: int | None = None, added: int | None = None) -> Scenario:
    costs = tuple(Cost(usage=usage(each), pushed=pushed, added=added) for each in seconds)
    return Scenario(key=key, way="ours", title=f"a {key}", costs=costs)


def results(*scenarios: Scenario) -> Results:
    made = Results()
    for each in scenarios:
        made.add(each)
    return made


def met(found: Results, number: int) -> list[bool | None]:
    return [each.met for each in evaluate(found) if each.number == number]


def test_medians_are_of_what_there_is() -> None:
    found = scenario("first", 3, 1, 2)
    assert (found.seconds, found.spread) == (2, (1, 3))
    assert median([None, 4, 1, 2]) == 2
    assert median([None]) is None
    assert found.median(lambda cost: cost.pushed) is None


def test_results_are_read_as_they_were_written() -> None:
    found = results(scenario("first", 3, 1, pushed=5))
    found.skipped["hand"] = "no engine"
    again = Results.from_dict(found.to_dict())
    assert again == found


def test_steps_are_read_from_what_a_command_says() -> None:
    said = "solving ...\nsolving: 104 packages (1.5 s)\nwarning: odd (2 of them)\npushing (0.3 s)\n"
    assert steps_of(said) == (("solving: 104 packages", 1.5), ("pushing", 0.3))
    cost = Cost(usage=usage(2.0), steps=steps_of(said))
    found = results(Scenario(key="first", way="ours", title="a first", costs=(cost,)))
    page = report.markdown(found, {})
    assert (
        "| a first | solving: 104 packages | 1.5 |\n| a first | pushing | 0.3 |\n| a first | all | 2.0 |" in page
    )


def test_what_nothing_measured_is_neither_met_nor_missed() -> None:
    found = evaluate(Results())
    assert {each.met for each in found} == {None}
    assert {each.number for each in found} == set(range(1, 11))


@pytest.mark.parametrize(
    ("first", "wanted"), [(15.0, [True, True]), (19.0, [True, False]), (20.0, [False, False])]
)
def test_a_first_image_is_held_against_the_peers(first: float, wanted: list[bool]) -> None:
    found = results(scenario("first", first), scenario("mlflow-image", 193.0), scenario("hand", 89.0))
    assert met(found, 1) == wanted


def test_a_new_version_is_held_against_the_floor_and_the_model() -> None:
    found = results(scenario("floor", 2.0), scenario("version", 2.9, pushed=SMALL + 1000))
    found.figures["model-bytes"] = 1000
    assert met(found, 2) == [True, True, True]
    slow = results(scenario("floor", 2.0), scenario("version", 3.1, pushed=SMALL + 1001))
    slow.figures["model-bytes"] = 1000
    assert met(slow, 2) == [False, False, True]


def test_layers_reach_a_share_of_the_limit() -> None:
    assert met(results(scenario("limit", 0.7), scenario("layers", 1.0)), 6) == [True]
    assert met(results(scenario("limit", 0.6), scenario("layers", 1.0)), 6) == [False]


@pytest.mark.parametrize(("small", "large", "wanted"), [(300, 310, True), (100, 200, False), (390, 401, False)])
def test_memory_is_below_a_bound_and_flat(small: int, large: int, wanted: bool) -> None:
    found = Results()
    points = ((large, 4e9), (small, 1e8))
    found.growth["models"] = [{"memory": size * MEGABYTE, "bytes": of} for size, of in points]
    assert met(found, 7) == [None, wanted]


def test_digests_of_one_version_must_be_one() -> None:
    same_digest("builds", {"cold": "sha256:1", "warm": "sha256:1"})
    with pytest.raises(WrongResult, match=r"builds gave more than one image \(cold: sha256:1, warm: sha256:2\)"):
        same_digest("builds", {"cold": "sha256:1", "warm": "sha256:2"})


def test_a_month_adds_up() -> None:
    cost = {name: ImageCost(cpu=seconds, sent=size, kept=size / 2) for name, seconds, size in (
        ("moved", 3600, 100), ("follower", 36, 10), ("version", 3.6, 1),
    )}  # fmt: skip
    found = month(Company(models=100, runtimes=2, weeks=4), UnitCosts(**cost))
    assert found.cpu_hours == pytest.approx(2 + 98 * 0.01 + 300 * 0.001)
    assert (found.sent, found.kept) == (200 + 980 + 300, 740)


def test_units_are_of_the_ways_that_were_measured_whole() -> None:
    ours = [scenario(key, 1.0, pushed=size) for key, size in (("neighbour", 50), ("version", 2), ("sibling", 900))]
    assert set(units(results(*ours))) == {"mlflow-dbimage"}
    unit = units(results(*ours))["mlflow-dbimage"]
    assert (unit.follower.sent, unit.follower.kept) == (50, 2), (
        "a follower lacks what moved, and the registry nothing"
    )
    assert units(results(ours[0])) == {}
    assert set(units(results(scenario("mlflow-version", 1.0, pushed=2)))) == {"MLflow"}


def test_the_team_shares_packages_and_moves_one_a_month() -> None:
    images = list(team(9))
    assert len(images) == 9 * ENVIRONMENTS
    first = {number: environment.packages for week, number, environment in images if week == 0}
    assert len({frozenset(packages) for packages in first.values()}) == ENVIRONMENTS
    for week in (3, 4, 8):
        now = {number: environment.packages for each, number, environment in images if each == week}
        moved = [sum(now[number].values()) - sum(first[number].values()) for number in first]
        assert moved == [week // 4] * ENVIRONMENTS


def test_contents_are_the_same_each_time_and_a_quarter_random() -> None:
    assert content(7, 10_000) == content(7, 10_000) != content(8, 10_000)
    assert len(content(7, 10_000)) == 10_000
    assert content(7, 4096)[1024:] == bytes(3072)


def test_files_are_shared_out_evenly() -> None:
    shares = halves([5, 9, 1, 4, 2, 3], 2)
    assert sorted(position for share in shares for position in share) == list(range(6))
    assert [sum((5, 9, 1, 4, 2, 3)[each] for each in share) for share in shares] == [12, 12]


def test_a_table_escapes_bars() -> None:
    assert report.table(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"


@pytest.mark.parametrize("logarithmic", [False, True])
def test_plots_are_well_formed_and_inside_their_frame(logarithmic: bool) -> None:
    lines = [Line(title="a < b & c", points=[(1, 0.5), (200, 1500)]), Line(title="d", points=[(3, 7)])]
    drawn = svg(Chart(title='of "x"', x="images", y="GB", lines=lines, logarithmic=logarithmic))
    root = ElementTree.fromstring(drawn)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    assert all(0 < float(each.get("cx", -1)) < 640 and 0 < float(each.get("cy", -1)) < 360 for each in circles)
    assert "a < b & c" in "".join(root.itertext())
    assert "prefers-color-scheme: dark" in drawn


def test_plots_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="has no points"):
        svg(Chart(title="x", x="", y="", lines=[]))
    with pytest.raises(ValueError, match="not above 0"):
        svg(Chart(title="x", x="", y="", lines=[Line(title="", points=[(0, 0)])], logarithmic=True))


def test_the_report_has_what_was_found_and_stands_in_its_part_of_the_page(tmp_path: Path) -> None:
    found = results(scenario("first", 2.0, 3.0, pushed=2 * MEGABYTE), scenario("floor", 1.0))
    sizes = {"seconds": 1.0, "cpu": 1.0, "memory": 10**8, "written": None, "added": 5}
    found.growth["environments"] = [{"bytes": 1e9, **sizes}, {"bytes": 4e9, **sizes}]
    grown = [{"images": n, "registry": n * 1e9, "pushed": 1e6, "whole": 5e9, "seconds": 1} for n in (1, 2)]
    found.growth["registry"] = {"by package": grown, "one layer": grown}
    (tmp_path / "benchmarks.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_docs(found, {"cores": "2"}, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "| a first | ours | 2 | 2.50 (2.00 to 3.00) |" in page
    assert "| every version its own environment (computed) | 2 | 10.00 |" in page
    for name in ("growth-seconds.svg", "growth-memory.svg", "growth-registry.svg"):
        assert f"images/{name}" in page
        ElementTree.parse(tmp_path / "images" / name)


def test_a_command_is_metered_with_what_it_starts() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(sum(range(2000000)))'])"
    done = run([sys.executable, "-c", script], cores=frozenset({min(os.sched_getaffinity(0))}))
    assert done.output == "1999999000000\n"
    assert 0 < done.usage.cpu <= done.usage.seconds * 1.5
    assert together(done.usage, done.usage).seconds == pytest.approx(2 * done.usage.seconds)
    with pytest.raises(CommandFailed, match=r"ended with 3:\nalas"):
        run([sys.executable, "-c", "import sys; print('alas', file=sys.stderr); sys.exit(3)"])


def test_what_is_sent_is_counted_and_arrives(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "service"))
        service.listen()
        answers = threading.Thread(target=_answer_with_size, args=(service,))
        answers.start()
        with counted(("127.0.0.1", 0), str(tmp_path / "service")) as count:
            assert isinstance(count.address, tuple)
            with socket.create_connection(count.address) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b"3000000"
        answers.join()
    assert count.sent == len(data)


def _answer_with_size(service: socket.socket) -> None:
    connection, _ = service.accept()
    with connection:
        size = 0
        while data := connection.recv(1 << 16):
            size += len(data)
        connection.sendall(str(size).encode())


def test_parts_are_known_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "frist"])
    assert "no such part: frist" in capsys.readouterr().err
