// What happened, read from the data block. `data.rs` writes it; the fields of a connection have the names
// they have in tracer's JSON (docs/schema.md). Times are nanoseconds since the start of the trace.

const POLLED = 1, INFERRED = 2, AT_LEAST = 4, OVER = 8;

/** What a connection waits for that is neither open nor over. */
const WAITING_FOR = {
  SYN_SENT: "an answer to its SYN",
  SYN_RECEIVED: "the last ACK of the handshake",
  FIN_WAIT_1: "the peer to acknowledge its FIN",
  FIN_WAIT_2: "the peer to close",
  CLOSE_WAIT: "the application here to close",
  CLOSING: "the peer to acknowledge its FIN",
  LAST_ACK: "the peer to acknowledge its FIN",
};

/** Reads the data block; the rows become objects. */
function readModel(data) {
  const verdicts = new Map(data.verdicts.map((one) => [one.verdict, one]));
  const states = new Map(data.states.map((one) => [one.state, one]));
  const textColumns = new Set(data.text_columns);
  const columns = data.columns.map((name, place) => [name, textColumns.has(place)]);
  const model = { ...data, verdicts, states };
  model.connections = data.rows.map((row) => {
    const conn = {};
    columns.forEach(([name, isText], place) => {
      const cell = row[place];
      conn[name] = isText && cell !== null ? data.texts[cell] : cell;
    });
    return complete(conn, data, verdicts);
  });
  delete model.rows;
  return model;
}

/** What follows from the fields of a connection, worked out once. */
function complete(conn, data, verdicts) {
  conn.spans = readSpans(conn.states, data.texts);
  placeSpans(conn);
  conn.kind = verdicts.get(conn.verdict)?.kind ?? "doubtful";
  const last = conn.spans.at(-1);
  conn.hints = readHints(conn.hints, data.texts);
  const isHeld = conn.ending === "still_open" && last?.state === "CLOSE_WAIT";
  conn.is_forgotten = isHeld && last.lasted >= data.long_held_ns;
  // Its beginning was not seen, and what was seen is too short to tell.
  conn.may_be_forgotten = isHeld && !conn.is_forgotten && last.since === null;
  conn.is_stuck = conn.kind !== "failed" && (conn.hints.length > 0 || conn.is_forgotten);
  conn.waits_in = conn.ending === "still_open" && last && WAITING_FOR[last.state] ? last : null;
  const seen = conn.spans.filter((span) => span.evidence !== "inferred" || span.since !== null);
  const first = seen[0];
  conn.begin = first ? first.from : conn.end_ns;
  conn.begin_known = Boolean(first && first.since !== null && conn.from_birth);
  // TIME_WAIT is not counted: the connection does nothing any more.
  const counted = seen.filter((span) => span.state !== "TIME_WAIT" && span.state !== "CLOSED");
  conn.end = Math.max(conn.begin, ...counted.map((span) => (span.evidence === "inferred" ? span.from : span.to)));
  conn.lasted = conn.end - conn.begin;
  conn.lasted_is_minimum = !conn.begin_known || conn.ending !== "closed" || Boolean(counted.at(-1)?.atLeast);
  conn.local = endpoint(conn.local_addr, conn.local_port);
  conn.remote = endpoint(conn.remote_addr, conn.remote_port);
  conn.process = processName(conn);
  return conn;
}

function readHints(cells, texts) {
  const hints = [];
  for (let at = 0; at + 3 < cells.length; at += 4) {
    const [name, text, advice, check] = cells.slice(at, at + 4).map((cell) => (cell === null ? null : texts[cell]));
    hints.push({ name, text, advice, check });
  }
  return hints;
}

function readSpans(cells, texts) {
  const spans = [];
  for (let at = 0; at + 4 < cells.length; at += 5) {
    const marks = cells[at + 3];
    spans.push({
      state: texts[cells[at]],
      since: cells[at + 1],
      lasted: cells[at + 2],
      expected: cells[at + 4],
      evidence: marks & INFERRED ? "inferred" : marks & POLLED ? "polled" : "observed",
      atLeast: Boolean(marks & AT_LEAST),
      over: Boolean(marks & OVER),
    });
  }
  // The socket closed and nothing says when the connection is over: there is nothing to draw.
  const last = spans.at(-1);
  if (last && last.state === "CLOSED" && last.since === null && last.lasted === null) last.over = true;
  return spans;
}

/**
 * Where each state is drawn: between what is known of it and of its neighbours. What is only known to have
 * been before its first transition has no length (`before`).
 */
function placeSpans(conn) {
  let edge = null;
  conn.spans.forEach((span, index) => {
    const next = conn.spans[index + 1];
    const until = next?.since ?? conn.end_ns;
    span.before = span.since === null && edge === null && span.lasted === null;
    span.from = span.since ?? edge ?? until - (span.lasted ?? 0);
    if (span.over || span.before) span.to = span.from;
    else if (span.lasted !== null) span.to = span.from + span.lasted;
    else if (next && next.since !== null) span.to = next.since;
    else if (span.evidence === "inferred") span.to = span.from + (span.expected ?? 0);
    else span.to = Math.max(span.from, conn.end_ns);
    if (span.to < span.from) span.to = span.from;
    edge = span.to;
  });
}

/** `10.0.0.1:443`, `[::1]:443`; `*` for what there is not. */
function endpoint(address, port) {
  const nowhere = address === "0.0.0.0" || address === "::";
  if (nowhere && port === 0) return "*";
  return `${address.includes(":") ? `[${address}]` : address}:${port === 0 ? "*" : port}`;
}

/** `curl/1234`, in parentheses while it is only the listener's, `-` for nobody known. */
function processName({ comm, pid, owner_source: source }) {
  if (comm === null && pid === null) return "-";
  const name = `${comm === "" ? '""' : comm ?? "?"}/${pid ?? "?"}`;
  return source === "listener" ? `(${name})` : name;
}

/** The word for how it fared, of which there are a mark and a colour. */
function kindOf(conn) {
  if (conn.is_stuck) return "stuck";
  return conn.verdict === "open" ? "open" : conn.kind;
}

/** Those that need somebody, most urgent first: failed, stuck, doubtful, open, closed, listeners. */
function urgency(conn) {
  if (conn.kind === "failed") return 0;
  if (conn.is_stuck) return 1;
  if (conn.kind === "doubtful") return 2;
  if (conn.verdict === "open") return 3;
  return conn.kind === "listener" ? 5 : 4;
}

