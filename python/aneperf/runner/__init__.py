"""How a probe is run: cases, timing, time budgets, child processes."""
