"""Pages made from the code and the custom resource definitions that they describe."""
