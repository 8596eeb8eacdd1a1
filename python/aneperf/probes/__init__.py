"""The probes, a module each, and `registry`, which describes them."""
