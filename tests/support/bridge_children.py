"""Let child processes use the bridge on the stand-in, and print what becomes of it."""

import atexit
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import aneperf
from support.bridge_programs import HOSTILE, NAMED, PATH, PROGRAM, WEIGHTS, X, product
from support.processes import in_a_fork
from support.programs import NO_BUDGET, normal_halves
from support.standin import ATTRIBUTES, MODEL, Standin

FORKED = 'forked from one that uses the Neural Engine.* multiprocessing.get_context\\("spawn"\\)'


def refused(call, *arguments, **options):
    """Check that this call is refused to a forked child."""
    with pytest.raises(aneperf.DeviceUnavailable, match=FORKED):
        call(*arguments, **options)


def open_engine():
    """Print how the engine opens."""
    try:
        aneperf.open("ane")
    except aneperf.DeviceUnavailable as error:
        print(error)
    else:
        print("opened")


def fork_amid_calls():
    """Print the exit codes of children forked while other threads compile, evaluate and unload."""
    ane, done = aneperf.open("ane", compile_budget=NO_BUDGET), threading.Event()
    compiled = PROGRAM.compile(ane)

    def evaluate():
        while not done.is_set():
            compiled.run(x=X)

    def compile_and_unload():
        while not done.is_set():
            product(normal_halves(time.monotonic_ns() % 2**32, WEIGHTS[0].shape)).compile(ane).unload()

    threads = [threading.Thread(target=work) for work in (evaluate, compile_and_unload)]
    for thread in threads:
        thread.start()

    def work():
        refused(compiled.run, x=X)
        refused(product(WEIGHTS[1]).compile, ane)
        refused(compiled.unload)

    try:
        codes = [in_a_fork(work) for _ in range(10)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    print(json.dumps(codes))


def fork_before_opening():
    """Print the exit code of a child forked by a process that has not opened the engine."""
    print(in_a_fork(lambda: PROGRAM.compile(aneperf.open("ane")).run(x=X)))


def compile_the_same(cycles):
    """Compile, run and unload one program again and again."""
    ane = aneperf.open("ane", compile_budget=NO_BUDGET)
    for _ in range(cycles):
        compiled = PROGRAM.compile(ane)
        assert np.isfinite(compiled.run(x=X)["y"]).all()
        compiled.unload()


def fail_to_give_up():
    """Print what a model says that can be neither described nor unloaded."""
    ane, standin = aneperf.open("ane"), Standin()
    with standin.raising(MODEL("unloadWithQoS:error:")):
        with standin.raising(ATTRIBUTES):
            try:
                PROGRAM.compile(ane)
            except aneperf.CompileError as error:
                print(error)
        try:
            PROGRAM.compile(ane).unload()
        except aneperf.EvaluateError as error:
            print(error)
    print(standin.alive().folders)


def use_hostile_names():
    """Print the files of a compile, the refusals of hostile names, and the folders before and after."""
    root, ane = Path(os.environ["TMP"]).parents[2], aneperf.open("ane")

    def tree():
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}

    def refusal(text, weights):
        try:
            ane.compile(text, weights)
        except aneperf.AneError as error:
            return type(error).__name__, str(error)

    def list_files(call, *_):
        print(json.dumps(sorted(path for path in tree() if (root / path).is_file())))
        return call()

    with Standin().replaced(MODEL("compileWithQoS:options:error:"), list_files):
        PROGRAM.compile(ane)
    before = tree()
    text, weights = PROGRAM.text, PROGRAM.weights
    print(json.dumps([refusal(text, {**weights, path: b"outside"}) for path in HOSTILE]))
    print(json.dumps([refusal(text.replace(PATH, path), {path: weights[PATH]}) for path in NAMED]))
    print(json.dumps([list(before), tree() == before]))


def fail_to_write():
    """Print how a file whose name is too long for the disk is refused, and what is alive then."""
    os.close(2)  # GNUstep complains there of what it cannot write
    path = "@model_path/" + "a" * 300
    try:
        aneperf.open("ane").compile(PROGRAM.text.replace(PATH, path), {path: PROGRAM.weights[PATH]})
    except aneperf.CompileError as error:
        print(error)
    print(*Standin().alive())


def run_300_cycles():
    """Print by how many bytes 200 programs make the process grow, and what is alive at its end."""
    standin = Standin()
    atexit.register(lambda: print(json.dumps([*standin.alive(), standin.lock_errors])))
    ane = aneperf.open("ane", compile_budget=NO_BUDGET)

    def cycle(seed):
        compiled = product(normal_halves(seed, (256, 256, 1, 1), 0.1)).compile(ane)
        assert np.isfinite(compiled.run(x=normal_halves(seed, (1, 256, 1, 32)))["y"]).all()
        if seed % 2:
            compiled.unload()

    def resident_after(seeds):
        for seed in seeds:
            cycle(seed)
        assert standin.alive() == (0, 0, 0, 0, 0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    warm = resident_after(range(100))
    print(json.dumps(resident_after(range(100, 300)) - warm))
    print(json.dumps("libclang_rt.asan" in Path("/proc/self/maps").read_text()))


def end_with_everything_alive():
    """Print what is alive at the end of a process that frees nothing."""
    ane = aneperf.open("ane")
    programs = [product(weight).compile(ane) for weight in WEIGHTS]
    surfaces = [ane.make_surface(programs[0].inputs[0]) for _ in range(2)]
    request = programs[0].bind({"x": surfaces[0]}, {"y": surfaces[1]})
    request.evaluate()
    sys.modules["__main__"].kept = programs, surfaces, request
    print(*Standin().alive())
