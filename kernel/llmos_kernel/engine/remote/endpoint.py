"""HTTP with one endpoint: requests, retries, streams, and every failure as one clear line.

Redirects are not followed, so the key goes to no other host. Knows no tokens.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from llmos_kernel.errors import ModelError

CONNECT_TIMEOUT_S = 10.0
# A large model on a processor may need minutes to read a long prompt before its first token.
READ_TIMEOUT_S = 600.0
MAX_TRIES = 4
MAX_WAIT_S = 30.0
MAX_PORT = 65535
BUSY_STATUSES = (429, 503)
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an endpoint is and how to speak to it. `url` is its base, as `http://host:port/v1`."""

    url: str
    options: dict[str, Any]

    @classmethod
    def at(cls, url: str, api_key: str | None) -> Endpoint:
        """Check an address and a key.

        Raises:
            ModelError: they cannot be used.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise ModelError(f"{url!r} is not an address ({error}); mend model.path") from error
        if not parsed.host or (parsed.port or 0) > MAX_PORT:
            raise ModelError(
                f"{url!r} names no host, or no port that there is; give an address like "
                "http://localhost:11434/v1"
            )
        headers = {"Authorization": f"Bearer {_checked(api_key)}"} if api_key else {}
        is_local = parsed.host in LOOPBACK_HOSTS
        options: dict[str, Any] = {
            "headers": headers,
            "timeout": httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            "trust_env": not is_local,  # a proxy does not reach this machine
            "verify": ssl.create_default_context(),
        }
        return cls(url.rstrip("/"), options)

    @property
    def root(self) -> str:
        """Where a server keeps what is its own, beside the protocol."""
        return self.url.removesuffix("/v1")

    def get(self, url: str) -> Any:
        """Return the JSON at an address.

        Raises:
            ModelError: there is none, or the endpoint cannot be reached.
        """
        return self._ask("GET", url, None)

    def post(self, url: str, body: dict[str, Any]) -> Any:
        """Return the JSON that a request is answered with; blocks.

        Raises:
            ModelError: the endpoint refuses, or cannot be reached.
        """
        return self._ask("POST", url, body)

    def _ask(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        try:
            with httpx2.Client(**self.options) as client:
                response = client.request(method, url, json=body)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise self._refusal(response)
        try:
            return response.json()
        except ValueError as error:
            raise self._foreign(f"{url} gives no JSON") from error

    async def events(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the events of a streamed chat completion up to its end.

        Raises:
            ModelError: the endpoint refuses, breaks off or reports an error.
        """
        async with self._stream(body) as response:
            try:
                async for event in httpx2.EventSource(response):
                    if event.data.strip() == "[DONE]":
                        return
                    if event.data:
                        yield self._decoded(event.data)
            except httpx2.SSEError as error:
                raise self._foreign("it does not stream its replies") from error
            except httpx2.HTTPError as error:
                raise broken(self.url, f"{type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def _stream(self, body: dict[str, Any]) -> AsyncGenerator[httpx2.Response]:
        """Open a stream; a busy endpoint is asked again, when it says and a few times at most."""
        async with httpx2.AsyncClient(**self.options) as client:
            request = client.build_request("POST", f"{self.url}/chat/completions", json=body)
            for num_tries in range(1, MAX_TRIES + 1):
                response = await self._sent(client, request)
                try:
                    if response.is_success:
                        yield response
                        return
                    await response.aread()
                finally:
                    await response.aclose()
                if response.status_code not in BUSY_STATUSES or num_tries == MAX_TRIES:
                    raise self._refusal(response)
                await asyncio.sleep(_wait_s(response, num_tries))

    async def _sent(self, client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        try:
            return await client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _decoded(self, data: str) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError as error:
            raise broken(self.url, "it sent an event that is no JSON") from error
        if not isinstance(value, dict):
            raise broken(self.url, "it sent an event that is no JSON object")
        if value.get("error"):
            raise ModelError(f"{self.url} reports: {_message(value)}")
        return value

    # Errors -----------------------------------------------------------------

    def _unreachable(self, error: httpx2.HTTPError) -> ModelError:
        if isinstance(error, httpx2.ReadTimeout):
            return broken(self.url, f"it was silent for {READ_TIMEOUT_S:.0f} s")
        return ModelError(
            f"{self.url} cannot be reached ({str(error) or type(error).__name__}); "
            "start the server, or mend model.path"
        )

    def _foreign(self, problem: str) -> ModelError:
        return ModelError(
            f"{self.url} does not speak the OpenAI protocol: {problem}; mend model.path "
            "(it mostly ends in /v1)"
        )

    def _refusal(self, response: httpx2.Response) -> ModelError:
        """Say what a status means and what to do; the endpoint's own words are kept."""
        said = _said(response)
        match response.status_code:
            case 401 | 403:
                remedy = "set model.api_key, or LLMOS_MODEL__API_KEY, to a key that it accepts"
            case 404:
                remedy = "check model.path (it mostly ends in /v1) and model.name"
            case 400 | 413 | 422:
                remedy = (
                    "where it speaks of the context, start the server with a longer one, or begin "
                    "a new conversation"
                )
            case 429 | 503:
                remedy = "it stayed busy over several tries; try again later"
            case _ if response.is_redirect:
                target = response.headers.get("location", "nowhere")
                remedy = f"it redirects to {target!r}; set model.path to the address that you mean"
            case _:
                remedy = "see the server's own log"
        return ModelError(f"{self.url} answers {response.status_code}{said}; {remedy}")


def broken(url: str, detail: str) -> ModelError:
    return ModelError(f"{url} broke off its reply ({detail}); see the server's log and ask again")


def _checked(api_key: str) -> str:
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError("model.api_key has characters that no key has; set it again")
    return key


def _wait_s(response: httpx2.Response, num_tries: int) -> float:
    """Return how long to wait: what the endpoint asks for in seconds, else ever longer."""
    try:
        asked = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        asked = 0.5 * 2**num_tries
    return min(max(asked, 0.0), MAX_WAIT_S)


def _said(response: httpx2.Response) -> str:
    try:
        said = _message(response.json())
    except ValueError:
        said = response.text
    line = " ".join(said.split())[:300]
    return f" ({line})" if line else ""


def _message(body: Any) -> str:
    """Return the words of an error body, in any of the forms that servers give it."""
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            if body.get(key):
                return _message(body[key])
    return body if isinstance(body, str) else json.dumps(body)
