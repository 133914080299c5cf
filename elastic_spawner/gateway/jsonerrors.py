"""How handlers answer with an error, the websocket's handshake included."""

from __future__ import annotations

from http.client import responses
from typing import Any

from tornado import web

from elastic_spawner.gateway.errors import KernelError


class JSONErrors(web.RequestHandler):
    """Errors are JSON: {"message": a sentence, "reason": a constant word}."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Both fields of the body reach JupyterLab's dialog; the HTTP reason phrase does not."""
        error = kwargs.get("exc_info", (None, None))[1]
        message = f"{responses.get(status_code, 'Error')}."
        reason = "".join(message.title().split()).rstrip(".")
        if isinstance(error, KernelError):
            status_code, message, reason = error.status, error.message, error.reason
        elif isinstance(error, web.HTTPError) and error.log_message:
            message = error.log_message % error.args
        elif status_code >= 500:
            message = "The gateway failed at this; its log says why."
        self.set_status(status_code)
        self.finish({"message": message, "reason": reason})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors that tell the caller what is wrong need no traceback."""
        if isinstance(value, KernelError):
            self.settings["log"].info(
                "%s %s: %d %s: %s",
                self.request.method,
                self.request.path,
                value.status,
                value.reason,
                value.message,
            )
        else:
            super().log_exception(typ, value, tb)
