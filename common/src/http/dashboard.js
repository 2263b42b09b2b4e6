"use strict";
const PERIOD = 2000, KEPT = 60;
const seen = new Map();

const count = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const brief = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" });

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++; }
  return n.toFixed(unit && n < 100 ? 1 : 0) + " " + units[unit];
}
function seconds(n) {
  if (n === null || n === undefined) return "–";
  if (n < 10) return n.toFixed(1) + " s";
  if (n < 120) return n.toFixed(0) + " s";
  if (n < 7200) return (n / 60).toFixed(0) + " min";
  return (n / 3600).toFixed(1) + " h";
}
function time(ticks) {
  return ticks ? new Date(ticks / 10000).toISOString().replace("T", " ").replace("Z", " UTC") : "–";
}
function el(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}
function tile(label, value, extra) {
  const node = el("div", undefined, "tile" + (extra === "mono" ? " mono" : ""));
  node.append(el("b", value), el("span", label));
  if (Array.isArray(extra)) node.append(spark(extra));
  return node;
}
function spark(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), line = document.createElementNS(space, "polyline");
  const most = Math.max(1, ...values);
  svg.setAttribute("viewBox", "0 0 " + (KEPT - 1) + " 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const left = KEPT - values.length;
  line.setAttribute("points", values.map((v, i) => (left + i) + "," + (19 - 18 * v / most).toFixed(1)).join(" "));
  svg.append(line);
  return svg;
}
function total(tables) {
  return Object.values(tables).reduce((sum, t) => sum + t.inserts + t.updates + t.deletes, 0);
}
/* Rates between two answers; a counter that went back belongs to a restarted service. */
function rates(key, status, now) {
  const next = { now, transactions: status.transactions, changes: total(status.tables), bytes: status.bytes || 0 };
  const last = seen.get(key) || { ...next, history: [], rate: null };
  const span = (now - last.now) / 1000;
  let rate = last.rate;
  if (span > 0) {
    const per = (field) => Math.max(0, next[field] - last[field]) / span;
    rate = { transactions: per("transactions"), changes: per("changes"), bytes: per("bytes") };
  }
  const history = rate ? last.history.concat(rate.changes).slice(-KEPT) : last.history;
  seen.set(key, { ...next, history, rate });
  return { rate: rate || { transactions: 0, changes: 0, bytes: 0 }, history };
}
/* Rows of all tables of a load: done, expected (0 when any is unknown), bytes. */
function sums(load) {
  const all = Object.values(load.tables);
  const known = all.every((t) => t.rows_expected !== null && t.rows_expected !== undefined);
  return {
    rows: all.reduce((sum, t) => sum + t.rows, 0),
    bytes: all.reduce((sum, t) => sum + t.bytes, 0),
    loaded: all.filter((t) => t.state === "loaded").length,
    tables: all.length,
    expected: known ? all.reduce((sum, t) => sum + Math.max(t.rows, t.rows_expected), 0) : 0,
  };
}
function loadLine(load) {
  const node = el("div", undefined, "load"), s = sums(load);
  const parts = ["Full load: " + load.state, s.loaded + " of " + s.tables + " tables",
    count.format(s.rows) + (s.expected ? " of about " + count.format(s.expected) : "") + " rows", bytes(s.bytes)];
  if (load.consistent) parts.push("consistent from " + load.consistent);
  node.append(el("div", parts.join(" · ")));
  if (load.state === "loading") {
    const bar = el("progress");
    if (s.expected) { bar.max = s.expected; bar.value = s.rows; }
    bar.setAttribute("aria-label", "full load");
    node.append(bar);
  }
  if (load.waiting) node.append(el("p", load.waiting, "notice"));
  return node;
}
/* As DMS's Table Statistics: changes of each table, and its full load where there was one. */
function table(tables, load) {
  const box = el("div", undefined, "scroll"), node = el("table"), head = el("tr");
  const loads = load ? load.tables : {};
  const names = ["Table"].concat(load ? ["State"] : [], ["Inserts", "Updates", "Deletes", "Total"],
    load ? ["Full load rows", "Expected", "Bytes", "Time", "Rows/s"] : []);
  for (const name of names) {
    const cell = el("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  node.append(head);
  for (const name of [...new Set(Object.keys(tables).concat(Object.keys(loads)))].sort()) {
    const t = tables[name] || { inserts: 0, updates: 0, deletes: 0 }, l = loads[name], row = el("tr");
    row.append(el("td", name));
    if (load) row.append(el("td", l ? l.state : "–"));
    for (const n of [t.inserts, t.updates, t.deletes, t.inserts + t.updates + t.deletes]) row.append(el("td", count.format(n)));
    if (load) {
      const known = l && l.rows_expected !== null && l.rows_expected !== undefined;
      row.append(el("td", l ? count.format(l.rows) : "–"), el("td", known ? count.format(l.rows_expected) : "–"),
        el("td", l ? bytes(l.bytes) : "–"), el("td", l && l.seconds > 0 ? seconds(l.seconds) : "–"),
        el("td", l && l.seconds > 0 ? brief.format(l.rows / l.seconds) : "–"));
    }
    node.append(row);
  }
  box.append(node);
  return box;
}
function service(title, key, status, now) {
  const { rate, history } = rates(key, status, now);
  const node = el("section"), tiles = el("div", undefined, "tiles"), heading = el("h2", title);
  heading.append(el("span", status.state, "state " + status.state));
  const capture = key === "capture";
  tiles.append(
    tile(capture ? "latency, source" : "latency, target", seconds(status.lag_seconds)),
    tile("changes/s", brief.format(rate.changes), history),
    tile("transactions/s", brief.format(rate.transactions)),
    tile("transactions since start", count.format(status.transactions)));
  if (capture) {
    tiles.append(
      tile("written/s", bytes(rate.bytes)),
      tile("written since start", bytes(status.bytes)),
      tile("source at", status.source_position, "mono"));
  } else {
    tiles.append(
      tile("transactions waiting", count.format(status.waiting_transactions)),
      tile("waiting in memory", bytes(status.memory_bytes)),
      tile(status.back_pressure ? "spool, at its budget" : "spool", bytes(status.spool_bytes)),
      tile("next offset / fetched", status.next_offset + " / " + status.fetched_offset, "mono"));
  }
  tiles.append(
    tile(capture ? "log at" : "checkpoint", status.position, "mono"),
    tile("its commit time", time(status.commit_time), "mono"),
    tile("epoch", String(status.epoch)));
  node.append(heading);
  if (status.last_error && status.state !== "running") node.append(el("p", status.last_error, "error"));
  if (status.diverged) node.append(el("p", "The target has diverged: " + status.exceptions + " transactions set aside, " + (status.forced || 0) + " rows forced in.", "error"));
  for (const notice of status.notices) node.append(el("p", notice, "notice"));
  node.append(tiles);
  if (status.load) node.append(loadLine(status.load));
  if (status.load || Object.keys(status.tables).length) node.append(table(status.tables, status.load));
  return node;
}
/* When a service last answered, for what is said when it does not. */
let answered = null, token = sessionStorage.getItem("token");
function alive(all) {
  answered = Date.now();
  document.body.classList.remove("silent");
  document.title = "Lockstep";
  document.getElementById("silent").hidden = true;
  document.getElementById("login").hidden = true;
  document.getElementById("version").textContent = all.version;
  document.getElementById("link").textContent = "as of " + new Date().toLocaleTimeString();
}
function silent(reason) {
  const note = document.getElementById("silent");
  document.body.classList.add("silent");
  document.title = "No answer – Lockstep";
  note.hidden = false;
  note.textContent = "No answer (" + reason + "). " + (answered
    ? "What is shown is of " + seconds((Date.now() - answered) / 1000) + " ago; the services may have ended."
    : "Nothing has been seen yet.");
  document.getElementById("link").textContent = "no answer";
}
async function poll() {
  try {
    const answer = await fetch("status", {
      cache: "no-store",
      headers: token ? { Authorization: "Bearer " + token } : {},
      signal: AbortSignal.timeout(5 * PERIOD),
    });
    if (answer.status === 401) document.getElementById("login").hidden = false;
    if (!answer.ok) throw new Error("status " + answer.status);
    const all = await answer.json(), now = performance.now(), parts = [];
    if (all.capture) parts.push(service("Capture", "capture", all.capture, now));
    for (const [name, status] of Object.entries(all.apply || {})) parts.push(service("Apply " + name, "apply " + name, status, now));
    document.getElementById("services").replaceChildren(...parts);
    alive(all);
  } catch (error) {
    silent(error.message);
  }
  setTimeout(poll, PERIOD);
}
document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.getElementById("token").value;
  sessionStorage.setItem("token", token);
});
poll();
