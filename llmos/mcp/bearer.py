"""The token that clients over HTTP must send, and the refusal of those that do not.

Covered: it is compared in constant time, before a request's body is read; one that is made here has
256 random bits. Not covered: who reads it on this machine, over which it travels unencrypted.
"""

from __future__ import annotations

import json
import secrets

from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# A reference that clients put the environment variable in for, as llmos does.
CONFIGURED = "${LLMOS_MCP__SERVE_TOKEN}"
REFUSAL = (
    "send the header 'Authorization: Bearer TOKEN' with the token that `llmos mcp serve` showed "
    "when it started, or that of its setting mcp.serve_token"
)


def new_token() -> str:
    return secrets.token_urlsafe(32)


def client_entry(address: str, token: str) -> str:
    """Return what a client's `mcp.json` says to reach us, on one line."""
    entry = {"url": address, "headers": {"Authorization": f"Bearer {token}"}}
    return json.dumps({"mcpServers": {"llmos": entry}})


class BearerOnly:
    """Hands on the requests that carry the token, and answers the others with 401 and one line."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection; see the specification of ASGI."""
        app = self._app if scope["type"] == "lifespan" or self._is_known(scope) else _refusal()
        await app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        is_equal = secrets.compare_digest(token.strip().encode(), self._token)
        return is_equal and scheme.lower() == "bearer"


def _refusal() -> ASGIApp:
    """Return the answer as an error of the protocol, so that its clients show the line."""
    error = {"code": INVALID_REQUEST, "message": REFUSAL}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return JSONResponse(body, status_code=401, headers={"WWW-Authenticate": "Bearer"})
