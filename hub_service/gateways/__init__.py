"""The JupyterGateway, and what its pods say of the kernels they serve."""
