"""What all pods here have in common: made from templates, within a security standard. Pure."""
