"""A forwarder in front of the Prefect server, which counts the requests of all processes."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from prefect_jobs.local.processes import LOOPBACK

_CHUNK = 1 << 16
#: Of these paths, the parts that tell what is asked for.
_VERBS = ("set_state", "filter", "bulk", "labels", "get_scheduled_flow_runs", "heartbeat")


class Proxy:
    """Forwards connections as they are, and reads along which requests are sent."""

    def __init__(self, api_url: str) -> None:
        parts = urlsplit(api_url)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server((LOOPBACK, 0))
        self._lock = threading.Lock()
        self.counted: Counter[str] = Counter()
        #: What a process has as PREFECT_API_URL, so that its requests are counted.
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}{parts.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def take(self) -> "Counter[str]":
        """What was counted since the last time."""
        with self._lock:
            found, self.counted = self.counted, Counter()
        return found

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        """Forwards what a client sends; requests have a length, and what else there is (an upgrade) has no end."""
        with contextlib.suppress(OSError), client.makefile("rb") as stream, server:
            while line := stream.readline():
                head, length, known = [line], 0, True
                while head[-1] not in (b"\r\n", b""):
                    head.append(stream.readline())
                    name, _, value = head[-1].partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                    elif name.lower() in (b"upgrade", b"transfer-encoding"):
                        known = False
                with self._lock:
                    self.counted[_kind(line.decode())] += 1
                server.sendall(b"".join(head) + stream.read(length))
                if not known:
                    while chunk := stream.read1(_CHUNK):
                        server.sendall(chunk)


@contextmanager
def proxy(api_url: str) -> Iterator[Proxy]:
    """A forwarder while the context lasts."""
    made = Proxy(api_url)
    try:
        yield made
    finally:
        made.close()


def _kind(line: str) -> str:
    method, path, *_ = line.split()
    parts = urlsplit(path).path.removeprefix("/api/").strip("/").split("/")
    return " ".join([method, parts[0], *(part for part in parts[1:] if part in _VERBS)])


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
    target.close()
