"""Training transformers on the Neural Engine with weights baked into kernels."""
