// The state diagram of RFC 9293, figure 5, with what was seen on its nodes and edges.

const NODE = { width: 148, height: 44 };

/** Centres of the nodes. CLOSED stands at both ends, as in the figure. */
const NODES = {
  CLOSED: [480, 40], LISTEN: [480, 128], SYN_RECEIVED: [190, 214], SYN_SENT: [770, 214],
  ESTABLISHED: [480, 300], FIN_WAIT_1: [190, 392], CLOSE_WAIT: [770, 392],
  FIN_WAIT_2: [190, 500], CLOSING: [480, 500], LAST_ACK: [770, 500],
  TIME_WAIT: [480, 600], END: [770, 600],
};

/** Ways drawn in full: path, where its label stands, and how the label is anchored. */
const WAYS = [
  ["CLOSED", "LISTEN", "M490 62V104", [498, 88], "start"],
  ["LISTEN", "CLOSED", "M470 106V64", [462, 88], "end"],
  ["CLOSED", "SYN_SENT", "M554 40H752Q770 40 770 58V190", [780, 120], "start"],
  ["LISTEN", "SYN_RECEIVED", "M406 128H208Q190 128 190 146V190", [180, 160], "end"],
  ["LISTEN", "SYN_SENT", "M554 128Q660 134 706 190", [640, 140], "start"],
  ["SYN_SENT", "SYN_RECEIVED", "M696 214H266", [480, 206], "middle"],
  ["SYN_RECEIVED", "ESTABLISHED", "M240 236Q300 292 404 297", [338, 262], "start"],
  ["SYN_SENT", "ESTABLISHED", "M720 236Q660 292 556 297", [622, 262], "end"],
  ["SYN_RECEIVED", "FIN_WAIT_1", "M150 236V368", [142, 306], "end"],
  ["ESTABLISHED", "FIN_WAIT_1", "M430 322Q380 384 266 390", [370, 350], "end"],
  ["ESTABLISHED", "CLOSE_WAIT", "M530 322Q580 384 694 390", [590, 350], "start"],
  ["FIN_WAIT_1", "FIN_WAIT_2", "M190 414V476", [198, 450], "start"],
  ["FIN_WAIT_1", "CLOSING", "M264 404Q420 412 462 476", [412, 414], "start"],
  ["CLOSE_WAIT", "LAST_ACK", "M770 414V476", [762, 450], "end"],
  ["CLOSING", "TIME_WAIT", "M480 522V576", [488, 554], "start"],
  ["FIN_WAIT_2", "TIME_WAIT", "M190 522V582Q190 600 208 600H404", [300, 592], "middle"],
  ["LAST_ACK", "CLOSED", "M770 522V576", [778, 554], "start"],
  ["TIME_WAIT", "CLOSED", "M554 600H694", [624, 580], "middle"],
];

/** Ways to CLOSED that cut a connection short: a stub with a number, beside the state. */
const STUBS = {
  SYN_RECEIVED: "left", SYN_SENT: "right", ESTABLISHED: "below", FIN_WAIT_1: "left",
  FIN_WAIT_2: "left", CLOSE_WAIT: "right", CLOSING: "right",
};

function drawDiagram(view) {
  const { edges, times } = view.model;
  const seen = new Map(edges.map((edge) => [`${edge.from} ${edge.to}`, edge]));
  const stays = new Map(times.filter((one) => one.state !== null).map((one) => [one.state, one]));
  const most = Math.max(1, ...edges.map((edge) => edge.count));
  const parts = [];
  for (const [from, to, path, at, anchor] of WAYS) {
    const edge = seen.get(`${from} ${to}`);
    parts.push(way(edge && { ...edge, median: medianOf(edge, stays.get(from)) }, path, at, anchor, most));
  }
  for (const [state, side] of Object.entries(STUBS)) {
    const edge = seen.get(`${state} CLOSED`);
    if (edge && edge.count > 0) parts.push(stub({ ...edge, median: medianOf(edge, stays.get(state)) }, NODES[state], side, most));
  }
  for (const [name, at] of Object.entries(NODES)) {
    if (name === "CLOSED" || name === "END") {
      const ways = edges.filter((edge) => (name === "END" ? edge.to : edge.from) === "CLOSED");
      const number = ways.reduce((sum, edge) => sum + edge.count - edge.unseen, 0);
      parts.push(node(view, "CLOSED", at, number, number === 0 ? "not seen" : `${count(number)} ${name === "END" ? "ended" : "began"} here`));
    } else {
      const stay = stays.get(name);
      const line = stay ? `${count(stay.count)}${stayText(stay)}` : "not seen";
      parts.push(node(view, name, at, stay?.count ?? 0, line));
    }
  }
  const drawing = svg("svg", { class: "diagram", viewBox: "0 0 960 640", role: "group", "aria-label": "State diagram" }, markers(), parts);
  const drawn = new Set([...WAYS.map(([from, to]) => `${from} ${to}`), ...Object.keys(STUBS).map((state) => `${state} CLOSED`)]);
  const others = edges.filter((edge) => edge.count > 0 && !drawn.has(`${edge.from} ${edge.to}`));
  byId("diagram").replaceChildren(el("div", { class: "diagram-frame" }, drawing),
    el("p", { class: "faint" }, "Solid: seen. Dashed: for the most part inferred, as the kernel does not report it. Thin grey: documented, not seen here. ~: an estimate, as most of these stays are inferred or polled.",
      " A short arrow with a cross leads to CLOSED at once: refused, reset, timed out, or handed over to a mini-socket.",
      others.length > 0 ? ` Not in the drawing, but in the table: ${others.map((edge) => `${edge.from} to ${edge.to} (${count(edge.count)})`).join(", ")}.` : ""),
    edgeTable(edges.map((edge) => ({ ...edge, median: medianOf(edge, stays.get(edge.from)) }))));
}

/** The median of the stays before, marked where it is an estimate; none where most stays have no known length. */
function medianOf(edge, stay) {
  if (edge.median_ns === null || edge.timed * 2 < edge.count) return "";
  return `${isEstimate(stay) ? "~" : ""}${about(edge.median_ns)}`;
}

function stayText(stay) {
  const { spread } = stay;
  if (spread.count > 0 && spread.count * 2 >= stay.count) return ` \u00b7 ${isEstimate(stay) ? "~" : ""}${about(spread.median_ns)}`;
  return stay.at_least > 0 ? ` \u00b7 ${count(stay.at_least)} in part` : "";
}

/** Whether most stays in a state are not reported by the kernel. */
const isEstimate = (stay) => stay !== undefined && (stay.inferred + stay.polled) * 2 > stay.count;

function markers() {
  const arrow = (id) => svg("marker", { id, viewBox: "0 0 8 8", refX: 6.5, refY: 4, markerWidth: 10, markerHeight: 10, orient: "auto", markerUnits: "userSpaceOnUse" },
    svg("path", { d: "M0 0.5L7 4L0 7.5z" }));
  return svg("defs", {}, arrow("arrow"), arrow("arrow-faint"), arrow("arrow-cut"));
}

/** From 1.2 for one to 4 for the way most often gone. */
const strokeOf = (edge, most) => 1.2 + (2.8 * Math.log1p(edge.count)) / Math.log1p(most);

function edgeKind(edge) {
  if (!edge || edge.count === 0) return edge?.kernel || !edge ? "faint" : "faint never";
  return edge.inferred * 2 > edge.count ? "seen inferred" : "seen";
}

function way(edge, path, [x, y], anchor, most) {
  const kind = edgeKind(edge);
  const line = svg("path", { class: `way ${kind}`, d: path, "marker-end": `url(#${kind.startsWith("seen") ? "arrow" : "arrow-faint"})` });
  if (!kind.startsWith("seen")) return line;
  line.style.strokeWidth = strokeOf(edge, most);
  return svg("g", {}, svg("title", {}, edgeText(edge)), line, edgeLabel(edge, x, y, anchor));
}

function stub(edge, [x, y], side, most) {
  if (side === "below") return stubBelow(edge, x, y + NODE.height / 2, most);
  const out = side === "left" ? -1 : 1;
  const from = x + out * (NODE.width / 2), to = from + out * 34;
  const line = svg("path", { class: "way seen cut", d: `M${from} ${y}H${to}`, "marker-end": "url(#arrow-cut)" });
  line.style.strokeWidth = strokeOf(edge, most);
  return svg("g", {}, svg("title", {}, edgeText(edge)), line,
    svg("text", { class: "cut-mark", x: to + out * 10, y: y + 4, "text-anchor": "middle" }, "\u2715"),
    edgeLabel(edge, to + out * 20, y - 2, out < 0 ? "end" : "start"));
}

function stubBelow(edge, x, y, most) {
  const line = svg("path", { class: "way seen cut", d: `M${x} ${y}V${y + 26}`, "marker-end": "url(#arrow-cut)" });
  line.style.strokeWidth = strokeOf(edge, most);
  return svg("g", {}, svg("title", {}, edgeText(edge)), line,
    svg("text", { class: "cut-mark", x, y: y + 44, "text-anchor": "middle" }, "\u2715"),
    edgeLabel(edge, x + 10, y + 38, "start"));
}

function edgeLabel(edge, x, y, anchor) {
  return svg("text", { class: "way-label", x, y, "text-anchor": anchor },
    svg("tspan", { class: "way-count" }, count(edge.count - edge.unseen)),
    edge.unseen > 0 ? svg("tspan", { x, dy: 13 }, `${count(edge.unseen)} not seen`) : "",
    edge.median === "" ? "" : svg("tspan", { x, dy: 13 }, edge.median));
}

function edgeText(edge) {
  const median = edge.median === "" ? "" : `, half of them after at most ${edge.median} in ${edge.from}`;
  const unseen = edge.unseen > 0 ? `, ${count(edge.unseen)} of them not seen: they come later, maybe after the end of the trace` : "";
  return `${edge.from} to ${edge.to}: ${count(edge.count)}${edge.inferred > 0 ? ` (${count(edge.inferred)} inferred${unseen})` : ""}${median}. ${edge.why ?? "Not documented"}`;
}

function node(view, state, [x, y], number, line) {
  const group = svg("g", { class: `node ${number > 0 ? "seen" : "faint"}`, transform: `translate(${x - NODE.width / 2} ${y - NODE.height / 2})`,
    tabindex: 0, role: "button", "data-state": state, "aria-label": `${state}: ${line}. Shows its connections` },
    svg("rect", { class: "node-box", width: NODE.width, height: NODE.height, rx: 6 }),
    svg("rect", { class: `node-swatch s-${state}`, width: 6, height: NODE.height - 12, x: 7, y: 6, rx: 2 }),
    svg("text", { class: "node-name", x: 22, y: 19 }, state),
    svg("text", { class: "node-number", x: 22, y: 34 }, line));
  const filter = () => {
    view.set({ search: `state:${state.toLowerCase()}`, verdicts: new Set() });
    byId("connections").scrollIntoView();
    byId("list").focus({ preventScroll: true });
  };
  group.addEventListener("click", filter);
  group.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      filter();
    }
  });
  return group;
}

function edgeTable(edges) {
  const seen = edges.filter((edge) => edge.count > 0).sort((a, b) => b.count - a.count);
  if (seen.length === 0) return el("p", { class: "faint" }, "No transition was seen.");
  return el("details", { class: "more" }, el("summary", {}, "The same as a table"),
    el("div", { class: "table-frame" }, el("table", {},
      el("thead", {}, el("tr", {}, ["From", "To", "Count", "Inferred", "Median before", "What it means", "RFC 9293"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, seen.map((edge) => el("tr", {},
        el("td", {}, edge.from), el("td", {}, edge.to), el("td", { class: "number" }, count(edge.count)),
        el("td", { class: "number" }, edge.inferred > 0 ? count(edge.inferred) : ""),
        el("td", { class: "number" }, edge.median),
        el("td", {}, edge.why ?? "not documented"), el("td", {}, edge.rfc ?? (edge.why ? "only Linux" : "")))))))); 
}

