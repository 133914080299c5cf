"""What the service answers: its API, its page, its health and figures."""
