"""Attempts to reach what the proxy must not let through, at the proxy and from a real Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from llmos.sdk import CallContext, ToolFailed
from llmos_tools.browser import Browser
from llmos_tools.browser.addresses import Allowance, AllowedHost, is_global
from llmos_tools.browser.chromium import chromium_problem
from llmos_tools.browser.egress import EgressProxy, Target, Unreachable
from llmos_tools.browser.limits import Limits
from llmos_tools.browser.settings import BrowserSettings

BOUND_S = 60
PUBLIC = "93.184.215.14"
PRIVATE = """127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1
100.100.100.200 0.0.0.0 0.1.2.3 192.0.0.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255
168.63.129.16 192.0.2.1 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1
2002:7f00:1:: 2002:a00:1:: 2001:0:7f00:1:: 2001:db8::1 100::1 fec0::1""".split()


def resolver(**answers: list[str]):
    """Resolve names by their first label; each answer of `rebind` is given once."""

    async def resolve(host: str, port: int) -> list[str]:
        found = answers.get(host.partition(".")[0])
        if found is None:
            raise OSError("no such name")
        return [found.pop(0)] if host.startswith("rebind") else found

    return resolve


class Connections:
    """Keeps which addresses were connected to, and leads all of them to one port."""

    def __init__(self, port: int = 0) -> None:
        self.made: list[tuple[str, int]] = []
        self._port = port

    async def __call__(self, address: str, port: int):
        self.made.append((address, port))
        if not self._port:
            raise ConnectionRefusedError(111, "Connection refused")
        return await asyncio.open_connection("127.0.0.1", self._port)


@asynccontextmanager
async def running(allow=(), connect=None, **answers) -> AsyncGenerator[EgressProxy]:
    allowance = Allowance([AllowedHost.parse(host) for host in allow])
    proxy = EgressProxy(allowance, resolve=resolver(**answers), connect=connect or Connections())
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


async def asked(proxy: EgressProxy, request: str) -> str:
    host, _, port = proxy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    async with asyncio.timeout(BOUND_S):
        data = await reader.read(65536)
    writer.close()
    return data.decode()


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@pytest.mark.parametrize("address", PRIVATE)
async def test_an_address_that_is_not_public_is_never_connected_to(address):
    assert not is_global(address)
    connect = Connections()
    async with running(connect=connect, inside=[address], mixed=[PUBLIC, address]) as proxy:
        for host in (bracketed(address), "inside.example", "mixed.example"):
            answer = await asked(proxy, f"CONNECT {host}:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.startswith("HTTP/1.1 403 ")
        answer = await asked(proxy, f"GET http://{bracketed(address)}/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith("HTTP/1.1 403 ")
    assert connect.made == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
async def test_a_public_address_is_connected_to(address):
    connect = Connections()
    async with running(connect=connect, outside=[address]) as proxy:
        await asked(proxy, "CONNECT outside.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connect.made == [(address, 443)]


@pytest.mark.parametrize("port", [1, 22, 25, 6379, 8080])
async def test_other_ports_than_those_of_the_web_are_refused(port):
    connect = Connections()
    async with running(connect=connect, outside=[PUBLIC]) as proxy:
        answer = await asked(proxy, f"CONNECT outside.example:{port} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "only 80 and 443 are allowed" in answer
    assert connect.made == []


async def test_the_address_that_was_vetted_is_the_one_connected_to_whatever_the_name_says_next():
    connect = Connections()
    async with running(connect=connect, rebind=[PUBLIC, "127.0.0.1"]) as proxy:
        first = await asked(proxy, "CONNECT rebind.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        second = await asked(proxy, "CONNECT rebind.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connect.made == [(PUBLIC, 443)]
    assert "Connection refused" in first
    assert "not on the public internet" in second


@pytest.mark.parametrize(
    ("listed", "host", "port", "is_let_through"),
    [
        ("127.0.0.1", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8001, False),
        ("127.0.0.1", "inside.example", 80, False),
        ("Inside.Example", "inside.example", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("::1", "::1", 8000, True),
        ("0:0::1", "::1", 8000, True),
        ("127.0.0.1", "127.0.0.2", 80, False),
    ],
)
async def test_listed_hosts_are_let_through_and_no_others(listed, host, port, is_let_through):
    connect = Connections()
    async with running([listed], connect, inside=["10.0.0.1"]) as proxy:
        with pytest.raises(Unreachable) as caught:
            await proxy.reach(Target(host, port))
    assert bool(connect.made) == is_let_through
    assert ("refused" in str(caught.value).lower()) and proxy.failure(Target(host, port))


@pytest.mark.parametrize("text", ["", "a b", "http://x", "x:y", "x:1:2", "[::1", "x/", "x:999999"])
def test_a_listed_host_that_is_none_is_a_wrong_setting(text):
    with pytest.raises(ValueError, match=r"."):
        BrowserSettings(allow_hosts=[text])


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1", "GET file:///etc/passwd HTTP/1.1", "GET ftp://x/ HTTP/1.1"]
)
async def test_requests_in_another_form_are_refused(request_line):
    async with running() as proxy:
        assert (await asked(proxy, f"{request_line}\r\nHost: x\r\n\r\n")).startswith("HTTP/1.1 403")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_second_request_on_a_connection_does_not_reach_the_first_ones_host(site):
    site.pages["/"] = "<p>first</p>"
    connect = Connections(site.port)
    async with running(connect=connect, outside=[PUBLIC]) as proxy:
        before = len(site.seen)
        request = "GET http://outside.example/ HTTP/1.1\r\nHost: outside.example\r\n\r\n"
        answer = await asked(proxy, request + request.replace("outside", "inside"))
        assert answer.count("HTTP/1.1 ") == 1
        assert site.seen[before:] == ["GET / HTTP/1.1"]


problem = chromium_problem()
in_chromium = pytest.mark.skipif(problem is not None, reason=f"no browser: {problem}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(site) -> AsyncGenerator[tuple[Browser, Connections]]:
    """A browser for which outside.example is a public host that serves the site's pages."""
    connect = Connections(site.port)
    browser = Browser(
        BrowserSettings(),
        limits=Limits(load_s=5),
        resolve=resolver(
            outside=[PUBLIC], inside=["127.0.0.1"], rebind=[PUBLIC] + ["127.0.0.1"] * 50
        ),
        connect=connect,
    )
    await browser.open()
    yield browser, connect
    await browser.close()


FROM_A_PAGE = {
    "fetch": "fetch(URL).then(() => document.title = 'REACHED').catch(() => 0)",
    "frame": "document.body.append(Object.assign(document.createElement('iframe'), {src: URL}))",
    "picture": "new Image().src = URL",
    "script": "document.body.append(Object.assign(document.createElement('script'), {src: URL}))",
    "beacon": "navigator.sendBeacon(URL)",
    "event source": "new EventSource(URL)",
    "worker": "new Worker(window.URL.createObjectURL(new Blob([`fetch('${URL}')`])))",
    "WebSocket": "new WebSocket(URL.replace('http', 'ws'))",
    "form": "document.body.innerHTML = `<form action='${URL}'></form>`; document.forms[0].submit()",
    "navigation": "location = URL",
    "preconnect": "document.head.append(Object.assign(document.createElement('link'), {rel: 'preload', as: 'fetch', href: URL}))",
    "WebRTC": "new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:' + URL.split(':')[2]}]}).createDataChannel('x')",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.example", "0x7f.1", "[::1]"])
@in_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_private_host_is_refused_with_the_remedy(world, site, tmp_path, host):
    before = len(site.seen)
    for url in (f"http://{host}:{site.port}/", f"https://{host}/", f"http://{host}/"):
        with pytest.raises(ToolFailed, match=r"refused|there is no host"):
            async with asyncio.timeout(BOUND_S):
                await world[0].browse(url, CallContext(1, tmp_path, home=tmp_path / "state"))
    assert site.seen[before:] == []


@pytest.mark.parametrize("attempt", FROM_A_PAGE.values(), ids=FROM_A_PAGE.keys())
@in_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_public_page_reaches_no_private_host(world, site, tmp_path, attempt):
    browser, connect = world
    urls = [
        f"http://127.0.0.1:{site.port}/echo?1",
        "http://inside.example/echo?2",
        "http://localhost/",
    ]
    tries = "".join(
        f"try {{ const URL = '{url}'; {attempt} }} catch (error) {{}}\n" for url in urls
    )
    site.pages["/attempt"] = f"<body><p>page</p><script>const U = window.URL;{tries}</script>"
    before = len(site.seen)
    connect.made.clear()
    async with asyncio.timeout(BOUND_S):
        try:
            await browser.browse(
                "http://outside.example/attempt", CallContext(1, tmp_path, home=tmp_path / "state")
            )
        except ToolFailed as error:
            assert "refused" in str(error)
    assert ("outside.example", 80) not in connect.made
    assert set(connect.made) == {(PUBLIC, 80)}
    assert not [line for line in site.seen[before:] if "/echo" in line]


@in_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_redirect_to_a_private_host_is_refused(world, site, tmp_path):
    url = f"http://outside.example/to?http://127.0.0.1:{site.port}/echo"
    before = len(site.seen)
    with pytest.raises(ToolFailed, match="refused"):
        async with asyncio.timeout(BOUND_S):
            await world[0].browse(url, CallContext(1, tmp_path, home=tmp_path / "state"))
    assert not [line for line in site.seen[before:] if "/echo" in line.split("?")[0]]


@in_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_name_that_turns_private_is_refused_the_second_time(world, site, tmp_path):
    site.pages["/"] = "<p>public</p>"
    context = CallContext(1, tmp_path, home=tmp_path / "state")
    async with asyncio.timeout(BOUND_S):
        assert "public" in (await world[0].browse("http://rebind.example/", context)).text
        with pytest.raises(ToolFailed, match="not on the public internet"):
            await world[0].browse("http://rebind.example/", context)


@in_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_to_a_file_of_the_machine_opens_nothing(world, site, tmp_path):
    site.pages["/"] = "<a href=file:///etc/passwd>passwords</a>"
    context = CallContext(1, tmp_path, home=tmp_path / "state")
    async with asyncio.timeout(BOUND_S):
        await world[0].browse("http://outside.example/", context)
        try:
            text = (await world[0].browse_click(1, context)).text
        except ToolFailed as error:
            text = str(error)
    assert "root:" not in text
