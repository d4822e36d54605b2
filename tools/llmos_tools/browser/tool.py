"""The tools of the browser: `browse` and what acts on the open page.

Knows processes by their number only, and is not told when one ends: of more pages than it may
hold it closes the one that was used longest ago.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmos.sdk import CallContext, Effect, Output, RetryCall, ToolFailed, tool
from llmos_tools.browser.addresses import Allowance
from llmos_tools.browser.chromium import ChromiumFolder, ChromiumUnavailable, explain, flags
from llmos_tools.browser.egress import (
    Connect,
    EgressProxy,
    Resolve,
    Target,
    connect,
    resolve,
)
from llmos_tools.browser.limits import Limits
from llmos_tools.browser.problems import has_no_https, reason, status_line
from llmos_tools.browser.saving import chunks_of, name_in_url, safe_name, save_new
from llmos_tools.browser.settings import BrowserSettings
from llmos_tools.files.pdf import is_pdf
from llmos_tools.files.reading import read_file
from llmos_tools.search.seen import SeenPages

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import Download, Playwright, Response

    from llmos_tools.browser.reading import Handle
    from llmos_tools.browser.tab import Tab

MOST_TABS = 8
ERROR_CHARS = 500
TIMEOUT_S = 90
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d)")
_ALLOWED_URL = re.compile(r"(https?://|about:blank$|chrome-error:)", re.IGNORECASE)
_HTML = ("text/html", "application/xhtml+xml", "")
_TEXT = re.compile(r"text/|application/(\w+\+)?(json|xml|javascript)\b")
_NOT_OPEN = "no page is open; open one with browse"


@dataclass
class _Seat:
    """A calling process's place: its page, if it has one now. `turn` orders its calls."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    tab: Tab | None = None


class Browser:
    """One Chromium, started by the first call; each process has cookies and a page of its own."""

    def __init__(
        self,
        settings: BrowserSettings,
        *,
        limits: Limits | None = None,
        resolve: Resolve = resolve,
        connect: Connect = connect,
    ) -> None:
        self._proxy = EgressProxy(Allowance(settings.allowed), resolve=resolve, connect=connect)
        self._limits = limits or Limits()
        self._starting = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._chromium: Chromium | None = None
        self._folder: ChromiumFolder | None = None
        # In the order of their last calls, the latest last.
        self._seats: dict[int, _Seat] = {}

    async def open(self) -> None:
        await self._proxy.start()

    async def close(self) -> None:
        """End Chromium with all its pages."""
        self._seats.clear()
        await self._end_chromium()
        await self._proxy.close()

    @tool(effects={Effect.NETWORK}, timeout_s=TIMEOUT_S, max_concurrent=None)
    async def browse(self, url: str, context: CallContext) -> Output:
        """Open a web page and read it.

        Args:
            url: the address
        """
        addresses = _addresses(url)
        return await self._on_tab(context, lambda tab: self._open(tab, addresses, context))

    @tool(
        effects={Effect.NETWORK},
        timeout_s=TIMEOUT_S,
        max_concurrent=None,
        keywords=("press", "follow", "tap", "choose", "select", "hit", "push"),
    )
    async def browse_click(self, number: int, context: CallContext) -> Output:
        """Click a numbered link or button of the open page.

        Args:
            number: its number
        """

        async def click(tab: Tab) -> Output:
            handle = _handle(tab, number)
            return await self._do(tab, _click(tab, handle), f"[{number}]", context)

        return await self._on_open_tab(context, click)

    @tool(
        effects={Effect.NETWORK},
        timeout_s=TIMEOUT_S,
        max_concurrent=None,
        keywords=("enter", "fill", "put", "write", "box", "form", "input"),
    )
    async def browse_type(self, number: int, text: str, context: CallContext) -> Output:
        """Type into a numbered field of the open page.

        Args:
            number: its number
            text: the text
        """

        async def fill(tab: Tab) -> Output:
            handle = _handle(tab, number)
            if not handle.takes_text:
                raise ToolFailed(f"[{number}] is not a field but a {handle.role}; click it")
            if text.endswith("\n"):
                return await self._do(tab, _fill(tab, handle, text), f"[{number}]", context)
            with _explained(f"[{number}]"):
                await tab.act(_fill(tab, handle, text))
            return _noted(tab, f"typed into [{number}]")

        return await self._on_open_tab(context, fill)

    @tool(effects={Effect.NETWORK}, timeout_s=TIMEOUT_S, max_concurrent=None)
    async def browse_back(self, context: CallContext) -> Output:
        """Go back to the page before."""

        async def back(tab: Tab) -> Output:
            with _explained("the page before"):
                await tab.back()
            if tab.page.url == "about:blank":
                raise ToolFailed("there is no page before")
            return await self._told(tab, None, context)

        return await self._on_open_tab(context, back)

    @tool(
        effects={Effect.NETWORK, Effect.FILES},
        timeout_s=TIMEOUT_S,
        max_concurrent=None,
        keywords=("capture", "snapshot", "screen", "image", "shot"),
    )
    async def browse_screenshot(self, context: CallContext) -> Output:
        """Take a picture of the open page."""

        async def picture(tab: Tab) -> Output:
            with _explained("the page"):
                data = await tab.page.screenshot(timeout=15_000)
            return _saved(context, "page.png", [data])

        return await self._on_open_tab(context, picture)

    async def _on_tab(
        self, context: CallContext, use: Callable[[Tab], Awaitable[Output]]
    ) -> Output:
        from llmos_tools.browser.tab import Crashed

        seat = self._seats.pop(context.pid, None) or _Seat()
        self._seats[context.pid] = seat
        async with seat.turn:
            tab = await self._tab(seat)
            try:
                return await use(tab)
            except Crashed as error:
                seat.tab = None
                await tab.close()
                raise ToolFailed("the page crashed and was closed; open another") from error

    async def _on_open_tab(
        self, context: CallContext, use: Callable[[Tab], Awaitable[Output]]
    ) -> Output:
        seat = self._seats.get(context.pid)
        if seat is None or seat.tab is None:
            raise ToolFailed(_NOT_OPEN)
        return await self._on_tab(context, use)

    async def _open(self, tab: Tab, addresses: list[str], context: CallContext) -> Output:
        from playwright.async_api import Error as PageError
        from playwright.async_api import TimeoutError as PageTimeout

        problem = ""
        for address in addresses:
            try:
                return await self._told(tab, await tab.goto(address), context)
            except PageTimeout:
                problem = f"{address} did not answer within {tab.limits.load_s:g} s"
            except PageError as error:
                problem = f"{address}: {self._why(tab.asked_url or address, str(error))}"
                if not has_no_https(str(error)):
                    break
        raise ToolFailed(problem)

    def _why(self, url: str, message: str) -> str:
        """Say why a page could not be opened: the proxy knows better than the browser."""
        with suppress(ValueError):
            if failure := self._proxy.failure(Target.of_url(url)):
                return failure
        return reason(message)

    async def _do(self, tab: Tab, action: Any, what: str, context: CallContext) -> Output:
        from playwright.async_api import Error as PageError

        with _explained(what):
            try:
                response = await tab.act(action)
            except PageError as error:
                if "net::" in str(error):
                    why = self._why(tab.asked_url or tab.page.url, str(error))
                    raise ToolFailed(f"the next page: {why}") from error
                raise
        return await self._told(tab, response, context)

    async def _told(self, tab: Tab, response: Response | None, context: CallContext) -> Output:
        """Say what the tab shows now."""
        if tab.download is not None:
            return await self._keep_download(tab, tab.download, context)
        if not _ALLOWED_URL.match(tab.page.url):
            scheme = tab.page.url.partition(":")[0]
            await tab.goto("about:blank")
            raise ToolFailed(f"the page led to a {scheme}: address, which is refused")
        if response is not None and response.status >= 400:
            raise await self._error(tab, response)
        header = "" if response is None else response.headers.get("content-type", "")
        kind = header.partition(";")[0].strip().lower()
        if kind in _HTML or _TEXT.match(kind) or response is None:
            return await self._read(tab, context, is_html=kind in _HTML)
        return await self._keep_shown(tab, response, kind, context)

    async def _error(self, tab: Tab, response: Response) -> ToolFailed:
        with suppress(ValueError):
            if failure := self._proxy.failure(Target.of_url(response.url)):
                return ToolFailed(f"{response.url}: {failure}")
        text = " ".join((await tab.plain_text()).split())[:ERROR_CHARS]
        tab.take_notes()
        line = f"{response.url}: the server answered {status_line(response.status)}"
        return ToolFailed(f"{line}\n{text}" if text else line)

    async def _keep_shown(
        self, tab: Tab, response: Response, kind: str, context: CallContext
    ) -> Output:
        """Save what the browser shows but cannot be read as text: an image, a PDF."""
        url = tab.page.url
        with _explained(url):
            # Of a PDF, the response is Chromium's viewer.
            data = await (tab.content() if kind == "application/pdf" else response.body())
        if data is None:
            size = tab.limits.page_bytes // 1_000_000
            raise ToolFailed(f"{url}: the file is larger than {size} MB and was not kept")
        saved = _saved(context, name_in_url(url, "file"), [data])
        return await self._read_saved(tab, url, saved, context)

    async def _read_saved(self, tab: Tab, url: str, saved: Output, context: CallContext) -> Output:
        """Say what was saved; a PDF document is read as `read_file` goes on to read it."""
        text = await asyncio.to_thread(_pdf_text, saved, url, context)
        return _noted(tab, f"{saved.text}\n\n{text}".strip(), saved.files)

    async def _read(self, tab: Tab, context: CallContext, *, is_html: bool) -> Output:
        text = (await tab.read()).text if is_html else await tab.plain_text()
        title = await _title(tab)
        url = tab.page.url
        with suppress(ToolFailed):  # a page is worth reading though it cannot be kept
            await asyncio.to_thread(SeenPages(context.home).add, url, title or url, text)
        return _noted(tab, f"{title}\n{url}\n\n{text or '(the page shows no text)'}".strip())

    async def _keep_download(self, tab: Tab, download: Download, context: CallContext) -> Output:
        tab.download = None
        with _explained("the download"):
            path = await tab.downloaded(download)
        if path is None:
            size = tab.limits.download_bytes // 1_000_000
            raise ToolFailed(f"{download.url}: the file is larger than {size} MB and was not kept")
        name = safe_name(download.suggested_filename, "download")
        try:
            saved = _saved(context, name, chunks_of(path))
            return await self._read_saved(tab, download.url, saved, context)
        finally:
            await download.delete()

    async def _tab(self, seat: _Seat) -> Tab:
        from llmos_tools.browser.tab import Tab

        chromium = await self._running_chromium()
        if seat.tab is None or seat.tab.context.browser is not chromium:
            await self._make_room()
            folder = self._folder
            assert folder is not None
            browsing = await chromium.new_context(service_workers="block", accept_downloads=True)
            seat.tab = await Tab.open(browsing, folder.downloads, self._limits)
        return seat.tab

    async def _make_room(self) -> None:
        idle = [s for s in self._seats.values() if s.tab is not None and not s.turn.locked()]
        num_tabs = sum(seat.tab is not None for seat in self._seats.values())
        for seat in idle[: max(0, num_tabs + 1 - MOST_TABS)]:
            tab, seat.tab = seat.tab, None
            if tab is not None:
                await tab.close()

    async def _running_chromium(self) -> Chromium:
        async with self._starting:
            if self._chromium is None or not self._chromium.is_connected():
                await self._end_chromium()
                self._chromium = await self._start_chromium()
            return self._chromium

    async def _start_chromium(self) -> Chromium:
        try:
            from playwright.async_api import Error as PageError
            from playwright.async_api import async_playwright
        except ImportError as error:
            raise ToolFailed(
                "the browser needs playwright: pip install 'llmos[browser]'"
            ) from error
        self._folder = ChromiumFolder()
        try:
            program = self._folder.program()
            self._playwright = await async_playwright().start()
            return await self._playwright.chromium.launch(
                executable_path=program,
                chromium_sandbox=True,
                args=flags(self._proxy.address),
                downloads_path=self._folder.downloads,
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except (ChromiumUnavailable, PageError) as error:
            await self._end_chromium()
            is_known = isinstance(error, ChromiumUnavailable)
            raise ToolFailed(str(error) if is_known else explain(str(error))) from error

    async def _end_chromium(self) -> None:
        chromium, self._chromium = self._chromium, None
        playwright, self._playwright = self._playwright, None
        folder, self._folder = self._folder, None
        if chromium is not None:
            await chromium.close()
        if playwright is not None:
            await playwright.stop()
        if folder is not None:
            await asyncio.to_thread(folder.close)


@contextmanager
def _explained(what: str) -> Generator[None]:
    """Turn what the browser says of an action into what the model can act on."""
    from playwright.async_api import Error as PageError
    from playwright.async_api import TimeoutError as PageTimeout

    try:
        yield
    except PageTimeout as error:
        raise ToolFailed(
            f"{what} does not react: it is gone, hidden or covered; read the page again"
        ) from error
    except PageError as error:
        raise ToolFailed(f"{what}: {reason(str(error))}") from error


def _addresses(url: str) -> list[str]:
    """Return what to try in turn: https and then http where no scheme is given.

    Raises:
        RetryCall: it is no address.
        ToolFailed: its scheme is refused.
    """
    url = url.strip()
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise ToolFailed(
            f"{scheme[1]}: addresses are refused; give one that begins with https:// or http://"
        )
    tried = [url] if scheme else [f"https://{url}", f"http://{url}"]
    try:
        Target.of_url(tried[0])
    except ValueError as error:
        raise RetryCall(f"{url!r} is not the address of a web page") from error
    return tried


def _handle(tab: Tab, number: int) -> Handle:
    if not 1 <= number <= len(tab.handles):
        most = f"its numbers go to {len(tab.handles)}" if tab.handles else "it has no numbers"
        raise ToolFailed(f"there is no [{number}] on the page: {most}")
    return tab.handles[number - 1]


async def _click(tab: Tab, handle: Handle) -> None:
    from llmos_tools.browser.tab import ACTION_LIMIT_S

    element = tab.page.locator(f"aria-ref={handle.ref}")
    await element.click(timeout=ACTION_LIMIT_S * 1000)


async def _fill(tab: Tab, handle: Handle, text: str) -> None:
    from llmos_tools.browser.tab import ACTION_LIMIT_S

    element = tab.page.locator(f"aria-ref={handle.ref}")
    limit = ACTION_LIMIT_S * 1000
    if await element.evaluate("element => element.tagName", timeout=limit) == "SELECT":
        await element.select_option(label=text.strip(), timeout=limit)
        return
    await element.fill(text.removesuffix("\n"), timeout=limit)
    if text.endswith("\n"):
        await element.press("Enter", timeout=limit)


async def _title(tab: Tab) -> str:
    from playwright.async_api import Error as PageError

    with suppress(PageError, TimeoutError):
        async with asyncio.timeout(2):
            return " ".join((await tab.page.title()).split())
    return ""


def _saved(context: CallContext, name: str, chunks: Any) -> Output:
    try:
        saved = save_new(context.workspace, name, chunks)
    except OSError as error:
        raise ToolFailed(f"{name!r} cannot be saved: {error.strerror}") from error
    return Output(f"saved as {saved}", (saved,))


def _pdf_text(saved: Output, url: str, context: CallContext) -> str:
    """Return the first pages of what was saved, or why there is none; nothing of other files."""
    [name] = saved.files
    with (context.workspace / name).open("rb") as file:
        if not is_pdf(file.fileno()):
            return ""
    try:
        text = read_file(name, context)
    except ToolFailed as error:
        return str(error)
    with suppress(ToolFailed):  # it is worth reading though it cannot be kept
        SeenPages(context.home).add(url, name, text)
    return text


def _noted(tab: Tab, text: str, files: tuple[str, ...] = ()) -> Output:
    return Output("\n".join([*(f"[{note}]" for note in tab.take_notes()), text]), files)
