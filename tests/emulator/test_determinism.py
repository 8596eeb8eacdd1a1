"""The same bits on every run: whatever the number of threads, callers and processes."""

import threading

import pytest

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
    """Eight threads, each going through programs that the others run too, in another order."""
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


@pytest.fixture(scope="module")
def emulated(emulator):
    """The varied programs on the emulator, which a forked process may use, unlike the engine's framework."""
    return compile_varied(emulator)


@needs_fork
def test_a_forked_child_evaluates(emulator, emulated, serial):
    def work():
        for name, (program, x) in emulated.items():
            assert_same_results(run(program, x), serial[name])
        x = normal_halves(1, (1, 16, 1, 5000))
        (got,) = evaluate(emulator, mil.square, x)
        oracle.assert_same(got, oracle.rounded(oracle.exact("square", x)))

    assert in_a_fork(work) == 0
    assert in_a_fork(work) == 0
    name = NAMES[0]
    assert_same_results(run(*emulated[name]), serial[name])


@needs_fork
def test_a_child_forked_amid_an_evaluation_evaluates(emulated, serial):
    """The parent's threads hold the pool; the child must not wait for them."""
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            run(*emulated["matmul"])

    def work():
        for name in ("conv_stack", "softmax"):
            assert_same_results(run(*emulated[name]), serial[name])

    worker = threading.Thread(target=keep_busy)
    worker.start()
    try:
        assert [in_a_fork(work) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        worker.join()
