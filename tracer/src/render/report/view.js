// What is shown of it: search, verdicts, order, the time window, the connection chosen.

const SORTS = [
  ["urgency", "failed and stuck first", (a, b) => urgency(a) - urgency(b) || a.begin - b.begin],
  ["start", "start", (a, b) => a.begin - b.begin],
  ["lasted", "duration, longest first", (a, b) => b.lasted - a.lasted],
  ["process", "process", (a, b) => compare(a.process, b.process) || a.begin - b.begin],
  ["verdict", "verdict", (a, b) => compare(a.verdict, b.verdict) || a.begin - b.begin],
  ["remote", "remote", (a, b) => compare(a.remote, b.remote) || a.begin - b.begin],
];

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

class View {
  constructor(model) {
    this.model = model;
    this.clock = new WallClock(model.clocks);
    this.bounds = timeBounds(model);
    this.window = { ...this.bounds };
    this.search = "";
    this.verdicts = new Set();
    this.sort = "urgency";
    this.reversed = false;
    this.inViewOnly = false;
    this.chosen = null;
    this.list = [];
    this.listeners = { list: [], window: [], chosen: [], clock: [] };
    this.select();
  }

  /** Calls back when something has changed: the `list`, the `window`, the one `chosen`, the `clock`. */
  on(what, callback) {
    this.listeners[what].push(callback);
  }

  tell(what) {
    for (const callback of this.listeners[what]) callback();
  }

  /** Changes what is listed: `{ search, verdicts, sort, reversed, inViewOnly }`, any of them. */
  set(changes) {
    Object.assign(this, changes);
    this.select();
    this.tell("list");
  }

  toggleVerdict(verdict) {
    const verdicts = new Set(this.verdicts);
    if (!verdicts.delete(verdict)) verdicts.add(verdict);
    this.set({ verdicts });
  }

  select() {
    const wanted = searchFor(this.search);
    const { from, to } = this.window;
    const [, , order] = SORTS.find(([name]) => name === this.sort);
    this.list = this.model.connections.filter((conn) =>
      (this.verdicts.size === 0 || this.verdicts.has(conn.verdict)) && wanted(conn)
      && (!this.inViewOnly || (conn.begin <= to && conn.end >= from)));
    this.list.sort(this.reversed ? (a, b) => order(b, a) : order);
  }

  choose(conn) {
    if (this.chosen === conn) return;
    this.chosen = conn;
    this.tell("chosen");
  }

  /** Shows a stretch of time, kept within the bounds. */
  show(from, to) {
    const whole = this.bounds.to - this.bounds.from;
    const width = clamp(to - from, Math.min(1000, whole), whole);
    const begin = Math.round(clamp((from + to - width) / 2, this.bounds.from, this.bounds.to - width));
    this.window = { from: begin, to: begin + width };
    this.tell("window");
    if (this.inViewOnly) this.set({});
  }

  /** Zooms by a factor about a moment: less than 1 shows less. */
  zoom(factor, about = (this.window.from + this.window.to) / 2) {
    const { from, to } = this.window;
    this.show(about - (about - from) * factor, about + (to - about) * factor);
  }

  /** Moves by a share of what is shown. */
  pan(share) {
    const { from, to } = this.window;
    const by = clamp((to - from) * share, this.bounds.from - from, this.bounds.to - to);
    this.show(from + by, to + by);
  }

  showAll() {
    this.show(this.bounds.from, this.bounds.to);
  }

  /** Shows one connection, with room on both sides. */
  showConnection(conn) {
    const room = Math.max(conn.lasted, 10_000) * 0.15;
    this.show(conn.begin - room, conn.end + room);
  }

  setUtc(utc) {
    this.clock.utc = utc;
    this.tell("clock");
  }
}

function timeBounds(model) {
  let from = 0, to = Math.max(model.end_ns, 1000);
  for (const conn of model.connections) {
    from = Math.min(from, conn.begin);
    to = Math.max(to, conn.end);
  }
  return { from, to };
}

/** Every word has to be found. */
function searchFor(search) {
  const tests = search.toLowerCase().split(/\s+/).filter(Boolean).map(testFor);
  return (conn) => tests.every((test) => test(conn));
}

function testFor(word) {
  if (/^\d+$/.test(word)) return (conn) => isNumberOf(conn, word);
  if (word.startsWith("state:")) return (conn) => conn.spans.some((span) => span.state.toLowerCase() === word.slice(6));
  if (word.startsWith("hint:")) return (conn) => conn.hints.some((hint) => hint.name === word.slice(5));
  return (conn) => textOf(conn).includes(word);
}

/** A number is a port, a process, a connection, a namespace, or a part of an address. */
function isNumberOf(conn, word) {
  return [conn.local_port, conn.remote_port, conn.pid, conn.conn, conn.netns].some((number) => String(number) === word)
    || conn.local_addr.includes(word) || conn.remote_addr.includes(word);
}

/** What words are looked for in; made when it is first needed. */
function textOf(conn) {
  conn.text ??= [conn.verdict, spoken(conn.verdict), conn.process, conn.local, conn.remote, conn.role, conn.because ?? "",
    conn.reset_reason ?? "", conn.container ?? "", conn.pod ?? "", conn.unit ?? "", conn.is_stuck ? "stuck" : "", ...conn.spans.map((span) => span.state)].join(" ").toLowerCase();
  return conn.text;
}

