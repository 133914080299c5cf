"""Answers that need nobody's word on who asks: health, and figures for Prometheus.

Apart from `web`, which is about people and needs JupyterHub's modules: without a hub they are not
loaded, which is a third of the service's memory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http.client import responses
from typing import Any

from tornado.web import Application, HTTPError, RequestHandler

log = logging.getLogger(__name__)


def health_application(is_ready: Callable[[], bool]) -> Application:
    """All that is served where there is no hub that could say who is calling: /health."""
    return Application(
        [("/health", Health)],
        default_handler_class=NotFound,
        log_function=log_request,
        is_ready=is_ready,
    )


def metrics_application(rendered: Callable[[], bytes], content_type: str) -> Application:
    """/metrics, for a port that is reached from inside the cluster only."""
    return Application(
        [("/metrics", _Metrics)],
        default_handler_class=NotFound,
        log_function=log_request,
        rendered=rendered,
        content_type=content_type,
    )


def log_request(handler: RequestHandler) -> None:
    """One line a request, without its query: a login's code and people's tokens can be in that."""
    request, status = handler.request, handler.get_status()
    level = logging.DEBUG if status < 400 else logging.WARNING
    log.log(level, "%d %s %s", status, request.method, request.path)


class Handler(RequestHandler):
    """Logs what fails."""

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Without the request's query, as in `log_request`."""
        if not isinstance(value, HTTPError):
            log.error(
                "%s %s failed", self.request.method, self.request.path, exc_info=(typ, value, tb)
            )


class JsonHandler(Handler):
    """Answers, errors included, are JSON."""

    def set_default_headers(self) -> None:
        """JSON, for nobody's cache."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The status, and the sentence if there is one."""
        error = kwargs.get("exc_info", (None, None))[1]
        message = error.log_message if isinstance(error, HTTPError) else None
        message = message or responses.get(status_code, "Unknown")
        self.finish(json.dumps({"status": status_code, "message": message}))


class NotFound(JsonHandler):
    """Where there is no page."""

    def prepare(self) -> None:
        """Whatever the method."""
        raise HTTPError(404, "There is no such page.")


class Health(JsonHandler):
    """Whether the service is ready."""

    def get(self) -> None:
        """200 if so, else 503."""
        ready = self.settings["is_ready"]()
        self.set_status(200 if ready else 503)
        self.finish(json.dumps({"ready": ready}))


class _Metrics(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", self.settings["content_type"])
        self.finish(self.settings["rendered"]())
