"""Pages for the person who runs ``prefect-jobs serve``: who connects from this machine as the same user."""

import os
import pwd
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ESTABLISHED = "01"
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
        if conn.scope["path"].startswith(("/update-job-status/", "/static/")):
            return None
        client, server = conn.client, conn.scope.get("server")
        # A name that a stranger's page has: its DNS may lead to this machine, and the browser is the owner's.
        if client is None or server is None or conn.url.hostname not in _LOOPBACK:
            raise AuthenticationError(_REFUSED)
        uid = await run_sync(uid_of, (client.host, client.port), (server[0], server[1]))
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
    if conn.scope["path"].startswith("/api/"):
        body = {"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": str(error)}
        return JSONResponse(body, 401, media_type="application/problem+json")
    return PlainTextResponse(f"{error}\n", 401)


def uid_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user whose process has the other end of a connection on this machine; ``None``: it is not known.

    Both ends must fit, of an established connection that a process has open: the kernel names root as the owner of
    others.
    """
    wanted = {(_encoded(*mine), _encoded(*other)) for mine, other in zip(_forms(client), _forms(server), strict=True)}
    for local, remote, uid in _connections():
        if (local, remote) in wanted:
            return uid
    return None


def _forms(address: tuple[str, int]) -> Sequence[tuple[str, int]]:
    """An address as a socket of each family has it."""
    host, port = address
    return ((host, port), (f"::ffff:{host}", port)) if "." in host else ((host, port), (host, port))


def _connections() -> Iterator[tuple[str, str, int]]:
    """Both ends and the user of each established TCP connection of this machine (proc(5), /proc/net/tcp)."""
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _ESTABLISHED and fields[9] != "0":  # "0": no process has it open
                yield fields[1], fields[2], int(fields[7])


def _encoded(host: str, port: int) -> str:
    """An address as the kernel prints it: 32-bit words in the byte order of the machine; empty: it is none."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return ""
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
