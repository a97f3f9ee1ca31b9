"""The process that loads HTCondor's bindings: one for each identity. Run as a module, never imported.

A separate process, since the bindings keep the first security session, so a second token in the same process would
submit as the first user; and since a C library that hangs can be killed only with its process.

Protocol: a line of JSON in, a line of JSON out. The first line has the settings; they come through the pipe since they
may contain a token. The answer to a request is ``{"ok": …}`` or ``{"error": kind, "text": …}``.
"""

import json
import os
import re
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prefect_jobs.schedulers.condor import addresses, matching, tailing
from prefect_jobs.schedulers.condor.submit import item_data

#: Kinds of errors; the client turns them into exceptions.
UNREACHABLE, REFUSED, FAILED = "unreachable", "refused", "failed"

#: Error of a restarted daemon that no longer knows our security session; nothing was executed, a retry opens a new one.
_FORGOTTEN = "Server rejected our session id"
#: Texts of the bindings when a daemon refuses us or an action. Several of these have other causes, too.
_SHUT_OUT = re.compile(r"authenticat|denied|start command|performing action|failed to connect", re.IGNORECASE)
_NO_WRITE = (
    "lets us read but not submit: the token needs the authorization WRITE, or the pool must allow it to our identity"
)
#: Text of the bindings when a schedd does not set an attribute.
_UNEDITED = "Unable to edit"
#: What an ad's value may be, for JSON.
_VALUES = (str, int, float, bool)
#: Attributes that are expressions of others. Those that users give may have another value later.
_EVALUATED = ("MemoryUsage", "SpooledOutputFiles")
_ENDED = "the process that submitted it has ended"


class HelperError(Exception):
    """An error with its kind, for the client."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def configure(settings: Mapping[str, Any]) -> None:
    """Writes HTCondor's configuration for a token into the private folder; without a token, the machine's is used."""
    token = settings.get("token")
    if not token:
        return
    folder = Path(settings["folder"])
    tokens = folder / "tokens.d"
    tokens.mkdir(mode=0o700)
    with os.fdopen(os.open(tokens / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(str(token).strip() + "\n")
    config = folder / "condor_config"
    lines = (
        f"SEC_TOKEN_DIRECTORY = {tokens}",
        "SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS",
        # A client that can read a pool's signing key creates its own token, as another user.
        f"SEC_PASSWORD_DIRECTORY = {folder / 'none'}",
        f"SEC_TOKEN_POOL_SIGNING_KEY_FILE = {folder / 'none' / 'key'}",
        "ENABLE_IPV6 = AUTO",
        "USE_SHARED_PORT = False",
    )
    config.write_text("\n".join(lines) + "\n")
    for name in [name for name in os.environ if name.startswith("_CONDOR_")]:
        del os.environ[name]
    os.environ["CONDOR_CONFIG"] = str(config)


class Session:
    """An access point, located once and used until it fails."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import htcondor2

        self._condor = htcondor2
        self._settings = settings
        self._ad: Any = None
        self._schedd: Any = None

    def ask(self, operation: Callable[..., Any], /, **args: Any) -> Any:
        """Carries out a request; again if a restarted schedd no longer knows us."""
        try:
            try:
                return operation(**args)
            except Exception as error:
                if isinstance(error, HelperError) or _FORGOTTEN not in str(error):
                    raise
            self.forget()
            return operation(**args)
        except HelperError:
            raise
        except Exception as error:
            if self._ad is not None and _SHUT_OUT.search(str(error)):
                self._check_entry()
            raise

    def _check_entry(self) -> None:
        """
        Raises:
            HelperError: the schedd answers, but refuses us, or refuses submissions.
        """
        for level, problem in (("READ", self._no_entry()), ("WRITE", _NO_WRITE)):
            try:
                self._condor.ping(self._ad, level)
            except Exception as error:
                if not addresses.listens(str(self._ad.get("MyAddress"))):
                    return  # it does not answer
                name = self._ad.get("Name")
                raise HelperError(UNREACHABLE, f"the schedd {name} answers but {problem}") from error

    def _no_entry(self) -> str:
        if self._settings.get("token"):
            return "does not let us in: check that the token is complete, not expired, and of that pool"
        return (
            "does not let us in: HTCondor finds no token here that is valid there. Put one into the folder that "
            "condor_config_val SEC_TOKEN_DIRECTORY names (condor_token_fetch, or condor_token_create at the access "
            "point), or use a scheduler block with a token"
        )

    def submit(self, text: str, count: int, spool: bool, items: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
        """Submits and, with ``spool``, spools the inputs; a cluster whose inputs cannot be spooled is removed."""
        schedd = self._connected()
        # If the program has ended, other processes search for the work by its token: it must not appear after that.
        if _abandoned():
            raise HelperError(FAILED, _ENDED)
        try:
            description = self._condor.Submit(text)
            if items:
                result = schedd.submit(description, count=1, spool=spool, itemdata=iter(item_data.lines_of(items)))
            else:
                result = schedd.submit(description, count=count, spool=spool)
        except Exception as error:
            message = _text(error)
            if (
                "create job ad" in message
                or "create a cluster ad" in message
                or not isinstance(error, self._condor.HTCondorException)
            ):
                raise HelperError(REFUSED, message) from error
            raise
        cluster = int(result.cluster())
        with self._removing(cluster):
            if _abandoned():
                raise HelperError(FAILED, _ENDED)
            if items and int(result.num_procs()) != len(items):
                raise HelperError(FAILED, f"HTCondor has made {int(result.num_procs())} procs of {len(items)} items")
            if spool:
                schedd.spool(result)
        return {"cluster": cluster, "procs": int(result.num_procs()), "schedd": self._ad.get("Name")}

    @contextmanager
    def _removing(self, cluster: int) -> Iterator[None]:
        """Removes a cluster whose inputs cannot be spooled, and reports that."""
        try:
            yield
        except Exception as error:
            text = f"the inputs could not be sent: {_text(error)}"
            try:
                self.act("Remove", f"ClusterId == {cluster}", "its inputs could not be sent")
            except Exception as other:
                text += f"; cluster {cluster}, which waits for them, could not be removed: {_text(other)}"
            raise HelperError(FAILED, text) from error

    def submit_all(self, submissions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Submits many, each as :meth:`submit`; returns an answer for each, in the form of :func:`main`."""
        found: list[dict[str, Any]] = []
        for number, submission in enumerate(submissions):
            found.append(_answer(partial(self.ask, self.submit, **submission)))
            if found[-1].get("error") in (None, REFUSED):
                continue
            self.forget()
            away = _answer(partial(self.query, "false", ["ClusterId"]))
            if "error" in away:  # then each of the others would wait for the timeout
                text = f"not tried, since an earlier submission failed and it does not answer: {away['text']}"
                found += [{"error": UNREACHABLE, "text": text}] * (len(submissions) - number - 1)
                break
        return found

    def query(self, constraint: str, projection: list[str], clusters: bool = False) -> list[dict[str, Any]]:
        """Job ads of the queue; with ``clusters`` also the ads of clusters whose procs are not all made."""
        more = {"opts": self._condor.QueryOpts.IncludeClusterAd} if clusters else {}
        return [_plain(ad) for ad in self._connected().query(constraint, projection, **more)]

    def history(
        self, constraint: str, projection: list[str], match: int, since: str | None = None
    ) -> list[dict[str, Any]]:
        """Job ads that have left the queue, newest first, down to the one that matches ``since``."""
        return [_plain(ad) for ad in self._connected().history(constraint, projection, match, since)]

    def analyze(self, constraints: list[str], seconds: float) -> list[dict[str, Any] | None]:
        """For each constraint why its idle procs wait."""
        schedd, name = self._connected(), str(self._ad.get("Name"))
        return matching.analyze_all(schedd, name, self._collector(), self._condor.AdTypes, constraints, seconds)

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        """Sets an attribute of jobs in the queue."""
        schedd = self._connected()
        try:
            return int(schedd.edit(constraint, attribute, value))
        except Exception as error:
            if _UNEDITED in str(error):  # raised after we were authorized
                raise HelperError(REFUSED, _text(error)) from error
            raise

    def dagman(self) -> dict[str, Any]:
        """The path and the version of DAGMan at the access point."""
        self._connected()
        try:
            folder = self._condor.RemoteParam(self._ad)["BIN"]
        except Exception as error:
            self._check_entry()
            text = f"the access point does not report the path of its condor_dagman: {_text(error)}"
            raise HelperError(FAILED, text) from error
        return {"folder": str(folder), "version": self._ad.get("CondorVersion")}

    def act(self, action: str, constraint: str, reason: str) -> dict[str, Any]:
        """Hold, Release or Remove; the answer has the number of jobs for each outcome."""
        # Schedds escape different characters of a reason. The reason is a pair with a code without meaning, since
        # htcondor2 25.14 drops a reason that is only a text.
        text = " ".join(reason.split()).replace('"', "'").replace("\\", "/")
        return _plain(self._connected().act(getattr(self._condor.JobAction, action), constraint, reason=(text, None)))

    def tail(self, proc: str, stream: str, most: int, seconds: float) -> str | None:
        """The last bytes that a proc which runs has written; see :func:`tailing.tail`."""
        self._connected()
        return tailing.tail(str(self._ad.get("Name")), self._settings.get("collector"), proc, stream, most, seconds)

    def retrieve(self, constraint: str) -> None:
        """Writes outputs (and logs so far) of spooled jobs to the places that their submitter chose."""
        self._connected().retrieve(constraint)

    def check(self) -> dict[str, Any]:
        """A description of the access point."""
        schedd = self._connected()
        schedd.query("false", ["ClusterId"], limit=1)
        report: dict[str, Any] = {
            "schedd": self._ad.get("Name"),
            "machine": self._ad.get("Machine"),
            "version": self._ad.get("CondorVersion"),
            "client": str(self._condor.version()),
            "jobs": {
                "running": self._ad.get("TotalRunningJobs"),
                "idle": self._ad.get("TotalIdleJobs"),
                "held": self._ad.get("TotalHeldJobs"),
            },
        }
        condor = self._condor
        # A ping at the level that submitting needs shows whether this identity may submit.
        report["identity"] = condor.ping(self._ad, "WRITE").get("MyRemoteUserName")
        wanted = ["Name", "Cpus", "Memory", "TotalCpus", "TotalMemory", "State"]
        slots = self._collector().query(condor.AdTypes.Startd, "true", wanted)
        report["slots"] = [_plain(slot) for slot in slots]
        return report

    def _connected(self) -> Any:
        if self._schedd is None:
            self._ad = self._locate()
            self._schedd = self._condor.Schedd(self._ad)
        return self._schedd

    def forget(self) -> None:
        """Makes the next request locate the access point again: it may have moved to another port."""
        self._schedd = self._ad = None

    def _collector(self) -> Any:
        address = self._settings.get("collector")
        return self._condor.Collector(address) if address else self._condor.Collector()

    def _locate(self) -> Any:
        condor = self._condor
        wanted = self._settings.get("schedd_name")
        try:
            collector = self._collector()
            if not wanted and not self._settings.get("collector"):
                return collector.locate(condor.DaemonType.Schedd)
            if wanted and not self._settings.get("collector"):
                return collector.locate(condor.DaemonType.Schedd, wanted)
            ads = list(collector.locateAll(condor.DaemonType.Schedd))
        except Exception as error:
            raise HelperError(UNREACHABLE, self._why(_text(error))) from error
        names = [str(ad.get("Name")) for ad in ads]
        if not ads:
            raise HelperError(UNREACHABLE, "the collector answers but knows no schedd")
        host = self._settings.get("schedd_host")
        if wanted:
            for ad in ads:
                if wanted in (ad.get("Name"), ad.get("Machine")):
                    return ad
            raise HelperError(UNREACHABLE, f"no schedd is named {wanted!r}; there are: {', '.join(names)}")
        if host:
            found = addresses.schedds_at(ads, str(host), self._settings.get("schedd_port"))
            if not found:
                there = ", ".join(f"{ad.get('Name')} at {ad.get('MyAddress')}" for ad in ads)
                raise HelperError(
                    UNREACHABLE, f"the pool has no schedd at {host!r}, by name or address; there are: {there}"
                )
            ads, names = found, [str(ad.get("Name")) for ad in found]
        if len(ads) > 1:
            raise HelperError(UNREACHABLE, f"there are several schedds, set schedd_name to one of: {', '.join(names)}")
        return ads[0]

    def _why(self, text: str) -> str:
        """The reason of an error: the bindings report "failed" for a wrong address and a wrong token alike."""
        address = self._settings.get("collector")
        if not address:
            return (
                f"{text.rstrip('.')}: there is no HTCondor configured on this machine. "
                "Set CONDOR_CONFIG (prefect-jobs condor env), or use a scheduler block"
            )
        host, _, port = str(address).rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
        except OSError as error:
            return f"nothing answers there ({error.strerror or error})"
        return (
            "something answers there but does not let us in: check that it is a collector or an access point, and "
            "that the token is complete, not expired, and of that pool"
        )


def _answer(ask: Callable[[], Any]) -> dict[str, Any]:
    """The answer for the client: the value of ``ask``, or the error."""
    try:
        return {"ok": ask()}
    except HelperError as error:
        return {"error": error.kind, "text": _text(error)}
    except Exception as error:  # the client raises it
        return {"error": FAILED, "text": _text(error)}


def _abandoned() -> bool:
    """Whether the program that sends requests has ended."""
    found = select.poll()
    found.register(sys.stdin.fileno(), select.POLLHUP)
    return any(event & select.POLLHUP for _, event in found.poll(0))


def _plain(ad: Any) -> dict[str, Any]:
    """An ad as JSON values; expressions without a value are left out."""
    found: dict[str, Any] = {}
    for name in ad:
        value = ad[name]
        # Not isinstance: an undefined value is a member of an integer enumeration.
        if type(value) not in _VALUES and name in _EVALUATED:
            value = ad.eval(name)
        if type(value) in _VALUES:
            found[name] = value
    return found


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Answers requests until the other end closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library's output must not mix with the answers
    session: Session | None = None
    folder: str | None = None
    answer: dict[str, Any] = {"error": FAILED, "text": "not configured"}
    try:
        for line in sys.stdin:
            request = json.loads(line)
            # The default action of SIGALRM ends the process even inside a C call that hangs.
            signal.setitimer(signal.ITIMER_REAL, float(request["timeout"]) + 5)
            args = request["args"]
            if request["op"] == "configure":
                folder = args["folder"]
                answer = _answer(partial(configure, args))
                session = Session(args)  # imports the bindings, which read the configuration
            elif session is not None:
                answer = _answer(partial(session.ask, getattr(session, request["op"]), **args))
            if "error" in answer and answer["error"] != REFUSED and session is not None:
                session.forget()
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    except BrokenPipeError:
        # The program was killed meanwhile. An answer that could not be written must not be written again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    finally:
        if folder is not None:
            # The program that started us was killed, or did not close us: the token must not remain.
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
