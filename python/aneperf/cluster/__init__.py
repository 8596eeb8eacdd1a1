"""Several processes, the ranks, that work on one run: how they are started, and how they communicate."""
