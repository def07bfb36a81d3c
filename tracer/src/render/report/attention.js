// What needs somebody: the failed and the stuck, those of one cause together.

const CAUSES_SHOWN = 6;
const CAUSES_MORE = 50;

function drawAttention(view) {
  const causes = causesOf(view.model.connections);
  const box = byId("attention");
  const ofMany = [...notKnown(view), ...hintsOfMany(view)];
  if (causes.length === 0) {
    box.replaceChildren(el("p", { class: "calm" }, "No connection failed, and none was seen to be stuck."), ...ofMany);
    return;
  }
  const list = el("ol", { class: "causes" });
  const more = button({ class: "quiet" }, "", () => show(CAUSES_MORE));
  const show = (number) => {
    list.append(...causes.splice(0, number).map((cause) => causeItem(view, cause)));
    more.textContent = `Show ${plural(Math.min(causes.length, CAUSES_MORE), "more", "more")} of ${plural(causes.length, "cause", "causes")}`;
    more.hidden = causes.length === 0;
  };
  show(CAUSES_SHOWN);
  const unlisted = failedButNotListed(view.model);
  box.replaceChildren(...[el("h3", {}, "Failed and stuck"), list, more,
    unlisted > 0 ? el("p", { class: "faint" }, `${count(unlisted)} more failed than are listed here one by one.`) : null, ...ofMany].filter(Boolean));
}

/** Those that may be leaks: how long the application has not closed them was not seen. */
function notKnown(view) {
  const unclear = view.model.connections.filter((conn) => conn.may_be_forgotten).length;
  return unclear === 0 ? [] : [el("p", { class: "faint" },
    `Of ${plural(unclear, "connection", "connections")} in CLOSE_WAIT it is not known for how long: that began before the trace did, or unseen.`)];
}

/** What no single connection tells: one for each kind, the first of it. */
function hintsOfMany(view) {
  const { hints } = view.model;
  const first = hints.filter((hint, place) => hints.findIndex((one) => one.name === hint.name) === place);
  if (first.length === 0) return [];
  return [el("h3", {}, "What many connections tell together"), ...first.map((hint) => {
    const more = hints.filter((one) => one.name === hint.name).length - 1;
    const box = hintBox(hint);
    box.append(el("p", { class: "faint" }, `Told at ${view.clock.time(hint.at_ns, 3)}`, more > 0 ? ` and ${plural(more, "more time", "more times")}` : ""));
    return box;
  })];
}

function failedButNotListed({ verdicts, connections }) {
  return sumOf([...verdicts.values()], "failed") - connections.filter((conn) => conn.kind === "failed").length;
}

/** Failed and stuck connections by what happened and with whom; the most urgent first. */
function causesOf(connections) {
  const causes = new Map();
  for (const conn of connections) {
    if (urgency(conn) > 1) continue;
    const peer = conn.role === "server" ? `on ${conn.local}` : `to ${conn.remote}`;
    const [hint] = conn.hints;
    const key = JSON.stringify([conn.verdict, hint?.name, peer, conn.reset_reason]);
    const cause = causes.get(key) ?? { peer, worst: conn, connections: [], names: new Map(), sentences: new Set() };
    cause.connections.push(conn);
    cause.sentences.add(hint?.text ?? heldText(conn) ?? conn.because);
    const name = conn.comm ?? "not known";
    cause.names.set(name, (cause.names.get(name) ?? 0) + 1);
    if (conn.lasted > cause.worst.lasted) cause.worst = conn;
    causes.set(key, cause);
  }
  return [...causes.values()].sort((a, b) =>
    urgency(a.worst) - urgency(b.worst) || b.connections.length - a.connections.length);
}

/** Of one that looks like a leak; the rule and the words are those of the summary. */
function heldText(conn) {
  return conn.is_forgotten
    ? `CLOSE_WAIT for ${conn.spans.at(-1).since === null ? "at least " : ""}${duration(conn.spans.at(-1).lasted)} so far: the peer has closed, the process has not; if it does not soon, it leaks sockets`
    : null;
}

/** The processes concerned, those most often first. */
function namesText(names) {
  const most = [...names].sort(([, a], [, b]) => b - a).map(([name]) => name || '""');
  const more = most.length - 3;
  return `by ${most.slice(0, 3).join(", ")}${more > 0 ? ` and ${plural(more, "other", "others")}` : ""}`;
}

function causeItem(view, cause) {
  const { worst, connections, peer } = cause;
  const kind = kindOf(worst);
  const [hint] = worst.hints;
  const sentence = hint?.text ?? heldText(worst) ?? worst.because ?? view.model.verdicts.get(worst.verdict)?.meaning;
  return el("li", {}, button({ class: "cause" }, [
    el("span", { class: `mark k-${kind}`, "aria-hidden": "true" }, MARKS[kind]),
    el("b", { class: "cause-what" }, worst.is_stuck ? `stuck, ${spoken(worst.verdict)}` : spoken(worst.verdict)),
    el("span", { class: "cause-count" }, connections.length > 1 ? `${count(connections.length)} times` : "once"),
    el("span", { class: "cause-who" }, el("code", {}, peer), " ", el("span", { class: "faint" }, namesText(cause.names))),
    el("span", { class: "cause-why" }, cause.sentences.size > 1 ? "the longest: " : "", sentence, worst.reset_reason ? ` (${worst.reset_reason})` : ""),
  ], () => {
    view.set({ verdicts: new Set([worst.verdict]), search: [peer.slice(3), hint ? `hint:${hint.name}` : ""].join(" ").trim() });
    view.choose(worst);
    byId("connections").scrollIntoView();
    byId("list").focus({ preventScroll: true });
  }));
}

