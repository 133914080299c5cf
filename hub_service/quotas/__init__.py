"""What each user may hold at a time, whether a kernel keeps within it, and how that is told."""
