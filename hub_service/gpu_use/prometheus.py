"""Asks a Prometheus."""

from __future__ import annotations

from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError


class PrometheusError(Exception):
    """It gave no answer, or said that it can't."""


class Prometheus:
    """A Prometheus' HTTP API at `url`, such as http://prometheus.monitoring:9090."""

    def __init__(self, url: str, *, request_timeout: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._request_timeout = request_timeout

    async def query(self, expression: str) -> bytes:
        """The answer to an instant query. Raises PrometheusError."""
        request = HTTPRequest(
            f"{self._url}/api/v1/query",
            method="POST",
            body=urlencode({"query": expression}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            connect_timeout=self._request_timeout,
            request_timeout=self._request_timeout,
            follow_redirects=False,
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPTimeoutError) as error:
            raise PrometheusError(f"{self._url} does not answer: {error}") from error
        if response.code != 200:
            text = response.body.decode("utf-8", "replace")[:300]
            raise PrometheusError(f"{self._url} answers {response.code}: {text}")
        return response.body
