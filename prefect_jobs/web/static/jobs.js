// Keeps tables of jobs up to date, and carries actions out without a reload. Without it, links and forms do the same.

const ALIVE = 40000; // ms without a heartbeat after which a stream counts as broken
const RARELY = 60000; // ms after which rows are read again although nothing was told
const tables = () => [...document.querySelectorAll(".pj-table[data-table]")];
const rowOf = (id, within = document) => within.querySelector(`[data-job="${CSS.escape(String(id))}"]`);

function announce(text) {
  const place = document.querySelector(".pj-announce");
  if (!place) return;
  place.textContent = text;
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => { place.textContent = ""; }, 10000 + 60 * text.length);
}

// -- times ----------------------------------------------------------------------------------------------------------

function localTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    time.title = `${moment.toISOString().replace("T", " ").slice(0, 19)} UTC`;
    time.textContent = moment.toLocaleString();
    time.dataset.local = "1";
  }
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [days, hours, minutes, rest] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  if (days) return `${days} d ${two(hours)}:${two(minutes)}:${two(rest)}`;
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

let updated = Date.now();
setInterval(() => {
  for (const one of document.querySelectorAll(".pj-tick")) {
    one.dataset.since ??= String(Date.now());
    one.textContent = duration(Number(one.dataset.seconds) + (Date.now() - Number(one.dataset.since)) / 1000);
  }
  const seconds = Math.round((Date.now() - updated) / 1000);
  for (const one of document.querySelectorAll(".pj-updated")) one.textContent = seconds < 2 ? "Updated now" : `Updated ${seconds} s ago`;
}, 1000);

// -- rows -----------------------------------------------------------------------------------------------------------

// A row is replaced as the server renders it. What people do in it stays: selection, an open menu, the focus.
function replaceRow(old, fresh) {
  const checked = old.querySelector("input[type=checkbox][name=ids]")?.checked;
  const open = old.querySelector("details.pj-menu")?.open;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const path = focused ? [...old.querySelectorAll("a, button, input, summary")].indexOf(focused) : -1;
  if (open && focused && focused.tagName !== "SUMMARY") { // someone chooses at this moment: only the status changes
    const status = fresh.querySelector(".pj-status");
    if (status) old.querySelector(".pj-status")?.replaceWith(status);
    return; // its version stays: the rest follows when the menu is closed
  }
  fresh.hidden = old.hidden;
  if (old.dataset.told) fresh.dataset.told = old.dataset.told;
  old.replaceWith(fresh);
  const box = fresh.querySelector("input[type=checkbox][name=ids]");
  if (box && checked) box.checked = true;
  const menu = fresh.querySelector("details.pj-menu");
  if (menu && open) menu.open = true;
  const inside = old.querySelector("details.pj-details");
  const again = fresh.querySelector("details.pj-details");
  if (inside && again) {
    again.querySelector("div").replaceChildren(...inside.querySelector("div").childNodes);
    again.open = inside.open; // it is read again, by "toggle"
  }
  if (path >= 0) fresh.querySelectorAll("a, button, input, summary")[path]?.focus();
}

// What an open row shows is read when it is opened, and again when the job changes.
async function details(one) {
  let answer;
  try { answer = await fetch(one.dataset.details, { credentials: "same-origin" }); } catch { return; }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const link = one.querySelector("a");
  one.querySelector("div").replaceChildren(...(link ? [link] : []), ...page.body.childNodes);
  localTimes(one);
}
document.addEventListener("toggle", (event) => {
  const one = event.target;
  if (one.matches?.("details.pj-details[open]")) details(one);
  const row = one.matches?.("details.pj-menu:not([open])") ? one.closest("[data-job]") : null;
  if (row?.isConnected) refresh(one.closest("[data-base]"), [row.dataset.job]);
}, true);

const waiting = new Map(); // table → ids of rows to fetch
async function refresh(table, ids) {
  const known = waiting.get(table);
  if (known) { ids.forEach((id) => known.add(id)); return; }
  const set = new Set(ids);
  waiting.set(table, set);
  await new Promise((done) => { setTimeout(done, 80); });
  waiting.delete(table);
  const all = [...set];
  for (let start = 0; start < all.length; start += 200) await refreshSome(table, all.slice(start, start + 200));
  if (table.dataset.reload !== undefined) refreshPage();
}

async function refreshSome(table, ids) {
  const query = new URLSearchParams({ table: table.dataset.table, ids: ids.join(",") });
  let answer;
  try { answer = await fetch(`${table.dataset.base}rows?${query}`, { credentials: "same-origin" }); } catch { return; }
  if (!answer.ok) return;
  updated = Date.now();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const there = new Set();
  for (const fresh of page.querySelectorAll("tr[data-job]")) {
    const id = fresh.dataset.job;
    there.add(id);
    const old = rowOf(id, table);
    if (!old || Number(old.dataset.version) >= Number(fresh.dataset.version)) continue; // an answer may be late
    if (old.tagName === "TR") replaceRow(old, document.adoptNode(fresh));
    else {
      const open = old.querySelector("details.pj-menu[open]");
      if (!open) old.dataset.version = fresh.dataset.version; // else the rest follows when the menu is closed
      for (const name of open ? [".job-status"] : [".job-status", ".job-actions"]) {
        const from = fresh.querySelector(name);
        const to = old.querySelector(name);
        const focused = to?.contains(document.activeElement);
        if (from && to) to.replaceChildren(...from.childNodes);
        if (focused) to.querySelector("summary")?.focus();
      }
    }
  }
  // Of our own page each row that is not answered is gone; an app may show jobs that the routes do not.
  if (table.dataset.own !== undefined) for (const id of ids) if (!there.has(String(id))) remove(table, id);
  localTimes(table);
  count();
}

// The page of a job shows the rest of it again, too, unless someone is in it at this moment.
async function refreshPage() {
  const rest = document.querySelector("#pj-rest");
  if (!rest || rest.contains(document.activeElement)) return;
  let answer;
  try { answer = await fetch(window.location.href, { credentials: "same-origin" }); } catch { return; }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#pj-rest");
  if (fresh) rest.replaceWith(fresh);
  localTimes(document);
}

function remove(table, id) {
  const row = rowOf(id, table);
  if (!row) return;
  if (row.contains(document.activeElement) && table.tabIndex >= 0) table.focus();
  if (row.tagName === "TR") row.remove();
  else { announce("The job was deleted."); row.querySelector(".job-actions")?.replaceChildren(); }
}

// -- events: one stream for all tabs of a browser -------------------------------------------------------------------

function news(kind, data) {
  if (kind === "alive") {
    // A worker knows what it has shown itself; what others have deleted is found now and then.
    if (Date.now() - everything.last > RARELY) everything();
    return;
  }
  if (kind === "refresh") { everything(); return; }
  if (kind === "totals") {
    if (!document.querySelector(".pj-table[data-totals]")) return; // of all jobs, and the page shows some
    let sum = 0;
    for (const number of Object.values(data)) sum += number;
    for (const place of document.querySelectorAll(".pj-sum")) place.textContent = sum;
    for (const chip of document.querySelectorAll(".pj-chips [data-status]")) {
      const number = data[chip.dataset.status] ?? 0;
      chip.querySelector("b").textContent = number;
      chip.hidden = !number && !chip.hasAttribute("aria-current");
    }
    return;
  }
  for (const table of tables()) {
    const row = rowOf(data.id, table);
    if (kind === "deleted") remove(table, data.id);
    else if (row && Number(row.dataset.version) < data.version) {
      if (row.dataset.statusClass && data.final && !row.dataset.told) { row.dataset.told = "1"; tell(data); }
      if (!data.final) delete row.dataset.told;
      refresh(table, [String(data.id)]);
    } else if (!row && data.id > Number(table.dataset.newest ?? Infinity)) document.querySelector(".pj-new")?.removeAttribute("hidden");
  }
}

function tell(job) {
  announce(`${job.name}: ${job.status}`);
  if (window.Notification?.permission === "granted" && document.hidden) new Notification(`${job.name}: ${job.status}`, { body: job.status_message.slice(0, 200) });
}

function follow(base) {
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`prefect-jobs ${base}`) : null;
  let heard = Date.now();
  const hear = (kind, data) => {
    heard = updated = Date.now();
    news(kind, data);
  };
  channel?.addEventListener("message", (event) => hear(event.data.kind, event.data.data));
  const listen = () => new Promise((over) => {
    const source = new EventSource(`${base}events`);
    for (const kind of ["job", "deleted", "totals", "alive"]) source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      channel?.postMessage({ kind, data });
      hear(kind, data);
    });
    // What has changed since the pages were made, or while there was no stream, is read once by each tab.
    source.addEventListener("open", () => { channel?.postMessage({ kind: "refresh", data: {} }); hear("refresh", {}); });
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) over(); });
  });
  const lead = async () => { for (;;) { await listen(); await new Promise((done) => { setTimeout(done, 10000); }); } };
  if (navigator.locks && channel) navigator.locks.request(`prefect-jobs ${base}`, lead); else lead();
  // Without a stream each page asks for its rows, all at once.
  const pause = Math.max(1000, ...tables().map((table) => Number(table.dataset.refresh) || 5000));
  setInterval(() => { if (!document.hidden && Date.now() - heard > ALIVE) everything(); }, pause);
  // What has changed since the page was made; the tab that has the stream asks as soon as it is open.
  const started = Date.now();
  setTimeout(() => { if (everything.last <= started) everything(); }, 1500);
}

everything.last = Date.now();
function everything() {
  everything.last = Date.now();
  for (const table of tables()) {
    const ids = [...table.querySelectorAll("[data-job]")].map((row) => row.dataset.job);
    if (ids.length) refresh(table, ids);
  }
}

// -- actions --------------------------------------------------------------------------------------------------------

function ask(text, label, more, html = false) {
  return new Promise((done) => {
    const dialog = document.createElement("dialog");
    dialog.className = "pj-dialog";
    dialog.setAttribute("aria-label", label);
    const question = document.createElement("p");
    if (html) question.innerHTML = text; // markup that the app itself has written
    else question.textContent = text;
    const form = document.createElement("form");
    form.method = "dialog";
    const menu = document.createElement("menu");
    for (const [value, name] of [["", "Cancel"], ["yes", label]]) {
      const button = document.createElement("button");
      button.value = value;
      button.textContent = name;
      menu.append(button);
    }
    form.append(question, ...more, menu);
    dialog.append(form);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      const answer = dialog.returnValue === "yes" ? new FormData(form) : null;
      dialog.remove();
      done(answer);
    });
    dialog.showModal();
  });
}

function choice(kind, name, value, text, checked) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: kind, name, value, checked });
  label.append(input, ` ${text}`);
  return label;
}

async function post(address, body, token) {
  const answer = await fetch(address, {
    method: "POST", credentials: "same-origin", body,
    headers: { Accept: "application/json", "X-CSRF-Token": token, "Content-Type": "application/x-www-form-urlencoded" },
  });
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(data.detail ?? `The server answered ${answer.status}.`);
  return data;
}

async function act(form, button) {
  const row = button.closest("[data-job]");
  const place = button.closest("[data-base]");
  const name = button.dataset.action;
  const label = button.textContent.trim();
  const body = new URLSearchParams(new FormData(form));
  const menu = button.closest("details");
  if (button.dataset.question || name === "resubmit") {
    const more = [];
    if (name === "delete") more.push(choice("checkbox", "files", "1", "and the files", true));
    if (name === "resubmit") more.push(choice("checkbox", "fresh", "1", "a workflow: from the start, not from where it failed", false));
    const answer = await ask(button.dataset.question ?? "Submit the job again?", label, more, button.dataset.html !== undefined);
    if (!answer) { menu?.querySelector("summary")?.focus(); return; }
    if (name === "delete") body.set("files", answer.get("files") ? "1" : "0");
    if (answer.get("fresh")) body.set("fresh", "1");
  }
  menu?.removeAttribute("open");
  menu?.querySelector("summary")?.focus();
  if (button.dataset.overlay !== undefined) document.body.inert = true;
  announce(`${label}…`);
  try {
    const data = await post(button.formAction, body, place.dataset.csrfToken);
    announce(data.deleted ? "The job was deleted." : `${label}: the job is ${data.status}.`);
    if (data.deleted) remove(place, row.dataset.job);
    if (data.deleted && place.dataset.reload !== undefined) window.location.assign(place.dataset.base);
  } catch (error) {
    announce(error.message);
  } finally {
    document.body.inert = false;
    refresh(place, [row.dataset.job]);
  }
}

async function actOnMany(form, button) {
  const boxes = [...document.querySelectorAll("input[name=ids]:checked")];
  const all = form.querySelector("input[name=all]")?.checked;
  if (!boxes.length && !all) { announce("No job is selected."); return; }
  const label = button.textContent.replace(" selected", "");
  const number = all ? form.querySelector("input[name=all]").parentElement.textContent.trim() : `${boxes.length} jobs`;
  const more = button.dataset.many === "delete" ? [choice("checkbox", "files", "1", "and the files", true)] : [];
  const answer = await ask(`${label} ${number}?`, label, more);
  if (!answer) return;
  const body = new URLSearchParams(new FormData(form));
  body.set("files", answer.get("files") ? "1" : "0");
  announce(`${label}…`);
  try {
    const { results } = await post(button.formAction, body, document.body.dataset.csrfToken);
    const failed = results.filter((one) => !one.done);
    announce(failed.length ? `${results.length - failed.length} done. ${failed.map((one) => `Job ${one.id}: ${one.problem}`).slice(0, 5).join(" ")}` : `${label}: ${results.length} jobs done.`);
  } catch (error) {
    announce(error.message);
  }
  everything();
}

function count() {
  const place = document.querySelector(".pj-selected");
  if (place) place.textContent = `${document.querySelectorAll("input[name=ids]:checked").length} selected`;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.classList.contains("pj-act") && event.submitter) { event.preventDefault(); act(form, event.submitter); }
  else if (form.id === "pj-many" && event.submitter) { event.preventDefault(); actOnMany(form, event.submitter); }
});
document.addEventListener("formdata", (event) => { // what is not filled in does not belong into an address
  if (event.target.matches("form.pj-search")) for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});
document.addEventListener("change", (event) => {
  if (event.target.matches(".pj-all")) for (const box of document.querySelectorAll("input[name=ids]")) box.checked = event.target.checked;
  if (event.target.matches(".pj-all, input[name=ids]")) count();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.pj-menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const link = event.target.closest("a[data-modal]");
  if (link) {
    event.preventDefault();
    const dialog = document.createElement("dialog");
    dialog.className = "pj-dialog";
    dialog.setAttribute("aria-label", link.dataset.modal);
    const frame = document.createElement("iframe");
    frame.src = link.href;
    frame.title = link.dataset.modal;
    const close = document.createElement("button");
    close.textContent = "Close";
    close.autofocus = true; // Escape in the frame would be the frame's
    close.addEventListener("click", () => dialog.close());
    dialog.append(frame, close);
    const menu = link.closest("details.pj-menu");
    if (menu) menu.open = false;
    dialog.addEventListener("close", () => { dialog.remove(); menu?.querySelector("summary").focus(); });
    document.body.append(dialog);
    dialog.showModal();
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.target.closest?.("details.pj-menu[open]");
  if (event.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); }
});

// -- a table of an app that searches and orders in the browser ------------------------------------------------------

function dataTable(table) {
  const body = table.querySelector("tbody");
  const size = Number(table.dataset.page) || Infinity;
  let wanted = "";
  let page = 0;
  const pager = document.createElement("p");
  const show = () => {
    const rows = [...body.rows].filter((row) => row.textContent.toLowerCase().includes(wanted));
    const last = Math.max(0, Math.ceil(rows.length / size) - 1);
    page = Math.min(page, last);
    const seen = new Set(size === Infinity ? rows : rows.slice(page * size, (page + 1) * size));
    for (const row of body.rows) row.hidden = !seen.has(row);
    pager.querySelector("span")?.replaceChildren(` page ${page + 1} of ${last + 1} `);
  };
  if (size !== Infinity) {
    const turn = (text, step) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => { page = Math.max(0, page + step); show(); });
      return button;
    };
    pager.append(turn("Previous", -1), document.createElement("span"), turn("Next", 1));
    table.append(pager);
    show();
  }
  if (table.dataset.search === "true") {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "search";
    label.append("Search ", box);
    table.prepend(label);
    box.addEventListener("input", () => { wanted = box.value.toLowerCase(); page = 0; show(); });
  }
  if (table.dataset.ordering === "true") {
    [...table.querySelectorAll("thead th")].slice(0, -1).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((one, other) => one.cells[column].textContent.localeCompare(other.cells[column].textContent, undefined, { numeric: true }));
        body.append(...(down ? rows.reverse() : rows));
        show();
      });
    });
    const [column, direction] = JSON.parse(table.dataset.order || "null")?.[0] ?? [];
    const head = table.querySelectorAll("thead th")[column]?.querySelector("button");
    for (let press = 0; head && press < (direction === "desc" ? 2 : 1); press += 1) head.click();
  }
}

// -- the log viewer -------------------------------------------------------------------------------------------------

// The range of some characters of an element, which may be in several text nodes.
function rangeOf(element, start, length) {
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (seen <= start && start < seen + node.length) range.setStart(node, start - seen);
    if (seen < start + length && start + length <= seen + node.length) { range.setEnd(node, start + length - seen); break; }
    seen += node.length;
  }
  return range;
}

function logViewer(log) {
  const lines = log.querySelector(".pj-lines");
  const followed = log.querySelector(".pj-follow");
  const wrap = log.querySelector(".pj-wrap");
  const find = log.querySelector(".pj-find");
  log.querySelector(".pj-tools").hidden = false;
  const wrapped = () => lines.classList.toggle("pj-wrapped", wrap.checked);
  wrap.addEventListener("change", wrapped);
  wrapped();
  const atEnd = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
  lines.addEventListener("scroll", () => { if (!atEnd()) followed.checked = false; });
  const address = (more) => `${log.dataset.base}api/jobs/${log.dataset.job}/logs?${new URLSearchParams({ name: log.dataset.name, ...more })}`;
  if (!find.value) lines.scrollTop = lines.scrollHeight;
  const earlier = log.querySelector(".pj-earlier");
  earlier?.addEventListener("click", async (event) => {
    event.preventDefault();
    const part = await (await fetch(address({ before: log.dataset.start }))).json();
    const height = lines.scrollHeight;
    lines.insertAdjacentHTML("afterbegin", part.html);
    lines.scrollTop += lines.scrollHeight - height;
    log.dataset.start = part.start;
    if (!part.start) earlier.parentElement.remove();
  });
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase();
    const hits = wanted ? lines.textContent.toLowerCase().split(wanted).length - 1 : 0;
    log.querySelector(".pj-found").textContent = wanted ? `${hits} found` : "";
    if (!hits) return;
    const range = rangeOf(lines, lines.textContent.toLowerCase().indexOf(wanted), wanted.length);
    if (window.CSS?.highlights && window.Highlight) CSS.highlights.set("pj-find", new Highlight(range));
    const place = range.getBoundingClientRect().top - lines.getBoundingClientRect().top;
    lines.scrollTop += place - 40;
  });
  const more = async () => {
    if (!document.hidden && followed.checked) {
      try {
        const answer = await fetch(address({ after: log.dataset.end }));
        if (answer.ok) {
          const part = await answer.json();
          const stay = atEnd();
          lines.insertAdjacentHTML("beforeend", part.html);
          log.dataset.end = part.end;
          if (part.text) log.querySelector(".pj-nothing")?.remove();
          if (stay) lines.scrollTop = lines.scrollHeight;
          if (part.final && part.end === part.length) return;
        }
      } catch { /* it is asked again */ }
    }
    setTimeout(more, 3000);
  };
  if (log.dataset.final === "false") setTimeout(more, 3000);
}

const bell = document.querySelector(".pj-notify");
if (bell && window.Notification?.permission === "default") {
  bell.hidden = false;
  bell.addEventListener("click", async () => { await Notification.requestPermission(); bell.hidden = true; });
}
localTimes(document);
count();
tables().forEach(dataTable);
document.querySelectorAll("details.pj-details[open]").forEach(details);
document.querySelectorAll(".pj-log").forEach(logViewer);
new Set(tables().map((table) => table.dataset.base)).forEach(follow);
