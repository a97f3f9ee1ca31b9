"""Pages for the person who runs ``prefect-jobs serve``: who connects from this machine as the same user."""

import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_REFUSED = (
    "These pages are for the user who runs prefect-jobs serve, on the same machine. From elsewhere use a tunnel: "
    "ssh -L 8000:127.0.0.1:8000 HOST, and open http://127.0.0.1:8000/. To serve more people, mount "
    "prefect_jobs.web.routes(…) in an app that signs its users in."
)


class Owner(AuthenticationBackend):
    """Other users of the machine are refused, as are pages of other sites whose names lead to this machine."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """Who has connected.

        Raises:
            AuthenticationError: another user has.
        """
        if "/update-job-status/" in conn.url.path or "/static/" in conn.url.path:
            return None
        client = conn.client
        # A name that a stranger's page has: its DNS may lead to this machine, and the browser is the owner's.
        if client is None or conn.url.hostname not in _LOOPBACK:
            raise AuthenticationError(_REFUSED)
        uid = await run_sync(uid_of, client.host, client.port)
        if uid not in (os.getuid(), 0):
            raise AuthenticationError(_REFUSED)
        return AuthCredentials(["authenticated"]), SimpleUser(owner())


def owner() -> str:
    """The name of the user who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def refuse(conn: HTTPConnection, error: AuthenticationError) -> Response:
    """The answer to another user."""
    if "/api/" in conn.url.path:
        body = {"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": str(error)}
        return JSONResponse(body, 401, media_type="application/problem+json")
    return PlainTextResponse(f"{error}\n", 401)


def uid_of(host: str, port: int) -> int | None:
    """The user whose process has the other end of a connection on this machine; ``None``: it is not known."""
    wanted = {_encoded(host, port), _encoded(f"::ffff:{host}", port)} if "." in host else {_encoded(host, port)}
    for local, uid in _connections():
        if local in wanted:
            return uid
    return None


def _connections() -> Iterator[tuple[str, int]]:
    """Local address and user of each TCP connection of this machine (proc(5), /proc/net/tcp)."""
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            yield fields[1], int(fields[7])


def _encoded(host: str, port: int) -> str:
    """An address as the kernel prints it: 32-bit words in the byte order of the machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
