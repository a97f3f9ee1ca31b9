"""The screens of ``prefect-jobs watch``."""

import time
from threading import Event
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Header, Input, RichLog, Static
from textual.worker import get_current_worker

from prefect_jobs.cli import watched
from prefect_jobs.cli.jobs import job_of
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.schedulers.connections import connections

#: By the type of the state that shows a job in Prefect.
_STYLES = {
    "COMPLETED": "green", "FAILED": "bold red", "CRASHED": "bold red", "RUNNING": "cyan", "PAUSED": "yellow",
    "CANCELLED": "dim", "CANCELLING": "dim", "PENDING": "", "SCHEDULED": "",
}  # fmt: skip
_STATUS = watched.COLUMNS.index("status")
#: Seconds between two readings of the table, at most, and of logs.
_AT_ONCE, _LOGS = 1.0, 5.0
#: Seconds for which keys do nothing after the job at the cursor has left the table.
_DEAF = 2.0


class Watch(App[None]):
    """All screens; the first is the table."""

    TITLE = "prefect-jobs"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #totals { padding: 0 1; height: auto; }
    #filter { display: none; }
    #filter.open { display: block; }
    #problems { padding: 0 1; height: auto; color: $error; }
    DataTable { height: 1fr; }
    Question { align: center middle; }
    Question > Vertical { width: 60; height: auto; padding: 1 2; border: round $warning; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter,l", "logs", "Logs", key_display="enter", priority=False),
        Binding("s", "act('stop')", "Stop"),
        Binding("p", "act('pause')", "Pause"),
        Binding("r", "act('resume')", "Resume"),
        Binding("escape", "clear", "Show all"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, view: watched.View) -> None:
        """
        Args:
            view: the jobs at the beginning.
        """
        super().__init__()
        self.view = view
        self._interval = max(0.2, get_runtime().settings.poll_interval)
        self._shown: dict[int, watched.Row] = {}
        #: Set: the jobs are read at once.
        self._wanted = Event()
        #: Until when keys do nothing, since the job at the cursor has left the table (monotonic).
        self._deaf_until = 0.0

    def compose(self) -> ComposeResult:
        """The parts of the first screen."""
        yield Header(icon="")
        yield Static(id="totals")
        yield Input(self.view.text, placeholder="text, or status=Held user=ann name__contains=flood", id="filter")
        yield Static(id="problems")
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begins to read."""
        for name in watched.COLUMNS:
            self._table.add_column(name, key=name)
        self._table.focus()
        self._follow()

    # -- what is shown ----------------------------------------------------------------------------------

    @property
    def _table(self) -> DataTable[Text]:
        return self.screen_stack[0].query_one(DataTable)

    @work(thread=True)
    def _follow(self) -> None:
        """Reads the jobs again and again, and shows what has changed."""
        worker = get_current_worker()
        while not worker.is_cancelled:
            view = self.view
            self._wanted.clear()
            try:
                problems, found = view.problems(), view.read()
            except Exception as error:  # the database, perhaps: the next time may succeed
                problems, found = [f"The jobs cannot be read: {error}"], None
            if not worker.is_cancelled:
                self.call_from_thread(self._show, view, found, " ".join(problems))
            self._wanted.wait(min(self._interval, _AT_ONCE))

    def _show(self, view: watched.View, found: watched.Seen | None, problem: str) -> None:
        if view is not self.view:
            return
        self.screen_stack[0].query_one("#problems", Static).update(Text(problem))
        if found is None:
            return
        self.screen_stack[0].query_one("#totals", Static).update(Text(found.line))
        table = self._table
        if [row.id for row in found.rows] != list(self._shown):
            self._fill(found)
        for row in found.rows:
            before = self._shown.get(row.id)
            if before != row:
                for name, old, cell in zip(watched.COLUMNS, _cells(before), _cells(row), strict=True):
                    if old != cell:
                        table.update_cell(str(row.id), name, cell, update_width=True)
        self._shown = {row.id: row for row in found.rows}

    def _fill(self, found: watched.Seen) -> None:
        """Makes all rows again; the cursor stays at its job."""
        table, chosen, top = self._table, self._chosen(), self._table.scroll_y
        before = table.cursor_row
        table.clear()
        for row in found.rows:
            table.add_row(*_cells(row), key=str(row.id))
        self._shown = {row.id: row for row in found.rows}
        if chosen in self._shown:
            table.move_cursor(row=list(self._shown).index(chosen), scroll=False)
            table.scroll_to(y=top, animate=False)
        elif chosen is not None:
            table.move_cursor(row=min(before, len(self._shown) - 1), scroll=False)
            self._deaf_until = time.monotonic() + _DEAF

    def _chosen(self) -> int | None:
        """The job at the cursor."""
        ids = list(self._shown)
        return ids[self._table.cursor_row] if 0 <= self._table.cursor_row < len(ids) else None

    def on_unmount(self) -> None:
        """Lets threads end that wait for a scheduler."""
        self._wanted.set()
        connections.interrupt()

    # -- keys -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the table do nothing on other screens."""
        return len(self.screen_stack) == 1 or action not in ("filter", "logs", "act", "clear")

    def action_filter(self) -> None:
        """Opens the line for a filter."""
        line = self.query_one("#filter", Input)
        line.add_class("open")
        line.focus()

    def action_clear(self) -> None:
        """Closes the filter, and shows all."""
        line = self.query_one("#filter", Input)
        line.value = ""
        line.remove_class("open")
        self._table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters as it is typed."""
        self.view = self.view.other(event.value)
        self._wanted.set()

    def on_input_submitted(self) -> None:
        """Back to the table."""
        self._table.focus()

    def on_data_table_row_selected(self) -> None:
        """Enter, or a click."""
        self.action_logs()

    def action_logs(self) -> None:
        """Opens the logs of the job at the cursor."""
        if (chosen := self._chosen()) is not None:
            self.push_screen(Logs(chosen, self._interval))

    def action_act(self, name: str) -> None:
        """Stops, pauses or resumes the job at the cursor; it asks before it stops one."""
        if (chosen := self._chosen()) is None:
            return
        if time.monotonic() < self._deaf_until:
            self.notify("The job has left the table. Choose another.", severity="warning")
            return
        title = f"job {chosen} ({self._shown[chosen].cells[watched.COLUMNS.index('name')]})"
        if name == "stop":
            self.push_screen(Question(f"Stop {title}?"), lambda yes: self._act_if(yes, chosen, name, title))
        else:
            self._act(chosen, name, title)

    def _act_if(self, wanted: bool | None, job_id: int, name: str, title: str) -> None:
        if wanted:
            self._act(job_id, name, title)

    @work(thread=True)
    def _act(self, job_id: int, name: str, title: str) -> None:
        try:
            job = job_of(job_id)
            getattr(job, name)()
        except Exception as error:  # of this one job, whose type may be the app's own
            said = str(error) or type(error).__name__
            self.call_from_thread(self.notify, said, title=title, severity="error", markup=False)
        else:
            self.call_from_thread(self.notify, f"{title}: {job.cached_status}", markup=False)
        self._wanted.set()


class Question(ModalScreen[bool]):
    """A question to be answered by a key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question and its keys."""
        with Vertical():
            yield Static(Text(f"{self._text}\n\ny: yes    n: no"))


class Logs(Screen[None]):
    """The messages and logs of a job; they are renewed until it is over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        Binding("w", "wrap", "Wrap lines"),
        Binding("end,G", "end", "To the end", key_display="end"),
    ]

    def __init__(self, job_id: int, interval: float) -> None:
        super().__init__()
        self._number, self._interval = job_id, interval
        self._said: list[tuple[str, str]] = []
        self._left = Event()

    def compose(self) -> ComposeResult:
        """The text."""
        yield Header(icon="")
        yield RichLog(wrap=True, auto_scroll=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begins to read."""
        self.sub_title = f"job {self._number}"
        self.query_one(RichLog).focus()
        self._read()

    @work(thread=True)
    def _read(self) -> None:
        worker = get_current_worker()
        while not worker.is_cancelled:
            try:
                job = job_of(self._number)
                over, said = watched.is_over(job), list(watched.log_of(job))
            except LookupError as error:  # it was deleted
                over, said = True, [*self._said, ("", str(error))]
            except Exception as error:  # the database, perhaps: the next time may succeed
                over, said = False, self._said or [("", f"Its logs cannot be read: {error}")]
            if not worker.is_cancelled:
                self.app.call_from_thread(self._write, said)
            if over:
                return
            self._left.wait(max(_LOGS, self._interval))

    def on_unmount(self) -> None:
        """Lets the thread end."""
        self._left.set()

    def _write(self, said: list[tuple[str, str]]) -> None:
        if said == self._said:
            return
        self._said = said
        text = self.query_one(RichLog)
        at_end = text.is_vertical_scroll_end
        top = text.scroll_y
        text.clear()
        for title, part in said:
            if title:
                text.write(Text(f"==> {title} <==", style="bold"))
            text.write(Text.from_ansi(part))
        text.scroll_to(y=text.max_scroll_y if at_end else top, animate=False)

    def action_wrap(self) -> None:
        """Breaks long lines, or does not."""
        text = self.query_one(RichLog)
        text.wrap = not text.wrap
        said, self._said = self._said, []
        self._write(said)

    def action_end(self) -> None:
        """To the end, where it stays."""
        self.query_one(RichLog).scroll_end(animate=False)


def _cells(row: watched.Row | None) -> list[Text]:
    if row is None:
        return [Text()] * len(watched.COLUMNS)
    found = [Text(cell) for cell in row.cells]
    found[_STATUS].stylize(_STYLES.get(row.state_type, ""))
    return found
