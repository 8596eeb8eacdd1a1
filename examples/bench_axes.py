"""Time a program of your own for several shapes."""

import argparse

import numpy as np

import aneperf
from aneperf import mil


def feed_forward(channels: int, hidden: int, positions: int = 64) -> mil.Builder:
    """Build the feed-forward block of a transformer. Its parameters are the axes."""
    random = np.random.default_rng(0)
    up = random.standard_normal((hidden, channels, 1, 1)) / channels**0.5
    down = random.standard_normal((channels, hidden, 1, 1)) / hidden**0.5
    b = mil.Builder()
    x = b.input("x", (1, channels, 1, positions))  # batch, channels, height, width
    b.output("y", mil.add(x, mil.conv(mil.silu(mil.conv(x, up)), down)))
    return b


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    # Each combination of the values is a row. `positions` has no axis and keeps its default.
    axes = {"channels": [64, 128], "hidden": [128, 256, 512]}
    result = aneperf.bench(feed_forward, axes=axes, budget=parser.parse_args().seconds)
    print(result)
    for row in result:
        # A refused program or a wrong output is a row, too: with the reason, and without a time.
        if row.status != "ok":
            print(row.name, row.status, row.reason)
            continue
        shape = f"{row.params['axis_channels']} x {row.params['axis_hidden']}"
        print(f"{shape}: {row.median:.4f} {row.unit}, {row.metrics['gflop_per_s']:.3g} GFLOP/s")
