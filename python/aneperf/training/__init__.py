"""Training of transformers on the Neural Engine, with weights baked into kernels; `run` has `train`."""
