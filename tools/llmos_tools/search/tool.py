"""The tool `search`: the web, and without a network what was read before and the workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llmos.sdk import CallContext, Effect, RetryCall, tool
from llmos_tools.search.backends import Backend, Ddgs, SearchUnavailable, Searxng
from llmos_tools.search.seen import Found, SeenPages, search_texts
from llmos_tools.search.settings import SearchSettings
from llmos_tools.search.workspace import text_files

MOST_RESULTS = 8
MOST_OFFLINE = 4
MOST_QUERY_CHARS = 400
SNIPPET_CHARS = 300


class Search:
    """Asks the backends in turn; the first that can be asked answers."""

    def __init__(
        self,
        settings: SearchSettings,
        *,
        backends: Sequence[Backend] | None = None,
    ) -> None:
        configured: list[Backend] = [Searxng(settings.searxng_url)] if settings.searxng_url else []
        self._backends = [*configured, Ddgs()] if backends is None else backends

    @tool(effects={Effect.NETWORK}, is_repeatable=True, timeout_s=60, max_concurrent=None)
    async def search(self, query: str, context: CallContext) -> str:
        """Search the web.

        Args:
            query: what to look for
        """
        query = " ".join(query.split())[:MOST_QUERY_CHARS]
        if not query:
            raise RetryCall("the query is empty; say what to look for")
        problems: list[str] = []
        for backend in self._backends:
            try:
                found = await backend.search(query, MOST_RESULTS)
            except SearchUnavailable as error:
                problems.append(str(error))
                continue
            first = [f"({'; '.join(problems)}: asked another)"] if problems else []
            return "\n".join([*first, *_numbered(found)])
        return await self._offline(query, problems, context)

    async def _offline(self, query: str, problems: list[str], context: CallContext) -> str:
        seen = SeenPages(context.home)
        pages = await asyncio.to_thread(seen.search, query, MOST_OFFLINE)
        files = await asyncio.to_thread(
            lambda: search_texts(text_files(context.workspace), query, MOST_OFFLINE)
        )
        first = f"offline: {'; '.join(problems)}. From pages read before and the workspace's files:"
        return "\n".join([first, *_numbered([*pages, *files])])


def _numbered(found: Sequence[Found]) -> list[str]:
    lines: list[str] = []
    for number, one in enumerate(found, 1):
        title = "" if one.title in ("", one.place) else f"{' '.join(one.title.split())} - "
        lines.append(f"{number}. {title}{one.place}")
        if snippet := " ".join(one.snippet.split())[:SNIPPET_CHARS]:
            lines.append(f"   {snippet}")
    return lines or ["nothing was found"]
