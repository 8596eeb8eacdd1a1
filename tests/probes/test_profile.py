"""Where the time of a program goes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import ArgumentError, CompileBudgetError, CompileError, mil
from aneperf.mil.truncate import Truncated
from aneperf.runner.parts import part_of, typical_calls
from aneperf.schema import check_numbers
from support.command import assert_refused
from support.fakes import FakeDevice

SHAPE = (1, 4, 1, 4)  # of the fake device's ports
CALL_NS = 10_000
EMULATOR = aneperf.open("emulator")


def chain(length: int) -> mil.Program:
    b = mil.Builder()
    y = b.input("x", SHAPE)
    for place in range(length):
        y = mil.relu(y, name=f"r{place}") if place < length - 1 else mil.relu(y, name="y")
    b.output("y", y)
    return b.build()


def engine(program: mil.Program, cost_ns: Callable[[int], int]) -> FakeDevice:
    """Return an engine on which operation i of the program takes `cost_ns(i)`."""
    fake = FakeDevice(kind="ane")
    fake.call_ns = lambda call: CALL_NS
    truncated = Truncated(program)
    for count in range(1, len(truncated.operations) + 1):
        part = truncated.program(count)
        assert part is not None
        total = CALL_NS + sum(map(cost_ns, range(count)))
        fake.times[part.text] = lambda call, total=total: total  # type: ignore[misc]
    return fake


def profiled(program: mil.Program, fake: FakeDevice, **options: Any) -> aneperf.Result:
    return aneperf.profile(program, fake, check=False, budget=0.3, clock=fake.clock, **options)  # type: ignore[arg-type]


def times(result: aneperf.Result) -> dict[str, float]:
    return {row.name: round(row.median * 1e6) for row in result if row.median is not None}


def test_truncation_gives_each_operation_its_time() -> None:
    program = chain(5)
    costs = [50_000, 20_000, 100_000, 30_000, 40_000]
    result = profiled(program, engine(program, costs.__getitem__))
    assert times(result) == {
        "the call": CALL_NS,
        **dict(zip(["r0", "r1", "r2", "r3", "y"], costs, strict=True)),
        "the whole": CALL_NS + sum(costs),
    }
    assert [row.key for row in result] == [
        *(f"profile/program/{name}" for name in ("the call", "r0", "r1", "r2", "r3", "y")),
        "profile/program",
    ]
    row = result.rows[3]
    assert row.params == {"config": "r2", "kind": "relu", "operations": 1, "shape": "[1, 4, 1, 4]", "line": 7}
    assert row.metrics["share"] == pytest.approx(0.4)
    assert row.metrics["gflop_per_s"] == pytest.approx(16 / 100_000)
    assert "The parts add up to 0.25 ms, 100.0% of the median of the whole." in result.notes
    assert any(note.startswith("Truncation, 6 compiles: ") for note in result.notes)


def test_few_compiles_find_what_takes_the_time() -> None:
    program = chain(64)
    fake = engine(program, lambda place: 1_000_000 if place == 37 else 100)
    result = profiled(program, fake)
    assert times(result)["r37"] == 1_000_000
    assert len(fake.programs) == 2 + 6
    by_name = {row.name: row for row in result}
    assert by_name["r37"].params["operations"] == 1
    assert sum(int(row.params.get("operations", 0)) for row in result) == 64
    assert {program.loaded for program in fake.programs} == {False}


def test_it_keeps_to_its_compiles() -> None:
    program = chain(64)
    fake = engine(program, lambda place: 100_000)
    assert len(profiled(program, fake, compiles=5)) == 1 + 4 + 1
    assert len(fake.programs) == 5


def test_compiles_that_run_out_end_the_search() -> None:
    program = chain(64)
    fake = engine(program, lambda place: 100_000)
    text = Truncated(program).program(32)
    assert text is not None
    fake.outcomes[text.text] = CompileBudgetError("no compile is left")
    result = profiled(program, fake)
    assert list(times(result)) == ["the call", "y", "the whole"]


def test_a_program_that_the_engine_refuses_is_cut_elsewhere() -> None:
    program = chain(8)
    fake = engine(program, lambda place: 100_000)
    truncated = Truncated(program)
    for count in (4, 5):
        part = truncated.program(count)
        assert part is not None
        fake.outcomes[part.text] = CompileError("[compile] CompilationFailure: not this one")
    found = times(profiled(program, fake))
    assert "r3" not in found
    assert "r4" not in found
    assert found["r5"] == 300_000


def test_a_program_that_is_refused_as_a_whole_is_one_row() -> None:
    program = chain(2)
    fake = engine(program, lambda place: 1)
    fake.outcomes[program.text] = aneperf.EvaluateError("[evaluate] it does not run")
    (row,) = profiled(program, fake)
    assert (row.status, row.key) == ("error", "profile/program")


def test_a_program_of_constants_has_nothing_to_truncate() -> None:
    text = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 2]> x) {
        tensor<fp16, [1, 2]> c = const()[name = string("c"), val = tensor<fp16, [1, 2]>([[0x1p0, 0x1p1]])];
        tensor<fp16, [1, 2]> y = add(x = c, y = c)[name = string("y")];
    } -> (y);
}"""
    types = {"x": mil.TensorType("fp16", (1, 2))}
    (row,) = profiled(mil.Program(types, types, text, {}), FakeDevice(kind="ane"))
    assert (row.status, row.reason) == ("error", "the program has no operation that depends on an input")


def test_a_difference_below_zero_is_no_time() -> None:
    times = np.array([-2500.0, 1000, -2000, -1000, 2000, -4000, -500])
    part = part_of("y", [], times, typical_calls(times))
    assert part.typical == pytest.approx(np.mean([-2500, -2000, -1000, -500]) * 1e-6)
    assert (part.statistics.median, part.statistics.p05) == (0.0, 0.0)
    assert part.statistics.ci_high == 0.002


def network() -> mil.Program:
    b = mil.Builder()
    x = b.input("x", (1, 64, 1, 32), "fp32")
    random = np.random.default_rng(0)
    first = mil.conv(mil.cast(x, "fp16", name="half"), random.standard_normal((64, 64, 1, 1)) / 8, name="c")
    gated = mil.silu(first, name="s") * mil.sigmoid(first, name="g")
    flat = mil.reshape(gated, (1, 64, 4, 8), name="flat")
    b.output("y", mil.softmax(flat, axis=1))
    return b.build()


def test_the_emulators_steps_have_every_operation_in_one_part() -> None:
    result = aneperf.profile(network(), EMULATOR, budget=0.05)
    check_parts(result)
    kinds = " ".join(str(row.params.get("kind")) for row in result)
    assert all(op in kinds for op in ("conv", "silu", "softmax"))


def test_truncation_has_every_operation_in_one_part(device: aneperf.Device) -> None:
    check_parts(aneperf.profile(network(), device, method="truncation", budget=0.05))


def check_parts(result: aneperf.Result) -> None:
    """Check the profile of `network()`, of 7 operations, of which reshape may take no step."""
    *parts, whole = result
    assert {row.status for row in result} == {"ok"}
    assert whole.error is not None
    assert sum(int(row.params["operations"]) for row in parts) in (6, 7)
    assert len({row.key for row in result}) == len(result)
    assert whole.metrics["sum_ms"] == pytest.approx(sum(row.metrics["typical_ms"] for row in parts))
    assert len(result.compare(result)) == len(result)


def test_steps_are_the_emulators() -> None:
    fake = FakeDevice(kind="ane")
    with pytest.raises(ArgumentError, match="only the emulator times its steps"):
        profiled(chain(1), fake, method="steps")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Save a program."""
    b = mil.Builder()
    b.output("y", mil.softmax(mil.square(b.input("x", (1, 64, 1, 32))), axis=1))
    (tmp_path / "m.mil").write_text(b.build().text)
    return tmp_path / "m.mil"


def test_the_command_writes_a_table_and_a_trace(model: Path, run: Any) -> None:
    files = [str(model.with_suffix(suffix)) for suffix in (".json", ".trace.json")]
    outcome = run("profile", str(model), "--budget", "0.05", "-o", files[0], "--trace", files[1])
    assert (outcome.code, outcome.err) == (0, "")
    assert "Steps: operations that the emulator runs as one are one row." in outcome.out
    assert "timed in turns, their sum is" in " ".join(outcome.out.split())
    result = aneperf.Result.load(files[0])
    trace = json.loads(Path(files[1]).read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [span["name"] for span in spans] == [result.rows[-1].name, *(row.name for row in result.rows[:-1])]
    assert spans[-1]["args"]["kind"] == result.rows[-2].params["kind"]
    assert spans[-1]["ts"] == pytest.approx(sum(span["dur"] for span in spans[1:-1]))


@pytest.mark.thorough
def test_the_command_draws_a_picture(model: Path, run: Any) -> None:
    pytest.importorskip("matplotlib")
    picture = model.with_suffix(".png")
    assert run("profile", str(model), "--budget", "0.05", "--plot", str(picture)).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compiles", "1"], "compiles must be an integer of at least 2, not 1"),
        (["--axis", "n=1,2"], "--axis n: a profile is of one program: give one value"),
        (["--axis", "n=1"], "m.mil has no parameter 'n' for an axis"),
        (["--trace", "{model}"], "is there and is MIL text, not a trace"),
        (["--plot", "picture.docx"], "picture.docx: not a picture format"),
        (["--trace", "{model}.png", "--plot", "{model}.png"], "m.mil.png: is also written, as --trace"),
        (["--trace", "{model}.json", "-o", "{model}.json"], "m.mil.json: is also written, as --trace"),
        (["--trace", "/nowhere/at/all"], "the folder /nowhere/at does not exist"),
        (["--trace", "-"], "--trace needs the name of a file: only -o takes - for standard output"),
        (["--plot", "-"], "--plot needs the name of a file: only -o takes - for standard output"),
    ],
)
def test_a_bad_option_is_one_line(model: Path, run: Any, options: list[str], message: str) -> None:
    given = [option.format(model=model) for option in options]
    assert_refused(run("profile", str(model), *given), message)


NET = """
from aneperf import mil

def net():
    b = mil.Builder()
    x = b.input("x", (1, 64, 1, 64))
    b.output("y", mil.softmax(mil.relu(x), axis=1))
    return b
"""


def test_several_processes_profile(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    result = aneperf.profile(str(tmp_path / "net.py"), EMULATOR, processes=2, budget=0.2)
    *parts, whole = result.rows
    assert [row.status for row in result] == ["ok"] * len(result)
    assert whole.key == "profile/net.py:net"
    assert len(whole.processes) == len(whole.medians) == 2
    assert all((row.n, row.mean, row.p95) == (None, None, None) for row in parts)
    assert whole.metrics["sum_ms"] == pytest.approx(sum(row.metrics["typical_ms"] for row in parts))
    assert result.notes[0].startswith("The parts add up to")
    assert result.notes[1].startswith("2 processes profiled it")
    assert sum("The parts add up to" in note for note in result.notes) == 1
    check_numbers(result)


def test_several_processes_read_the_program_themselves() -> None:
    with pytest.raises(ArgumentError, match="processes: each reads program itself: give a path"):
        aneperf.profile(chain(2), EMULATOR, processes=2)
