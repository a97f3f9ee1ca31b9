"""The service of docs/how-to/job-types.md: it runs shell scripts, and answers by HTTP on loopback."""

import json
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prefect_jobs.local.processes import LOOPBACK, free_port

Answer = tuple[int, Any]


@dataclass
class ServiceJob:
    """A script that was submitted."""

    id: str
    token: str
    process: subprocess.Popen[str]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    cancelled: bool = False
    output: str = ""

    def run(self) -> None:
        """Waits for the end of the script."""
        self.output, _ = self.process.communicate()
        self.ended = datetime.now(UTC)

    def plain(self) -> dict[str, Any]:
        """The job as JSON."""
        code = self.process.returncode if self.ended else None
        state = "running" if code is None else "cancelled" if self.cancelled else "failed" if code else "done"
        return {
            "id": self.id,
            "queue": "short",
            "state": state,
            "exit_code": code,
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
        }


class BatchService:
    """The service, which a test starts and stops."""

    def __init__(self) -> None:
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self.jobs: dict[str, ServiceJob] = {}
        self._submitted = 0
        #: Whether POST /jobs answers; unset, it takes the job and keeps its answer back.
        self.answers = threading.Event()
        self.answers.set()
        #: Whether it has stored the output of jobs that are over.
        self.stored = True

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Takes requests; jobs of an earlier start are still there."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(service.get)

            def do_POST(self) -> None:
                self._answer(service.post)

            def do_DELETE(self) -> None:
                self._answer(service.delete)

            def _answer(self, method: Any) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                status, answer = method(self.path, body)
                text = json.dumps(answer).encode()
                with suppress(ConnectionError):  # the caller was killed meanwhile
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="the batch service", daemon=True).start()

    def stop(self) -> None:
        """Takes no more requests; its jobs go on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self) -> None:
        """Ends the service and its jobs."""
        self.answers.set()
        self.stop()
        for job in self.jobs.values():
            job.process.kill()

    def get(self, path: str, body: Any) -> Answer:
        """Jobs of a token, one job, or its output."""
        parts = urlsplit(path)
        if parts.path == "/jobs":
            token = parse_qs(parts.query)["token"][0]
            return HTTPStatus.OK, [job.plain() for job in self.jobs.values() if job.token == token]
        _, _, number, *rest = parts.path.split("/")
        job = self.jobs.get(number)
        if job is None:
            return HTTPStatus.NOT_FOUND, {"error": "no such job"}
        if not rest:
            return HTTPStatus.OK, job.plain()
        if not self.stored:
            return HTTPStatus.CONFLICT, {"error": "not stored yet"}
        return HTTPStatus.OK, {"output": job.output}

    def post(self, path: str, body: Any) -> Answer:
        """Runs a script."""
        if not body["script"]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "the script is empty"}
        self._submitted += 1
        process = subprocess.Popen(["/bin/sh", "-c", body["script"]], stdout=subprocess.PIPE, text=True)
        job = self.jobs[str(self._submitted)] = ServiceJob(str(self._submitted), body["token"], process)
        threading.Thread(target=job.run, name=f"batch job {job.id}", daemon=True).start()
        self.answers.wait()
        return HTTPStatus.CREATED, job.plain()

    def delete(self, path: str, body: Any) -> Answer:
        """Cancels a job, or removes one that is over."""
        number = path.rpartition("/")[2]
        job = self.jobs.get(number)
        if job is None:
            return HTTPStatus.NOT_FOUND, {"error": "no such job"}
        if job.ended is None:
            job.cancelled = True
            job.process.kill()
        else:
            del self.jobs[number]
        return HTTPStatus.OK, {}
