"""Starts that race for the same quota, judged by the order of the API server's own events."""
