"""The queue of products whose sums are the gradients of weights."""

import gc
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as host
from support.host_arrays import assert_near, bad, normal, surface


def test_gradient_queue(device: aneperf.Device) -> None:
    queue = host.GradientQueue()
    dy, x = normal(1, 40, 96), normal(2, 70, 96)
    s = surface(device, 90, 96)
    host.write_channels(s, 20, x)
    dw, half_dw = np.zeros((40, 70), np.float32), np.zeros((70, 40), np.float32)
    for _ in range(3):
        queue.add(dy, x, dw, "arrays", base=dw)
        queue.add((s, 20, 70), dy, half_dw, "surface", base=half_dw)
    queue.wait()
    assert_near(dw, 3 * (dy.astype(np.float64) @ x.T))
    assert_near(half_dw, 3 * (x.astype(np.float16).astype(np.float64) @ dy.T))
    spans = queue.take_spans()
    assert [name for name, _, _ in spans] == ["arrays", "surface"] * 3
    assert all(begin <= end for _, begin, end in spans)
    assert all(first[2] <= second[1] for first, second in pairwise(spans))
    assert queue.take_spans() == []
    queue.wait()


def test_gradient_queue_takes_parts_of_surfaces(device: aneperf.Device) -> None:
    queue, dy, x = host.GradientQueue(), normal(1, 40, 32), normal(2, 70, 32)
    wide, whole = surface(device, 45, 100), surface(device, 30, 32)
    host.write_channels(wide, 5, x[:40].copy(), 60)
    host.write_channels(whole, 0, x[40:].copy())
    dw = np.empty((40, 70), np.float32)
    queue.add(dy, [(wide, 5, 40, 32, 60), (whole, 0, 30)], dw)
    alone = np.empty((40, 40), np.float32)
    queue.add(dy, (wide, 5, 40, 32, 60), alone)
    queue.wait()
    exact = dy.astype(np.float64) @ x.astype(np.float16).astype(np.float64).T
    assert_near(dw, exact)
    assert_near(alone, exact[:, :40])
    bad(lambda: queue.add(dy, [(whole, 0, 30), (wide, 5, 40)], dw), "x has parts of 32 and of 100 positions")
    bad(lambda: queue.add(dy, [], dw), "x has no parts")
    bad(lambda: queue.add(dy, [(whole, 0)], dw), r"x must be an array, or \(surface")


@pytest.mark.parametrize("shape", [(5, 7), (300, 520)])
def test_gradient_queue_adds_to_a_base(shape: tuple[int, int]) -> None:
    queue, dy, x = host.GradientQueue(), normal(1, shape[0], 33), normal(2, shape[1], 33)
    exact, base = dy.astype(np.float64) @ x.T, normal(3, *shape)
    before, dw, alone = base.copy(), np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    queue.add(dy, x, dw, base=base)
    queue.add(dy, x, alone)
    queue.wait()
    assert_near(dw, base + exact)
    assert_near(alone, exact)
    np.testing.assert_array_equal(base, before)


def test_gradient_queue_of_adapters(device: aneperf.Device) -> None:
    """Compare with the gradients of b a from that of the whole weight, in float64."""
    queue, s = host.GradientQueue(), surface(device, 90, 33)
    dy, x, a, b = normal(1, 40, 33), normal(2, 70, 33), normal(3, 5, 70), normal(4, 40, 5)
    host.write_channels(s, 20, x)
    dw = dy.astype(np.float64) @ x.astype(np.float16).astype(np.float64).T
    exact_a, exact_b = 1.5 * b.T @ dw, 1.5 * dw @ a.T
    da, db = np.full_like(a, np.nan), np.full_like(b, np.nan)
    sum_a, sum_b = normal(5, 5, 70), normal(6, 40, 5)
    before_a, before_b = sum_a.copy(), sum_b.copy()
    queue.add_adapter(dy, (s, 20, 70), a, b, da, db, scale=1.5, name="q")
    queue.add_adapter(dy, (s, 20, 70), a, b, sum_a, sum_b, scale=1.5, name="k", base_a=sum_a, base_b=sum_b)
    queue.wait()
    assert_near(da, exact_a)
    assert_near(db, exact_b)
    assert_near(sum_a, before_a + exact_a)
    assert_near(sum_b, before_b + exact_b)
    assert [name for name, _, _ in queue.take_spans()] == ["q", "k"]
    bad(lambda: queue.add_adapter(dy, x[:, :9], a, b, da, db, scale=1.0), "x must be a contiguous")
    bad(lambda: queue.add_adapter(dy, x, b, b, da, db, scale=1.0), r"a is \[40, 5\], must be \[any, 70\]")
    bad(lambda: queue.add_adapter(dy, x, a, a, da, db, scale=1.0), r"b is \[5, 70\], must be \[40, 5\]")
    bad(lambda: queue.add_adapter(dy, x, a, b, db, db, scale=1.0), r"da is \[40, 5\], must be \[5, 70\]")
    bad(
        lambda: queue.add_adapter(dy, x, a, b, da, db, scale=1.0, base_b=da),
        r"base_b is \[5, 70\], must be \[40, 5\]",
    )


def test_gradient_queue_keeps_its_operands_alive(device: aneperf.Device) -> None:
    queue = host.GradientQueue()
    results = []
    for seed in range(50):
        dw = np.zeros((64, 64), np.float32)
        queue.add(np.full((64, 256), seed, np.float32), np.ones((64, 256), np.float32), dw, base=dw)
        results.append(dw)
        if seed % 10 == 0:
            gc.collect()
    queue.wait()
    for seed, dw in enumerate(results):
        np.testing.assert_array_equal(dw, np.full((64, 64), 256.0 * seed))
    # A queue with work left finishes it while it is deleted.
    left = np.zeros((64, 64), np.float32)
    for _ in range(20):
        queue.add(np.ones((64, 256), np.float32), np.ones((64, 256), np.float32), left, base=left)
    del queue
    np.testing.assert_array_equal(left, np.full((64, 64), 20 * 256.0))


def test_gradient_queue_beside_a_busy_pool() -> None:
    """Run the caller's products and the queue's at once, without waiting for each other."""
    queue, stop = host.GradientQueue(), threading.Event()
    a, b = normal(1, 300, 200), normal(2, 200, 100)
    wrong = []

    def multiply() -> None:
        c, exact = np.empty((300, 100), np.float32), a.astype(np.float64) @ b
        while not (wrong and stop.is_set()):
            host.product(a, b, c)
            wrong.append(not np.allclose(c, exact, atol=1e-3))

    thread = threading.Thread(target=multiply)
    thread.start()
    dy, x, dw = normal(3, 256, 64), normal(4, 320, 64), np.zeros((256, 320), np.float32)
    for _ in range(200):
        queue.add(dy, x, dw, base=dw)
    queue.wait()
    stop.set()
    thread.join()
    assert wrong
    assert not any(wrong)
    assert_near(dw, 200 * (dy.astype(np.float64) @ x.T), 1e-4)


def test_the_interpreter_ends_with_work_in_the_queue() -> None:
    code = (
        "import numpy as np; from aneperf import _ane_native as host; q = host.GradientQueue();"
        "d = np.zeros((512, 512), np.float32);"
        "[q.add(np.ones((512, 512), np.float32), np.ones((512, 512), np.float32), d) for _ in range(50)]"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
