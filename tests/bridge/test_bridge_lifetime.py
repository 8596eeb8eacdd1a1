"""Threads, processes, many programs, the end of a process: the bridge keeps them apart and leaves nothing."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from support.bridge_children import compile_the_same
from support.bridge_programs import WEIGHTS, X, assert_same, product
from support.programs import normal_halves

pytest_plugins = ["support.standin"]


def at_once(*jobs):
    """Run the jobs in a thread each, all started together, and return their results."""
    start = threading.Barrier(len(jobs))

    def run(job):
        start.wait(timeout=60)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(timeout=300) for future in [pool.submit(run, job) for job in jobs]]


def test_eight_threads_evaluate_eight_programs(engine, emulator):
    programs = [product(weight) for weight in WEIGHTS]
    inputs = [normal_halves(seed, X.shape) for seed in range(8)]
    expected = [program.compile(emulator).run(x=x) for program, x in zip(programs, inputs, strict=True)]

    def work(i):
        compiled = programs[i].compile(engine)
        for _ in range(25):
            assert_same(compiled.run(x=inputs[i]), expected[i])

    at_once(*(lambda i=i: work(i) for i in range(8)))


def test_threads_share_a_program_and_a_request(ane, emulator):
    program = product(WEIGHTS[0])
    compiled, reference = program.compile(ane), program.compile(emulator)
    x, y = (ane.make_surface(ports[0]) for ports in (compiled.inputs, compiled.outputs))
    x.write(X)
    shared = compiled.bind({"x": x}, {"y": y})

    def with_surfaces_of_its_own(seed):
        x = normal_halves(seed, X.shape)
        expected = reference.run(x=x)
        for _ in range(25):
            assert_same(compiled.run(x=x), expected)

    own = [lambda seed=seed: with_surfaces_of_its_own(seed) for seed in range(4)]
    at_once(*own, *[lambda: shared.time(100)] * 4)
    assert_same({"y": y.read()}, reference.run(x=X))


def test_others_evaluate_during_a_compile(ane, standin):
    compiled = product(WEIGHTS[0]).compile(ane)
    expected = compiled.run(x=X)
    done = threading.Event()

    def evaluate():
        while not done.is_set():
            assert_same(compiled.run(x=X), expected)

    def compile_slowly():
        try:
            before = standin.evaluations
            for weight in WEIGHTS[1:4]:
                product(weight).compile(ane)
            return standin.evaluations - before
        finally:
            done.set()

    with standin.faults("slow_load=300"):
        *_, evaluations = at_once(*[evaluate] * 3, compile_slowly)
    assert evaluations > 0


def test_equal_programs_come_and_go_in_threads(standin):
    at_once(*[lambda: compile_the_same(15)] * 8)
    assert standin.compiles == 8 * 15


def test_equal_programs_come_and_go_in_processes(standin, tmp_path):
    variables = {"TMP": str(tmp_path), "ANE_STANDIN_COMPILE_BUDGET": "1000"}
    at_once(*[lambda: standin.child("compile_the_same(25)", **variables)] * 4)
    assert list(tmp_path.glob("*/*")) == []


def test_300_cycles_leave_nothing(standin, tmp_path):
    output = standin.child("run_300_cycles()", TMP=str(tmp_path), ANE_STANDIN_COMPILE_BUDGET="1000")
    growth, is_sanitized, at_exit = map(json.loads, output.splitlines())
    assert at_exit == [0] * 6
    assert list(tmp_path.glob("*/*")) == []
    # The weights of the 200 programs are 25 MiB. AddressSanitizer keeps what is freed.
    assert is_sanitized or growth < 4 << 20


def test_what_is_alive_at_exit_is_cleaned_up(standin, tmp_path):
    assert standin.child("end_with_everything_alive()", TMP=str(tmp_path)) == "2 8 8 1 8\n"
    assert list(tmp_path.glob("*/*")) == []
