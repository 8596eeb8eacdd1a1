"""Run probes: cases, timing, time budgets, child processes."""
