"""What one process sees: a page, what its numbers stand for, and what happened meanwhile.

Covered: pages that never end loading, are too large, open dialogs or pop-ups, crash, or hand out
a file. Knows nothing of which addresses may be reached.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import (
    BrowserContext,
    CDPSession,
    Dialog,
    Download,
    Frame,
    Page,
    Request,
    Response,
)
from playwright.async_api import Error as PageError
from playwright.async_api import TimeoutError as PageTimeout

from llmos_tools.browser.limits import Limits
from llmos_tools.browser.reading import Handle, Reading, read_snapshot

SETTLE_LIMIT_S = 1.5
ACTION_LIMIT_S = 5.0
READ_LIMIT_S = 15.0
DOWNLOAD_LIMIT_S = 40.0
MOST_TEXT_CHARS = 1_000_000
MOST_DIALOGS = 5
_POLL_S = 0.2
_ERROR_PAGE_LIMIT_S = 1.0


class Crashed(Exception):
    """The page's process has ended."""


@dataclass
class Tab:
    """One page of a browser context. Its notes are told once, with the next reading."""

    context: BrowserContext
    downloads_folder: Path
    limits: Limits
    page: Page
    handles: tuple[Handle, ...] = ()
    notes: list[str] = field(default_factory=list[str])
    download: Download | None = None
    is_crashed: bool = False
    _openers: list[Page] = field(default_factory=list[Page])
    _popup: Page | None = None
    _is_acting: bool = False
    _navigation: Request | None = None
    _committed: asyncio.Event = field(default_factory=asyncio.Event)
    _download_began: asyncio.Event = field(default_factory=asyncio.Event)
    _crash: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def open(cls, context: BrowserContext, downloads_folder: Path, limits: Limits) -> Tab:
        page = await context.new_page()
        tab = cls(context, downloads_folder, limits, page)
        await tab._watch(page)
        context.on("page", tab._on_page)
        return tab

    async def _watch(self, page: Page) -> None:
        page.on("dialog", self._on_dialog)
        page.on("download", self._on_download)
        page.on("crash", self._on_crash)
        page.on("request", self._on_request)
        page.on("framenavigated", self._on_commit)
        session = await self.context.new_cdp_session(page)
        received: dict[str, int] = {}

        async def count(event: dict[str, Any]) -> None:
            total = received[event["requestId"]] = (
                received.get(event["requestId"], 0) + event["dataLength"]
            )
            if total > self.limits.page_bytes >= total - event["dataLength"]:
                size = self.limits.page_bytes // 1_000_000
                self.notes.append(f"the page is larger than {size} MB: only its beginning is here")
                await _stop(session)

        session.on("Network.dataReceived", count)
        await session.send("Network.enable")

    def _on_crash(self, _: Page) -> None:
        self.is_crashed = True
        self._crash.set()

    def _on_commit(self, frame: Frame) -> None:
        if frame == self.page.main_frame:
            self._committed.set()

    def _on_request(self, request: Request) -> None:
        with suppress(PageError):
            if request.is_navigation_request() and request.frame == self.page.main_frame:
                self._navigation = request

    def _on_download(self, download: Download) -> None:
        self.download = download
        self._download_began.set()

    async def _on_dialog(self, dialog: Dialog) -> None:
        if len(self.notes) < MOST_DIALOGS:
            self.notes.append(f"the page said: {dialog.message[:500]!r}")
        with suppress(PageError):
            if dialog.type in ("alert", "beforeunload"):
                await dialog.accept()
            else:
                await dialog.dismiss()

    async def _on_page(self, page: Page) -> None:
        """Take over the page that a click opened; others are not asked for."""
        if self._is_acting and self._popup is None:
            self._popup = page
        elif page is not self.page:
            with suppress(PageError):
                await page.close()

    async def goto(self, url: str) -> Response | None:
        """Open an address; return at the latest when the load limit is over.

        Raises:
            PageError: it cannot be opened; a `PageTimeout` where nothing answered.
            Crashed: the page's process has ended.
        """
        self.download, self._navigation = None, None
        self._download_began.clear()
        self._committed.clear()
        self.handles = ()
        try:
            response = await self._unless_crashed(
                self.page.goto(url, wait_until="commit", timeout=self.limits.load_s * 1000)
            )
        except PageError as error:
            if "Download is starting" not in str(error):
                await self._give_way(error)
                raise
            async with asyncio.timeout(ACTION_LIMIT_S):
                await self._download_began.wait()
            return None
        await self._settle()
        return response

    async def _give_way(self, error: PageError) -> None:
        """End what a failed navigation leaves, which would break the next one off."""
        if isinstance(error, PageTimeout):
            await _stop(await self.context.new_cdp_session(self.page))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_ERROR_PAGE_LIMIT_S):
                await self._committed.wait()

    async def act(self, action: Any) -> Response | None:
        """Do something to the page and wait for what comes of it; raises as `goto` does."""
        self.download, self._navigation, self._popup = None, None, None
        self._is_acting = True
        try:
            await self._unless_crashed(action)
            await self._unless_crashed(_round_trip(self.page))
        finally:
            self._is_acting = False
        if self._popup is not None:
            self._openers.append(self.page)
            self.page = self._popup
            await self._watch(self.page)
        response = await self._answer()
        await self._settle()
        return response

    async def _answer(self) -> Response | None:
        """Wait for the answer to a navigation that an action began."""
        if self._navigation is None:
            return None
        try:
            async with asyncio.timeout(self.limits.load_s):
                response = await self._unless_crashed(self._navigation.response())
        except TimeoutError:
            self.notes.append(f"the next page did not answer within {self.limits.load_s:g} s")
            return None
        if response is None and self.download is None and self._navigation.failure:
            raise PageError(self._navigation.failure)
        return response

    async def back(self) -> Response | None:
        """Go back; a pop-up is closed. Returns None also where there is nothing before."""
        if not self._openers:
            return await self.act(
                self.page.go_back(wait_until="commit", timeout=ACTION_LIMIT_S * 1e3)
            )
        closed, self.page = self.page, self._openers.pop()
        await closed.close()
        return None

    async def _settle(self) -> None:
        if self.download is not None:
            return
        try:
            await self._unless_crashed(
                self.page.wait_for_load_state("domcontentloaded", timeout=self.limits.load_s * 1000)
            )
        except PageTimeout:
            self.notes.append(
                f"the page was still loading after {self.limits.load_s:g} s: this is what was there"
            )
            await _stop(await self.context.new_cdp_session(self.page))
            return
        with suppress(PageTimeout):
            await self._unless_crashed(
                self.page.wait_for_load_state("networkidle", timeout=SETTLE_LIMIT_S * 1000)
            )

    async def read(self) -> Reading:
        """Read the page and keep what its numbers stand for.

        Raises:
            Crashed: the page's process has ended.
        """
        try:
            snapshot = await self._unless_crashed(
                self.page.aria_snapshot(mode="ai", timeout=READ_LIMIT_S * 1000)
            )
            async with asyncio.timeout(READ_LIMIT_S):
                reading = await asyncio.to_thread(read_snapshot, snapshot)
        except (PageTimeout, TimeoutError):
            self.notes.append("the page is too large for numbered links")
            reading = Reading(await self.plain_text(), ())
        self.handles = reading.handles
        return reading

    async def plain_text(self) -> str:
        """Return the text of the page as it is set, without links."""
        script = f"() => document.documentElement.innerText.slice(0, {MOST_TEXT_CHARS})"
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                return await self._unless_crashed(self.page.evaluate(script))
        except TimeoutError:
            self.notes.append("the page is too busy to be read")
            return ""

    async def content(self) -> bytes | None:
        """Return the file that the page shows; None where it is larger than the limit.

        Raises:
            PageError: the page does not let itself be read.
        """
        script = """async most => {
            const blob = await (await fetch(location.href, {cache: 'force-cache'})).blob()
            if (blob.size > most) return null
            const reader = new FileReader()
            const read = new Promise(done => reader.onload = done)
            reader.readAsDataURL(blob)
            await read
            return reader.result.split(',')[1] || ''
        }"""
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                encoded = await self._unless_crashed(
                    self.page.evaluate(script, self.limits.page_bytes)
                )
        except TimeoutError as error:
            raise PageError(f"it did not arrive within {READ_LIMIT_S:g} s") from error
        return None if encoded is None else base64.b64decode(encoded)

    async def downloaded(self, download: Download) -> Path | None:
        """Wait for a download; None where it is larger than the limit.

        Raises:
            PageError: it failed or took too long.
        """
        finished = asyncio.ensure_future(download.path())
        try:
            async with asyncio.timeout(DOWNLOAD_LIMIT_S):
                while not (await asyncio.wait({finished}, timeout=_POLL_S))[0]:
                    if _size_of(self.downloads_folder) > self.limits.download_bytes:
                        await download.cancel()
                        return None
        except TimeoutError as error:
            await download.cancel()
            raise PageError(f"the download took more than {DOWNLOAD_LIMIT_S:g} s") from error
        finally:
            finished.cancel()
            await asyncio.gather(finished, return_exceptions=True)
        is_small = _size_of(self.downloads_folder) <= self.limits.download_bytes
        return Path(finished.result()) if is_small else None

    @property
    def asked_url(self) -> str | None:
        """The last address that the page asked for, as the browser spells it."""
        return self._navigation.url if self._navigation is not None else None

    def take_notes(self) -> list[str]:
        notes, self.notes = self.notes, []
        return notes

    async def close(self) -> None:
        with suppress(PageError):
            await self.context.close()

    async def _unless_crashed(self, work: Any) -> Any:
        working = asyncio.ensure_future(work)
        crash = asyncio.create_task(self._crash.wait())
        try:
            await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
            if self.is_crashed:
                raise Crashed
            return working.result()
        finally:
            working.cancel()
            crash.cancel()
            await asyncio.gather(working, crash, return_exceptions=True)


async def _round_trip(page: Page) -> None:
    """Let what a page does at once, such as a navigation, be told before going on."""
    with suppress(PageError, TimeoutError):
        async with asyncio.timeout(ACTION_LIMIT_S):
            await page.evaluate("() => new Promise(done => setTimeout(done, 50))")


async def _stop(session: CDPSession) -> None:
    with suppress(PageError, TimeoutError):
        async with asyncio.timeout(ACTION_LIMIT_S):
            await session.send("Page.stopLoading")


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
