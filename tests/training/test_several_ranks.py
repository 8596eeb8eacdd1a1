"""What a run on several ranks records and shows, from the events of rank 0."""

import json
from pathlib import Path

import pytest

import aneperf
from aneperf.report.page.reading import read_sources
from aneperf.report.page.training import training_sections
from aneperf.report.telemetry_table import lay_out_telemetry, read_telemetry
from aneperf.schema import check_numbers
from aneperf.training.events import BatchDone, Event, RunStarted, StepDone
from aneperf.training.notebook_view import notebook_view
from aneperf.training.result import TrainingResult
from aneperf.training.telemetry import Telemetry
from aneperf.training.tensorboard import TensorBoard
from aneperf.training.trace import ROWS, Trace
from support.several_ranks import on_ranks
from support.training_runs import MODEL, RUN


@pytest.fixture(scope="module")
def alone(device_name: str) -> list[Event]:
    events: list[Event] = []
    aneperf.train(MODEL, device=device_name, progress=events.append, **{**RUN, "steps": 8})
    return events


@pytest.fixture(scope="module")
def events(alone: list[Event]) -> list[Event]:
    return list(on_ranks(alone))


def result_of(events: list[Event]) -> TrainingResult:
    started = events[0]
    assert isinstance(started, RunStarted)
    result = TrainingResult.of(started, peak_tflops=0.5)
    for event in events:
        result.record(event)
    result.seconds = 1.0
    return result


def batches_of(events: list[Event]) -> list[BatchDone]:
    return [event for event in events if isinstance(event, BatchDone)]


def test_an_exposed_exchange_is_time_of_the_batch_and_not_of_a_step(
    alone: list[Event], events: list[Event]
) -> None:
    for one, other in zip(batches_of(alone), batches_of(events), strict=True):
        assert [step.times for step in other.steps] == [step.times for step in one.steps]
        assert other.train_ms == pytest.approx(one.train_ms + 4.0)
        assert other.tokens_per_s(16) == pytest.approx(2 * len(one.steps) * 16e3 / other.train_ms)
        exchange = other.communication
        assert exchange is not None
        assert (
            exchange.hidden_ms == 6.0
        )  # two buckets of 7 ms overlap by 1 ms, and one ends 4 ms after the step
        assert (exchange.ms, exchange.hidden_share) == (10.0, 0.6)


def test_the_result_of_several_ranks(alone: list[Event], events: list[Event]) -> None:
    one, result = result_of(alone), result_of(events)
    assert (len(result.losses), len(result.times), result.end_step) == (16, 8, 16)
    assert result.losses[:2] == [one.losses[0], one.losses[0] + 1]
    assert result.batches[0].mean_loss == pytest.approx(one.batches[0].mean_loss + 0.5)
    assert result.train_ms == pytest.approx(one.train_ms + 3 * 4.0)
    assert result.tokens_per_s == pytest.approx(16e3 * 16 / result.train_ms)
    assert result.device_tflops == pytest.approx(result.flops.device * 8 / result.train_ms / 1e9)
    text = " ".join(str(result).split())
    assert "on AMD EPYC, 2 ranks on 1 host; not a Neural Engine measurement." in text
    assert "allreduce 3.750 60% hidden" in text  # 3 updates of 10 ms, 8 steps
    assert "allreduce, the sums of gradients over 2 ranks, is not in the sum either" in text
    assert "Total steps: 16 of 2 ranks" in text
    assert "ms of it, exposed allreduce 12 ms" in text
    assert (
        "Allreduce: 10.0 ms an update, 6.0 ms hidden behind steps, 1.0 ms waiting for slower ranks; 4 MB, "
        "buckets: 2" in text
    )
    assert "tokens/s of 2 ranks together" in text
    assert "allreduce" not in str(one)


def test_rows_of_several_ranks_are_not_those_of_one(
    alone: list[Event], events: list[Event], tmp_path: Path
) -> None:
    one, result = result_of(alone).to_result(), result_of(events).to_result()
    assert all(row.key.endswith("/ranks-2") for row in result)
    rows = {row.name: row for row in result}
    assert rows.keys() - {row.name for row in one} == {"allreduce", "allreduce-exposed"}
    assert rows["allreduce"].median == 10.0
    assert rows["allreduce"].metrics == {"hidden_share": 0.6, "gradient_bytes": 4_000_000}
    assert rows["allreduce-exposed"].median == 4.0
    batches = batches_of(events)
    steps = sum(rows["step"].durations_ns)
    assert steps == pytest.approx(1e6 * sum(batch.train_ms for batch in batches), abs=1e3)
    comparison = one.compare(result)
    assert list(comparison) == []
    assert {row.key for row in comparison.missing} == {row.key for row in (*one, *result)}
    assert "ranks differs: none, then 2" in comparison.failures()
    path = tmp_path / "ranks.json"
    result.save(path)
    assert aneperf.Result.load(path) == result
    check_numbers(result)


def test_the_telemetry_of_several_ranks(events: list[Event], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = Telemetry(path, peak_tflops=None, append=False)
    for event in events:
        log.record(event)
    log.close(keep=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["environment"]["cluster"] == {"ranks": "2", "hosts": "1", "mpi": "Open MPI v5.0.11"}
    told = [line for line in lines if line["type"] == "allreduce"]
    assert [line["update"] for line in told] == [0, 1, 2]
    assert told[0] == {
        "type": "allreduce",
        "update": 0,
        "ranks": 2,
        "buckets": 2,
        "bytes": 4_000_000,
        "ms": 10.0,
        "hidden_ms": 6.0,
        "exposed_ms": 4.0,
        "waited_ms": 1.0,
    }
    updates = [line for line in lines if line["type"] == "update"]
    assert [line["sequences"] for line in updates] == [6, 6, 4]
    for line, batch in zip(updates, batches_of(events), strict=True):
        assert line["loss"] == pytest.approx(sum(batch.losses) / len(batch.losses), abs=1e-6)
    read = read_telemetry(path)
    assert read.steps == 16
    assert [update.step for update in read.updates] == [5, 11, 15]
    assert [update.loss for update in read.updates] == [line["loss"] for line in updates]
    assert read.records()[0].items() >= {"allreduce_ms": 10.0, "exposed_ms": 4.0}.items()
    table = lay_out_telemetry(read)
    assert table.header[-3:] == ("Allreduce (ms)", "Hidden", "")
    assert {row[-3:] for row in table.rows} == {("10.00", "60%", "")}
    assert "Steps: 16, in 3 updates." in table.lines
    result = tmp_path / "run.json"
    result_of(events).save(result)
    (section,) = training_sections(read_sources([str(result), str(path)]), pictures=True)
    parts = section.blocks[0].table
    assert parts is not None
    assert parts.rows[-1] == ("allreduce, an update", "", "", "10.000", "60% hidden")
    assert "So does allreduce" in parts.lines[0]
    captions = [drawing.caption for block in section.blocks for drawing in block.drawings]
    assert captions[-1] == "The loss of every update."


def test_telemetry_of_one_rank_is_as_before(alone: list[Event], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = Telemetry(path, peak_tflops=None, append=False)
    for event in alone:
        log.record(event)
    log.close(keep=True)
    new = read_telemetry(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:  # as earlier versions wrote it
        line.get("environment", {}).pop("cluster", None)
        if line["type"] == "update":
            del line["loss"], line["sequences"]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    old = read_telemetry(path)
    assert (old.steps, old.losses, len(old.updates)) == (new.steps, new.losses, 3)
    assert [update.loss for update in old.updates] == pytest.approx(
        [update.loss for update in new.updates], abs=2e-6
    )
    assert lay_out_telemetry(old).rows == lay_out_telemetry(new).rows


def test_the_trace_of_several_ranks(events: list[Event], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    trace = Trace(path)
    for event in events:
        trace.record(event)
    trace.close(keep=True)
    written = json.loads(path.read_text())["traceEvents"]
    rows = {event["args"]["name"]: event["tid"] for event in written if event["name"] == "thread_name"}
    places = {event["tid"]: event["args"]["sort_index"] for event in written if "sort_index" in event["name"]}
    assert len(set(places.values())) == len(rows)
    order = sorted(rows, key=lambda name: places[rows[name]])
    exchanges = ["allreduce", "allreduce 2", "allreduce exposed"]
    assert order == [*ROWS[:3], *exchanges, *ROWS[3:]]
    spans = [event for event in written if event["ph"] == "X"]
    by_row = {name: [span for span in spans if span["tid"] == tid] for name, tid in rows.items()}
    assert [span["name"] for span in by_row["allreduce"]] == ["bucket 0"] * 3
    assert [span["name"] for span in by_row["allreduce 2"]] == ["bucket 1"] * 3
    exposed = by_row["allreduce exposed"]
    assert [span["args"] for span in exposed] == [{"waited_for_ranks_ms": 1.0}] * 3
    for span, batch in zip(exposed, batches_of(events), strict=True):
        assert span["dur"] == pytest.approx(4e3)
        assert batch.communication is not None
        assert batch.communication.begin == batch.steps[-1].end


def test_the_event_file_of_several_ranks(events: list[Event], tmp_path: Path) -> None:
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    board = TensorBoard(tmp_path / "board")
    found: dict[str, dict[int, float]] = {}
    write = board._file.write

    def read(data: bytes) -> None:
        message = event_pb2.Event.FromString(data)
        for value in message.summary.value:
            found.setdefault(value.tag, {})[message.step] = value.simple_value
        write(data)

    board._file.write = read
    for event in events:
        board.record(event)
    board.close(keep=True)
    assert found["ms_batch/allreduce"] == dict.fromkeys((6, 12, 16), 10.0)
    assert found["ms_batch/allreduce_exposed"] == dict.fromkeys((6, 12, 16), 4.0)
    losses = [sum(batch.losses) / len(batch.losses) for batch in batches_of(events)]
    assert list(found["loss/training"].values()) == pytest.approx(losses, rel=1e-6)


def test_a_notebook_counts_the_steps_of_all_ranks(
    events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int]] = []

    class Bar:
        def show(self, done: int, total: int, doing: str) -> None:
            shown.append((done, total))

    monkeypatch.setattr("aneperf.notebook.bar", Bar)
    show = notebook_view()
    assert show is not None
    for event in events:
        show(event)
    assert shown == [(done, 16) for done in (0, 2, 4, 6, 8, 10, 12, 14, 16)]


def test_a_resumed_batch_that_the_ranks_do_not_divide(alone: list[Event]) -> None:
    started = next(on_ranks(alone))
    assert isinstance(started, RunStarted)
    steps = [event.step for event in on_ranks(alone) if isinstance(event, StepDone)]
    assert steps == list(range(0, 16, 2))
    assert started.config.accumulation == 6
    assert [started.done_with(step) for step in (0, 4, 5, 14, 15)] == [2, 6, 6, 16, 16]
