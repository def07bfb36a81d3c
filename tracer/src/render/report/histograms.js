// How long handshakes and the stays in each state took: small histograms on one scale.

const PLOT = { width: 300, height: 84 };

function drawTimes(view) {
  const told = view.model.times.filter((one) => one.spread.count > 0 || one.at_least > 0);
  const timed = told.filter((one) => one.spread.count > 0);
  if (timed.length === 0) {
    byId("times").replaceChildren(el("p", { class: "faint" }, "No stay in a state was seen from beginning to end."));
    return;
  }
  const scale = scaleOf(timed.flatMap((one) => one.spread.classes));
  byId("times").replaceChildren(el("div", { class: "histograms" }, timed.map((one) => histogram(one, scale))), timesTable(told));
}

/** Logarithmic, from the first class that holds anything to the last. */
function scaleOf(classes) {
  const from = Math.min(...classes.map(([begin]) => Math.max(begin, 1)));
  const to = Math.max(...classes.map(([, end]) => end));
  const decades = Math.log10(to / from);
  return { from, to, x: (ns) => (Math.log10(Math.max(ns, from) / from) / decades) * PLOT.width };
}

function histogram(one, scale) {
  const { spread } = one;
  const most = Math.max(...spread.classes.map(([, , number]) => number));
  const name = one.state ?? "Handshake";
  const bars = spread.classes.map(([begin, end, number]) => {
    const x = scale.x(begin), height = Math.max(1.5, (number / most) * PLOT.height);
    return svg("rect", { class: "bar", x: x + 0.5, y: PLOT.height - height, width: Math.max(1, scale.x(end) - x - 1), height },
      svg("title", {}, `${plainDuration(begin)} to ${plainDuration(end)}: ${count(number)}`));
  });
  const median = scale.x(spread.median_ns);
  const estimated = one.state ? estimateText(one) : "";
  return el("figure", { class: `histogram${one.state && isEstimate(one) ? " estimate" : ""}` },
    el("figcaption", {},
      el("b", one.state ? { tabindex: 0, "data-state": one.state } : {}, one.state ? el("i", { class: `swatch s-${one.state}` }) : null, name),
      one.state ? null : el("span", { class: "faint" }, " SYN_SENT to ESTABLISHED")),
    svg("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height + 18}`, role: "img", "aria-label": `${name}: ${spreadText(spread)}` },
      decadesOf(scale).map((ns) => svg("g", {},
        svg("path", { class: "grid", d: `M${scale.x(ns)} 0V${PLOT.height}` }),
        svg("text", { class: "tick", x: scale.x(ns), y: PLOT.height + 14, "text-anchor": anchorAt(scale.x(ns)) }, plainDuration(ns)))),
      bars,
      svg("path", { class: "median", d: `M${median} 0V${PLOT.height}` })),
    el("p", {}, spreadText(spread), one.at_least > 0 ? el("span", { class: "faint" }, ` and ${count(one.at_least)} seen only in part`) : null,
      estimated ? el("span", { class: "estimated" }, ` ${estimated}`) : null));
}

/** What of the stays in a state the kernel did not report. */
function estimateText({ count: all, inferred, polled }) {
  const parts = [[inferred, "inferred from other measurements"], [polled, "seen by asking now and then"]]
    .filter(([number]) => number > 0).map(([number, how]) => `${number === all ? "all" : `${count(number)} of ${count(all)}`} ${how}`);
  return parts.length > 0 ? `~ ${parts.join(", ")}` : "";
}

const anchorAt = (x) => (x < 14 ? "start" : x > PLOT.width - 14 ? "end" : "middle");

function spreadText(spread) {
  return `${count(spread.count)}, median ${about(spread.median_ns)}, 95 % within ${about(spread.p95_ns)}, longest ${duration(spread.max_ns)}`;
}

/** Powers of ten, at most six of them; with few decades, every one. */
function decadesOf({ from, to }) {
  const first = Math.ceil(Math.log10(from) - 1e-9), last = Math.floor(Math.log10(to) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / 6));
  const decades = [];
  for (let power = first; power <= last; power += every) decades.push(10 ** power);
  return decades;
}

/** Of a round number: `20ms`, not `20.00ms`. */
function plainDuration(ns) {
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "us"]]) if (ns >= size) return `${count(ns / size)}${unit}`;
  return `${ns}ns`;
}

function timesTable(told) {
  const cell = (ns) => el("td", { class: "number" }, ns === null ? "" : about(ns));
  return el("details", { class: "more" }, el("summary", {}, "The same as a table"),
    el("div", { class: "table-frame" }, el("table", {},
      el("thead", {}, el("tr", {}, ["", "Timed", "Median", "95 %", "99 %", "Longest", "Seen in part", "Still in it", "Inferred"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, told.map(({ state, spread, ...more }) => el("tr", {},
        el("th", { scope: "row" }, state ?? "Handshake"), el("td", { class: "number" }, count(spread.count)),
        cell(spread.median_ns), cell(spread.p95_ns), cell(spread.p99_ns),
        el("td", { class: "number" }, spread.max_ns === null ? "" : duration(spread.max_ns)),
        ["at_least", "still_in", "inferred"].map((name) => el("td", { class: "number" }, more[name] > 0 ? count(more[name]) : "")))))))); 
}

