"""The same bits on every run: whatever the number of threads, callers and processes."""

import threading

import pytest

import aneperf
from aneperf import mil
from support import oracle
from support.parameters import thorough
from support.processes import in_a_fork, needs_fork, results_with
from support.programs import VARIED, compile_varied, evaluate, normal_halves, run

NAMES = list(VARIED)


@pytest.fixture(scope="module")
def varied(device):
    return compile_varied(device)


@pytest.fixture(scope="module")
def serial(varied):
    return {name: run(program, x) for name, (program, x) in varied.items()}


def assert_same_results(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        oracle.assert_same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_every_run_gives_the_same_bits(varied, serial, name):
    program, x = varied[name]
    for _ in range(3):
        assert_same_results(run(program, x), serial[name])


def test_compiling_again_gives_the_same_bits(device, serial):
    for name, (program, x) in compile_varied(device).items():
        assert_same_results(run(program, x), serial[name])


@pytest.mark.parametrize("threads", [1, 3, *thorough(2, 4, 7)])
def test_every_thread_count_gives_the_same_bits(tmp_path, serial, threads):
    results = results_with(tmp_path, ANEPERF_THREADS=str(threads))
    assert f"threads={threads}" in results.pop("info")
    assert len(results) == sum(map(len, serial.values()))
    for key, got in results.items():
        name, index = key.split("/")
        oracle.assert_same(got, serial[name][int(index)])


def test_programs_evaluated_at_once_do_not_disturb_one_another(varied, serial):
    """Run programs that eight threads share, in another order in each."""
    failures = []
    start = threading.Barrier(8)

    def work(first):
        start.wait()
        try:
            for step in range(2 * len(NAMES)):
                name = NAMES[(first + step) % len(NAMES)]
                assert_same_results(run(*varied[name]), serial[name])
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(first,), daemon=True) for first in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive(), "an evaluation hangs"
    assert not failures, failures[0]


def assert_refused(emulator, program, x):
    """Check that a forked process can neither evaluate, compile nor open."""
    for call in (
        lambda: run(program, x),
        lambda: evaluate(emulator, mil.square, normal_halves(1, (1, 16, 1, 500))),
        lambda: aneperf.open("emulator"),
    ):
        with pytest.raises(aneperf.DeviceUnavailable, match="forked"):
            call()


@needs_fork
def test_a_forked_child_is_refused(emulator, serial):
    program, x = compile_varied(emulator)[NAMES[0]]
    assert in_a_fork(lambda: assert_refused(emulator, program, x)) == 0
    assert_same_results(run(program, x), serial[NAMES[0]])


@needs_fork
def test_a_child_forked_amid_an_evaluation_is_refused(emulator):
    """Do not let a child wait for the program and the pool that the parent's thread holds."""
    program, x = compile_varied(emulator)["matmul"]
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            run(program, x)

    worker = threading.Thread(target=keep_busy)
    worker.start()
    try:
        assert [in_a_fork(lambda: assert_refused(emulator, program, x)) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        worker.join()
