"""Threads, processes, many programs, the end of a process: the bridge keeps them apart and leaves nothing."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from support.bridge_programs import WEIGHTS, X, assert_same, product
from support.programs import normal_halves

pytest_plugins = ["support.standin"]


def at_once(*jobs):
    """Runs the jobs in a thread each, all started together, and returns their results."""
    start = threading.Barrier(len(jobs))

    def run(job):
        start.wait(timeout=60)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(timeout=300) for future in [pool.submit(run, job) for job in jobs]]


def test_eight_threads_evaluate_eight_programs(ane, emulator):
    programs = [product(weight) for weight in WEIGHTS]
    inputs = [normal_halves(seed, X.shape) for seed in range(8)]
    expected = [program.compile(emulator).run(x=x) for program, x in zip(programs, inputs, strict=True)]

    def work(i):
        compiled = programs[i].compile(ane)
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


SAME_PROGRAM = """
import aneperf, test_bridge_lifetime
from support.programs import NO_BUDGET

ane = aneperf.open("ane", compile_budget=NO_BUDGET)
test_bridge_lifetime.compile_the_same(ane, 25)
"""


def compile_the_same(ane, cycles):
    for _ in range(cycles):
        compiled = product(WEIGHTS[0]).compile(ane)
        assert np.isfinite(compiled.run(x=X)["y"]).all()
        compiled.unload()


def test_equal_programs_come_and_go_in_threads(ane, standin):
    at_once(*[lambda: compile_the_same(ane, 15)] * 8)
    assert standin.compiles == 8 * 15


def test_equal_programs_come_and_go_in_processes(standin, tmp_path):
    variables = {"TMP": str(tmp_path), "ANE_STANDIN_COMPILE_BUDGET": "1000"}
    at_once(*[lambda: standin.python(SAME_PROGRAM, **variables)] * 4)
    assert list(tmp_path.glob("*/*")) == []


CYCLES = """
import atexit, json, resource
import numpy as np
import aneperf, standin, test_bridge
from support.programs import NO_BUDGET, normal_halves

counters = standin.Standin()
atexit.register(lambda: print(json.dumps([*counters.alive(), counters.lock_errors])))
ane = aneperf.open("ane", compile_budget=NO_BUDGET)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def cycle(seed):
    weight = normal_halves(seed, (256, 256, 1, 1), 0.1)
    compiled = test_bridge.product(weight).compile(ane)
    assert np.isfinite(compiled.run(x=normal_halves(seed, (1, 256, 1, 32)))["y"]).all()
    if seed % 2:
        compiled.unload()


def resident_after(seeds):
    for seed in seeds:
        cycle(seed)
    assert counters.alive() == (0, 0, 0, 0, 0)
    return resident()


warm = resident_after(range(100))
print(json.dumps(resident_after(range(100, 300)) - warm))
print(json.dumps("libclang_rt.asan" in open("/proc/self/maps").read()))
"""


def test_300_cycles_leave_nothing(standin, tmp_path):
    output = standin.python(CYCLES, TMP=str(tmp_path), ANE_STANDIN_COMPILE_BUDGET="1000")
    growth, is_sanitized, at_exit = map(json.loads, output.splitlines())
    assert at_exit == [0] * 6
    assert list(tmp_path.glob("*/*")) == []
    # The weights of the 200 programs are 25 MiB. AddressSanitizer keeps what is freed.
    assert is_sanitized or growth < 4 << 20


ALIVE_AT_EXIT = """
import atexit
import aneperf, standin, test_bridge
ane = aneperf.open("ane")
programs = [test_bridge.product(weight).compile(ane) for weight in test_bridge.WEIGHTS]
surfaces = [ane.make_surface(programs[0].inputs[0]) for _ in range(2)]
request = programs[0].bind({"x": surfaces[0]}, {"y": surfaces[1]})
request.evaluate()
print(*standin.Standin().alive())
"""


def test_what_is_alive_at_exit_is_cleaned_up(standin, tmp_path):
    assert standin.python(ALIVE_AT_EXIT, TMP=str(tmp_path)) == "2 8 8 1 8\n"
    assert list(tmp_path.glob("*/*")) == []
