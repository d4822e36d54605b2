"""The tools of the browser: a real Chromium, and pages of every awkward kind on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.sdk import CallContext, Effect, Label, Output, RetryCall, ToolFailed
from llmos_tools.browser import Browser, tool
from llmos_tools.browser.chromium import chromium_problem
from llmos_tools.browser.limits import Limits
from llmos_tools.browser.settings import BrowserSettings
from llmos_tools.files import read_file
from llmos_tools.search.seen import SeenPages

BOUND_S = 60
FORM = """<title>Door</title><nav><a href=/elsewhere>Elsewhere</a></nav><main><h1>Sign in</h1>
<form action=/echo><label>Email <input name=email></label>
<label>Colour <select name=colour><option>red<option>blue</select></label>
<button>Go</button></form><p>See <a href=/second>the second</a> page.</p><p hidden>secret</p></main>"""

problem = chromium_problem()
in_one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.skipif(problem is not None, reason=f"no browser: {problem}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncGenerator[Browser]:
    limits = Limits(load_s=2, page_bytes=2_000_000, download_bytes=50_000_000)
    browser = Browser(BrowserSettings(allow_hosts=["127.0.0.1"]), limits=limits)
    await browser.open()
    yield browser
    await browser.close()


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    return CallContext(1, tmp_path, home=tmp_path / "state")


async def told(call) -> Output:
    async with asyncio.timeout(BOUND_S):
        return await call


async def failure(call) -> str:
    with pytest.raises(ToolFailed) as caught:
        await told(call)
    return str(caught.value)


def number_of(output: Output, label: str) -> int:
    before = output.text.partition(label)[0]
    return int(before.rpartition("[")[2].partition("]")[0].partition(":")[0])


@in_one_loop
async def test_a_page_is_text_with_numbered_links_and_fields_the_main_part_first(
    browser, site, context
):
    site.pages["/"] = FORM
    text = (await told(browser.browse(site.url("/"), context))).text
    assert text.startswith(f"Door\n{site.url('/')}\n\n# Sign in\n")
    assert '[2: text field "Email"]' in text
    assert '[3: choice "Colour" = red* / blue]' in text
    assert "See [5] the second page." in text
    assert text.endswith("--- around it ---\n[1] Elsewhere")
    assert "secret" not in text


@in_one_loop
async def test_fields_are_filled_and_buttons_clicked_by_their_numbers(browser, site, context):
    site.pages["/"] = FORM
    page = await told(browser.browse(site.url("/"), context))
    await told(browser.browse_type(number_of(page, ': text field "Email"'), "a@b.c", context))
    await told(browser.browse_type(number_of(page, ': choice "Colour"'), "blue", context))
    answer = await told(browser.browse_click(number_of(page, "] Go"), context))
    assert "you sent /echo?email=a%40b.c&colour=blue" in answer.text


@in_one_loop
async def test_a_line_break_at_the_end_of_typed_text_sends_the_form(browser, site, context):
    site.pages["/"] = FORM
    page = await told(browser.browse(site.url("/"), context))
    number = number_of(page, ': text field "Email"')
    assert "email=x" in (await told(browser.browse_type(number, "x\n", context))).text


@in_one_loop
async def test_back_returns_to_the_page_before_and_says_where_there_is_none(browser, site, context):
    site.pages["/"], site.pages["/second"] = FORM, "<p>second</p>"
    page = await told(
        browser.browse(site.url("/"), CallContext(77, context.workspace, home=context.home))
    )
    context = CallContext(77, context.workspace, home=context.home)
    assert (
        "second"
        in (await told(browser.browse_click(number_of(page, "] the second"), context))).text
    )
    assert "Sign in" in (await told(browser.browse_back(context))).text
    assert "no page before" in await failure(browser.browse_back(context))


@in_one_loop
async def test_a_pop_up_that_was_clicked_open_becomes_the_page_and_back_closes_it(
    browser, site, context
):
    site.pages["/"] = "<a href=/up target=_blank>up</a><script>window.open('/unasked')</script>"
    site.pages["/up"] = "<p>popped up</p>"
    site.pages["/unasked"] = "<p>unasked</p>"
    assert "unasked" not in (await told(browser.browse(site.url("/"), context))).text
    assert "popped up" in (await told(browser.browse_click(1, context))).text
    assert "[1] up" in (await told(browser.browse_back(context))).text


@in_one_loop
async def test_a_picture_of_the_page_is_saved_beside_the_one_before(browser, site, context):
    site.pages["/"] = FORM
    await told(browser.browse(site.url("/"), context))
    first = await told(browser.browse_screenshot(context))
    second = await told(browser.browse_screenshot(context))
    assert (first.files, second.files) == (("page.png",), ("page-2.png",))
    assert (context.workspace / "page-2.png").read_bytes().startswith(b"\x89PNG")
    assert first.text == "saved as page.png"


@in_one_loop
async def test_processes_have_pages_and_cookies_of_their_own(browser, site, context):
    site.pages["/"] = (
        "<script>document.cookie ||= 'mine=1'; document.write(document.cookie)</script>"
    )
    other = CallContext(2, context.workspace, home=context.home)
    site.pages["/cookie"] = "<script>document.write('has ' + (document.cookie || 'none'))</script>"
    await told(browser.browse(site.url("/"), context))
    assert "has mine=1" in (await told(browser.browse(site.url("/cookie"), context))).text
    assert "has none" in (await told(browser.browse(site.url("/cookie"), other))).text


@in_one_loop
async def test_without_a_scheme_https_is_tried_and_then_http(browser, site, context):
    site.pages["/"] = FORM
    page = await told(browser.browse(f"127.0.0.1:{site.port}/", context))
    assert f"http://127.0.0.1:{site.port}/" in page.text


@in_one_loop
async def test_a_page_that_loads_for_ever_gives_what_is_there(browser, site, context):
    text = (await told(browser.browse(site.url("/for-ever"), context))).text
    assert "still loading after 2 s" in text
    assert "the beginning" in text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/silent", "did not answer within 2 s"),
        ("/absent", "the server answered 404 Not Found\nnothing here"),
        ("/redirect", "it redirects without end"),
        ("/to?file:///etc/passwd", "refused"),
        ("/large-file", "larger than 50 MB and was not kept"),
    ],
)
@in_one_loop
async def test_what_cannot_be_opened_is_one_clear_result(browser, site, context, path, said):
    assert said in await failure(browser.browse(site.url(path), context))
    assert not list(context.workspace.iterdir())


@in_one_loop
async def test_a_certificate_that_nobody_signed_is_refused(browser, site, context):
    url = f"https://127.0.0.1:{site.tls_port}/"
    assert "certificate is not signed" in await failure(browser.browse(url, context))


@in_one_loop
async def test_of_a_page_of_200_megabytes_the_beginning_is_read(browser, site, context):
    text = (await told(browser.browse(site.url("/large"), context))).text
    assert "larger than 2 MB" in text
    assert "word word" in text


@in_one_loop
async def test_dialogs_do_not_block_and_are_told(browser, site, context):
    site.pages["/"] = "<script>alert('beware'); confirm('sure?')</script><p>after</p>"
    text = (await told(browser.browse(site.url("/"), context))).text
    assert text.startswith("[the page said: 'beware']\n[the page said: 'sure?']")
    assert "after" in text


@in_one_loop
async def test_a_crashed_page_is_told_and_the_next_one_opens(browser, site, context):
    site.pages["/"] = FORM
    await told(browser.browse(site.url("/"), context))
    tab = browser._seats[context.pid].tab
    crash = asyncio.create_task(tab.page.goto("chrome://crash"))
    async with asyncio.timeout(BOUND_S):
        await tab._crash.wait()
    assert "the page crashed" in await failure(browser.browse_back(context))
    crash.cancel()
    await asyncio.gather(crash, return_exceptions=True)
    assert "Sign in" in (await told(browser.browse(site.url("/"), context))).text


@pytest.mark.parametrize(("path", "said"), [("/text", "text\nline two"), ("/json", '{"kites": 3}')])
@in_one_loop
async def test_text_that_is_no_page_is_read_as_it_is(browser, site, context, path, said):
    assert said in (await told(browser.browse(site.url(path), context))).text


@pytest.mark.parametrize(
    ("path", "name"),
    [("/picture.png", "picture.png"), ("/file", "a_b.bin")],
)
@in_one_loop
async def test_files_go_to_the_workspace_under_a_safe_name(browser, site, context, path, name):
    output = await told(browser.browse(site.url(path), context))
    assert (output.text, output.files) == (f"saved as {name}", (name,))
    assert [found.name for found in context.workspace.iterdir()] == [name]


@pytest.mark.parametrize("path", ["/paper.pdf", "/get-paper"])
@in_one_loop
async def test_a_pdf_document_is_saved_and_read_by_pages(browser, site, context, path):
    output = await told(browser.browse(site.url(path), context))
    assert output.files == ("paper.pdf",)
    assert output.text.startswith("saved as paper.pdf\n\n--- page 1 of 8 ---\nkites kites")
    assert output.text.endswith("[pages 1 to 2 of 8; read 'paper.pdf:3' to go on]")
    assert output.label is Label.UNTRUSTED
    assert read_file("paper.pdf:3", context).startswith("--- page 3 of 8 ---\nkites")
    [found] = SeenPages(context.home).search("kites", 1)
    assert (found.title, found.place) == ("paper.pdf", site.url(path))


@in_one_loop
async def test_a_pdf_document_that_cannot_be_read_is_saved_with_the_reason(browser, site, context):
    output = await told(browser.browse(site.url("/broken.pdf"), context))
    first, reason = output.text.split("\n\n")
    assert first == "saved as broken.pdf"
    assert reason.startswith("'broken.pdf', a PDF document, is damaged or cut off: ")
    assert (context.workspace / "broken.pdf").read_bytes() == b"%PDF-1.4\n"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "chrome://version",
        "data:text/html,x",
        "javascript:alert(1)",
        "ftp://x/",
    ],
)
@in_one_loop
async def test_other_schemes_are_refused(browser, context, url):
    assert "addresses are refused" in await failure(browser.browse(url, context))


@pytest.mark.parametrize("url", ["", "http://", "https://[::1", "http://x:port/"])
@in_one_loop
async def test_what_is_no_address_is_sent_back_to_the_model(browser, context, url):
    with pytest.raises(RetryCall, match="not the address"):
        await told(browser.browse(url, context))


@in_one_loop
async def test_numbers_that_are_not_on_the_page_and_pages_that_are_not_open_are_told(
    browser, site, context
):
    site.pages["/"] = "<a href=/x>one</a>"
    await told(browser.browse(site.url("/"), context))
    assert "its numbers go to 1" in await failure(browser.browse_click(2, context))
    assert "not a field but a link" in await failure(browser.browse_type(1, "x", context))
    nobody = CallContext(99, context.workspace, home=context.home)
    assert "open one with browse" in await failure(browser.browse_click(1, nobody))


@in_one_loop
async def test_an_element_that_has_gone_is_told(browser, site, context, monkeypatch):
    site.pages["/"] = "<button onclick='this.remove()'>once</button><p>text</p>"
    await told(browser.browse(site.url("/"), context))
    monkeypatch.setattr("llmos_tools.browser.tab.ACTION_LIMIT_S", 0.5)
    tab = browser._seats[context.pid].tab
    handles = tab.handles
    await told(browser.browse_click(1, context))
    tab.handles = handles
    assert "[1] does not react" in await failure(browser.browse_click(1, context))


@in_one_loop
async def test_of_more_pages_than_are_held_the_one_used_longest_ago_is_closed(
    browser, site, context, monkeypatch
):
    site.pages["/"] = FORM
    monkeypatch.setattr(tool, "MOST_TABS", 1)
    first, second = (CallContext(pid, context.workspace, home=context.home) for pid in (50, 51))
    await told(browser.browse(site.url("/"), first))
    await told(browser.browse(site.url("/"), second))
    assert "open one with browse" in await failure(browser.browse_screenshot(first))
    assert "page.png" in (await told(browser.browse_screenshot(second))).text


@in_one_loop
async def test_pages_that_were_read_are_kept_for_searching(browser, site, context):
    site.pages["/kite"] = "<title>Kites</title><p>A kite flies on wind.</p>"
    await told(browser.browse(site.url("/kite"), context))
    (found,) = SeenPages(context.home).search("flies wind", 3)
    assert (found.title, found.place) == ("Kites", site.url("/kite"))


def test_without_chromium_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install chromium" in (chromium_problem() or "")


def test_the_model_reads_the_words_it_was_trained_on():
    assert Browser.browse.spec.description == "Open a web page and read it."
    assert Browser.browse.spec.parameters["properties"]["url"]["description"] == "the address"
    assert Browser.browse.spec.effects == {Effect.NETWORK}
    assert set(Browser.browse_type.spec.parameters["properties"]) == {"number", "text"}


def test_reading_the_specification_does_not_import_playwright():
    code = "import sys, llmos_tools.browser; sys.exit('playwright' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
