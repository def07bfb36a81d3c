// Puts the page together.

const PRINTED_MAX = 200;

function main() {
  const view = new View(readModel(JSON.parse(byId("data").textContent)));
  const tips = new Tips(view.model, view);
  byId("main").hidden = false;
  const head = () => {
    drawFacts(view);
    drawLosses(view);
    drawSession(view);
  };
  head();
  view.on("clock", head);
  drawVerdicts(view);
  drawAttention(view);
  const lanes = new Lanes(view, tips);
  const details = new Details(view);
  lanes.onOpen = (focus) => details.open(focus);
  new Axis(view);
  drawControls(view);
  drawLegend(view);
  drawFooter(view);
  drawKeys();
  // Below the fold: after the first paint.
  requestAnimationFrame(() => setTimeout(() => {
    drawDiagram(view);
    drawTimes(view);
    performance.mark("drawn");
  }));
  keysOfThePage(view);
  printing(view);
}

function drawControls(view) {
  switchOf(byId("zone"), [[false, "Local time"], [true, "UTC"]], view.clock.utc, (utc) => view.setUtc(utc));
  switchOf(byId("theme"), [["light dark", "Auto"], ["light", "Light"], ["dark", "Dark"]], "light dark", (scheme) => {
    document.documentElement.style.colorScheme = scheme;
  });
  const search = byId("search"), sort = byId("sort"), inView = byId("in-view");
  sort.replaceChildren(...SORTS.map(([name, label]) => el("option", { value: name }, label)));
  search.addEventListener("input", () => view.set({ search: search.value }));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") view.set({ search: "" });
    if (event.key === "ArrowDown" || event.key === "Enter") byId("list").focus();
  });
  sort.addEventListener("change", () => view.set({ sort: sort.value, reversed: false }));
  inView.addEventListener("change", () => view.set({ inViewOnly: inView.checked }));
  for (const [id, act] of [["pan-left", () => view.pan(-0.25)], ["pan-right", () => view.pan(0.25)],
    ["zoom-in", () => view.zoom(0.5)], ["zoom-out", () => view.zoom(2)], ["zoom-all", () => view.showAll()]]) {
    byId(id).addEventListener("click", act);
  }
  const told = [...view.model.verdicts.values()].filter((one) => one.count > 0);
  const chips = told.map((one) => button({ class: "chip", title: one.meaning, "data-verdict": one.verdict }, [
    el("span", { class: `mark k-${barKind(one)}`, "aria-hidden": "true" }, markOf(one.verdict, one.kind)),
    `${spoken(one.verdict)} `, el("span", { class: "faint" }, count(one.count))], () => view.toggleVerdict(one.verdict)));
  byId("chips").replaceChildren(...chips);
  const show = () => {
    if (search.value !== view.search) search.value = view.search;
    sort.value = view.sort;
    inView.checked = view.inViewOnly;
    for (const chip of chips) chip.setAttribute("aria-pressed", String(view.verdicts.has(chip.dataset.verdict)));
    byId("shown").textContent = shownText(view);
  };
  view.on("list", show);
  show();
}

function shownText(view) {
  const { connections, verdicts } = view.model;
  const all = [...verdicts.values()].reduce((sum, one) => sum + one.count, 0);
  const listed = connections.length < all
    ? `; ${count(connections.length)} of ${count(all)} are listed, the failed first and an even sample of the others. Counts, diagram and histograms are of all` : "";
  const shown = view.list.length === connections.length ? count(connections.length) : `${count(view.list.length)} of ${count(connections.length)}`;
  const listeners = view.list.filter((conn) => conn.kind === "listener").length;
  const among = listeners > 0 ? `, ${count(listeners)} of them ${listeners === 1 ? "a listener" : "listeners"}` : "";
  return `${shown} shown${among}${listed}`;
}

function drawLegend(view) {
  const states = view.model.times.filter((one) => one.state !== null && one.state !== "CLOSED").map((one) => one.state);
  const evidence = [["observed", "observed: reported by the kernel"], ["polled", "polled: seen by asking now and then"], ["inferred", "inferred from what was seen"]];
  byId("legend").replaceChildren(
    el("ul", {}, states.map((state) => el("li", { tabindex: 0, "data-state": state }, el("i", { class: `swatch s-${state}` }), state))),
    el("ul", {}, evidence.map(([name, text]) => el("li", {}, el("i", { class: `swatch wide s-TIME_WAIT e-${name}` }), text)),
      el("li", {}, el("i", { class: "swatch wide s-ESTABLISHED e-observed open-left" }), "ragged: began earlier, or went on"),
      el("li", {}, el("i", { class: "swatch tick k-fine" }), "too short to draw at this zoom; colour of the verdict"),
      view.model.losses.length > 0 ? el("li", {}, el("i", { class: "swatch loss-swatch" }), "events were lost, at the latest at the line") : null));
}

function drawFooter(view) {
  byId("footer").replaceChildren(
    el("p", {}, `Made by tracer ${view.model.session.tracer_version}. Everything is in this file; it loads nothing and sends nothing.`));
}

const KEYS = [
  ["/", "search"], ["Up, Down, Page, Home, End", "choose a connection in the list"], ["Left, Right", "walk along its states, with what each means"],
  ["Enter", "open its details"], ["Esc", "close the details, clear the search"], ["+ and -", "zoom"], ["Shift Left, Shift Right", "earlier, later"],
  ["0", "show all of the time"], ["z", "zoom to the connection chosen"], ["?", "this list"],
];

function drawKeys() {
  const box = byId("keys");
  box.replaceChildren(el("h2", { id: "keys-title" }, "Keys"),
    el("dl", {}, KEYS.map(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    button({}, "Close", () => box.close()));
  byId("keys-open").addEventListener("click", () => box.showModal());
}

function keysOfThePage(view) {
  const acts = {
    "/": () => byId("search").focus(), "?": () => byId("keys").showModal(),
    Escape: () => view.set({ search: "" }),
    "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), 0: () => view.showAll(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  });
}

/** On paper nothing can be opened or scrolled: all is open, and the first of the list stand in a table. */
function printing(view) {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
    printList(view);
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    byId("printed").replaceChildren();
  });
}

function printList(view) {
  const printed = view.list.slice(0, PRINTED_MAX);
  byId("printed").replaceChildren(
    el("p", {}, printed.length < view.list.length ? `The first ${count(printed.length)} of ${count(view.list.length)}:` : ""),
    el("table", {},
      el("thead", {}, el("tr", {}, ["Began", "Verdict", "Process", "Local", "Remote", "Lasted", "States"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, printed.map((conn) => el("tr", {},
        [view.clock.time(conn.begin, 3), spoken(conn.verdict), conn.process, conn.local, conn.remote, lastedText(conn),
          conn.spans.filter((span) => !span.over).map((span) => `${span.state} ${spanLasted(span)}${span.evidence === "observed" ? "" : ` (${span.evidence})`}`).join(", ")]
          .map((text) => el("td", {}, text)))))));
}

main();
