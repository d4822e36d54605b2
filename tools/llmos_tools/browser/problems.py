"""What went wrong with a page, said so that a model can act on it. Knows no browser."""

from __future__ import annotations

import re
from http import HTTPStatus

_CODE = re.compile(r"net::(ERR_\w+)")
_REASONS = {
    "ERR_CERT_AUTHORITY_INVALID": "its certificate is not signed by anyone that is trusted",
    "ERR_CERT_COMMON_NAME_INVALID": "its certificate is for another host",
    "ERR_CERT_DATE_INVALID": "its certificate has expired or is not valid yet",
    "ERR_TOO_MANY_REDIRECTS": "it redirects without end",
    "ERR_EMPTY_RESPONSE": "the server closed the connection without an answer",
    "ERR_CONNECTION_RESET": "the server broke the connection off",
    "ERR_CONNECTION_CLOSED": "the server broke the connection off",
    "ERR_SSL_PROTOCOL_ERROR": "the server does not speak https",
    "ERR_INVALID_REDIRECT": "it redirects to something that is not a web page",
    "ERR_UNSAFE_REDIRECT": "it redirects to an address that is refused",
    "ERR_UNKNOWN_URL_SCHEME": "it leads to something that is not a web page",
    "ERR_INVALID_URL": "it is not an address of a web page",
    "ERR_TUNNEL_CONNECTION_FAILED": "it cannot be reached",
    "ERR_ABORTED": "loading was broken off",
}
# Worth another try over http, where the user named no scheme: nothing spoke https there.
_NO_HTTPS = {
    "ERR_SSL_PROTOCOL_ERROR",
    "ERR_TUNNEL_CONNECTION_FAILED",
    "ERR_CONNECTION_CLOSED",
    "ERR_CONNECTION_RESET",
    "ERR_EMPTY_RESPONSE",
}


def code_of(message: str) -> str:
    """Return Chromium's name of a network error, empty where there is none."""
    match = _CODE.search(message)
    return match[1] if match else ""


def reason(message: str) -> str:
    """Say what an error of the browser means."""
    code = code_of(message)
    if code.startswith("ERR_CERT") and code not in _REASONS:
        return f"its certificate is not valid ({code})"
    first_line = message.splitlines()[0] if message else "unknown error"
    return _REASONS.get(code) or code or first_line


def has_no_https(message: str) -> bool:
    return code_of(message) in _NO_HTTPS


def status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
