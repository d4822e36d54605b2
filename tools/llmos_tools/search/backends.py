"""Where the web is searched: a SearXNG server of the user's, or public engines through `ddgs`.

Knows nothing of what was read before.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httpx2
from pydantic import BaseModel, ValidationError

from llmos_tools.search.seen import Found

TIME_LIMIT_S = 10.0
MOST_RESPONSE_BYTES = 5_000_000


class SearchUnavailable(Exception):
    """A backend cannot be asked; the message says why, in a few words."""


class Backend(Protocol):
    """Searches the web."""

    async def search(self, query: str, limit: int) -> list[Found]:
        """Return the best results, best first.

        Raises:
            SearchUnavailable: it cannot be asked.
        """
        ...


class _Result(BaseModel):
    url: str
    title: str = ""
    content: str | None = ""


class _Results(BaseModel):
    results: list[_Result]


class Searxng:
    """A SearXNG server with the JSON format enabled (`search.formats` in its settings)."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/search"

    async def search(self, query: str, limit: int) -> list[Found]:
        parameters = {"q": query, "format": "json"}
        try:
            async with asyncio.timeout(TIME_LIMIT_S), httpx2.AsyncClient() as client:
                body = await _body(client, self._url, parameters)
            found = _Results.model_validate_json(body).results
        except TimeoutError as error:
            raise SearchUnavailable(f"{self._url} did not answer") from error
        except ValidationError as error:
            raise SearchUnavailable(
                f"{self._url} did not answer in JSON; enable the format json in its settings"
            ) from error
        except httpx2.HTTPError as error:
            raise SearchUnavailable(f"{self._url}: {error or type(error).__name__}") from error
        return [Found(one.title, one.url, one.content or "") for one in found[:limit]]


async def _body(client: httpx2.AsyncClient, url: str, parameters: dict[str, str]) -> bytes:
    body = bytearray()
    async with client.stream("GET", url, params=parameters) as response:
        if response.status_code != 200:
            raise SearchUnavailable(f"{url} answered {response.status_code}")
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MOST_RESPONSE_BYTES:
                raise SearchUnavailable(f"{url} answered with more than 5 MB")
    return bytes(body)


class Ddgs:
    """Public search engines, by the library `ddgs`; needs no key."""

    async def search(self, query: str, limit: int) -> list[Found]:
        try:
            rows = await asyncio.wait_for(
                asyncio.to_thread(_ask_engines, query, limit), TIME_LIMIT_S * 2
            )
        except ImportError as error:
            raise SearchUnavailable(
                "the public engines need ddgs: pip install 'llmos[search]'"
            ) from error
        except Exception as error:  # the library and each engine have errors of their own
            raise SearchUnavailable("the public search engines cannot be reached") from error
        return [Found(row["title"], row["href"], row["body"]) for row in rows]


def _ask_engines(query: str, limit: int) -> list[dict[str, Any]]:
    from ddgs import DDGS
    from ddgs.exceptions import DDGSException

    try:
        return DDGS(timeout=int(TIME_LIMIT_S)).text(query, max_results=limit)
    except DDGSException as error:
        if "No results" in str(error):
            return []
        raise
