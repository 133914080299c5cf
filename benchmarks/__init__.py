"""How fast kernels start and GPUs come back, against a floor measured in the same run."""
