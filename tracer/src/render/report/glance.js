// The head of the page: which trace this is, what was lost, how connections fared.

/** A shape beside every verdict: colour alone says nothing. */
const MARKS = { failed: "\u2715", stuck: "\u25d4", doubtful: "?", fine: "\u2713", open: "\u25cb", listener: "\u25c7" };

/** From bad to good. */
const KINDS = ["failed", "doubtful", "fine", "open"];

function markOf(verdict, kind) {
  return verdict === "open" ? MARKS.open : MARKS[kind];
}

const spoken = (verdict) => verdict.replaceAll("_", " ");

function drawFacts(view) {
  const { session, end_ns: end, clocks } = view.model;
  const { clock } = view;
  byId("host").textContent = session.host;
  const sameDay = clock.day(0) === clock.day(end);
  byId("facts").replaceChildren(
    `${clock.day(0)} ${clock.time(0, 3)} to ${sameDay ? "" : `${clock.day(end)} `}${clock.time(end, 3)} ${clock.zone(0)}`,
    el("span", {}, duration(end)),
    el("span", {}, `Linux ${session.kernel} ${session.arch}`),
    el("span", {}, session.filters.length === 0 ? "no filter: every connection" : `only ${filtersText(session.filters)}`),
    clocks.length > 1 ? el("span", {}, plural(clocks.length - 1, "clock change", "clock changes")) : "");
}

const filtersText = (filters) => filters.map(([name, value]) => (value === "true" ? name : `${name} ${value}`)).join(", ");

function drawLosses(view) {
  const { session, totals, losses } = view.model;
  const notes = [];
  if (totals.missing.length > 0) {
    notes.push(notice("bad", "Parts of the session are not in here.", "Connections may lack their beginning or end, or be missing.",
      el("ul", {}, totals.missing.map((part) => el("li", {}, `${momentOf(view, part.place)}${part.words}`)))));
  }
  if (totals.doubled !== null) {
    notes.push(notice("warn", "The files do not stand as they were recorded.", `${totals.doubled}.`));
  }
  if (totals.lost > 0) {
    notes.push(notice("bad", `${plural(totals.lost, "transition was", "transitions were")} lost.`,
      "Connections of that time may lack states, or be missing.", lossList(totals.lost_reasons)));
  } else if (totals.lost_evidence > 0) {
    notes.push(notice("warn", "No transition was lost, but evidence was.",
      "Verdicts and owners of that time may be unknown.", lossList(totals.lost_reasons)));
  } else if (totals.uncounted === null && totals.missing.length === 0) {
    notes.push(notice("good", "Nothing was lost.", session.filters.length === 0 ? "Every transition that the kernel reported is in here." : "Every transition that the filters let through is in here."));
  }
  if (totals.uncounted !== null) {
    notes.push(notice("warn", "Transitions may be lost uncounted.", `${totals.uncounted}.`));
  }
  if (totals.aged_out > 0) {
    notes.push(notice("warn", `${plural(totals.aged_out, "connection was", "connections were")} forgotten before the end.`,
      "Raise --max-connections."));
  }
  if (losses.length > 0) {
    const last = losses.slice(0, 20).map((loss) => el("li", {},
      `${view.clock.time(loss.from_ns, 3)} to ${view.clock.time(loss.until_ns, 3)}: `,
      plural(loss.transitions, "transition", "transitions"),
      loss.evidence > 0 ? `, ${count(loss.evidence)} of evidence` : ""));
    const more = losses.length - last.length;
    notes.push(el("details", { class: "more" }, el("summary", {}, "When that was"),
      el("ul", {}, last, more > 0 ? el("li", {}, `and ${plural(more, "more stretch", "more stretches")} of time, marked on the time axis`) : null)));
  }
  byId("losses").replaceChildren(...notes);
}

function momentOf(view, place) {
  switch (place) {
    case "before": return `before ${view.clock.time(0, 3)}: `;
    case "after": return `after ${view.clock.time(view.model.end_ns, 3)}: `;
    default: return "";
  }
}

function notice(kind, head, ...rest) {
  const mark = { bad: MARKS.failed, warn: "!", good: MARKS.fine }[kind];
  return el("div", { class: `notice ${kind}` }, el("span", { class: "mark", "aria-hidden": "true" }, mark),
    el("div", {}, el("b", {}, head), " ", rest));
}

function lossList(reasons) {
  return el("ul", {}, reasons.map((reason) => el("li", {}, `${count(reason.count)}: ${reason.what}; ${reason.hint}`)));
}

/** One bar of all connections, and what its parts are. */
function drawVerdicts(view) {
  const { verdicts, totals } = view.model;
  const told = [...verdicts.values()].filter((one) => one.count > 0);
  const connections = told.filter((one) => one.kind !== "listener")
    .sort((a, b) => KINDS.indexOf(barKind(a)) - KINDS.indexOf(barKind(b)));
  const all = connections.reduce((sum, one) => sum + one.count, 0);
  const bar = el("div", { class: "verdict-bar", role: "img",
    "aria-label": connections.map((one) => `${count(one.count)} ${spoken(one.verdict)}`).join(", ") });
  for (const one of connections) {
    const part = el("span", { class: `k-${barKind(one)}` });
    part.style.flexGrow = one.count;
    bar.append(part);
  }
  const failed = sumOf(connections, "failed"), doubtful = sumOf(connections, "doubtful");
  const { connections: listed } = view.model;
  const stuck = listed.filter((conn) => conn.is_stuck).length;
  // The stuck come after the failed: there may be more than are listed, if these are all.
  const maybeMore = listed.length < all && listed.every((conn) => urgency(conn) < 2);
  const listeners = sumOf(told, "listener");
  byId("verdicts").replaceChildren(
    el("div", { class: "figures" },
      figure(count(all), all === 1 ? "connection" : "connections", ""),
      figure(count(failed), "failed", failed > 0 ? "k-failed" : ""),
      stuck > 0 || maybeMore ? figure((maybeMore ? "at least " : "") + count(stuck), "stuck for a time", "k-stuck") : null,
      doubtful > 0 ? figure(count(doubtful), "not known", "k-doubtful") : null,
      listeners > 0 ? figure(count(listeners), listeners === 1 ? "listener" : "listeners", "") : null,
      figure(count(totals.shown), "transitions", "")),
    all > 0 ? bar : null);
}

const barKind = (one) => (one.verdict === "open" ? "open" : one.kind);
const sumOf = (list, kind) => list.filter((one) => one.kind === kind).reduce((sum, one) => sum + one.count, 0);

function figure(number, label, kind) {
  return el("div", { class: `figure ${kind}` }, el("b", {}, number), el("span", {}, label));
}

/** Each reason once, with all that it holds for. */
function byReason(items) {
  const reasons = new Map();
  for (const item of items) reasons.set(item.reason, [...(reasons.get(item.reason) ?? []), item]);
  return [...reasons];
}

/** What tracer had to go by. */
function drawSession(view) {
  const { session, clocks, clocks_untold: untold } = view.model;
  const missing = session.hooks.filter((hook) => hook.status === "unavailable");
  const lacking = missing.length + session.missing_fields.length;
  const row = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
  const steps = clocks.slice(1).map((clock) =>
    el("li", {}, `at ${view.clock.time(clock.at_ns, 3)} by ${clock.step_ns < 0 ? "-" : "+"}${duration(Math.abs(clock.step_ns))}`));
  byId("session").replaceChildren(el("details", { class: "more" },
    el("summary", {}, lacking > 0 ? `What this trace could not see (${count(lacking)}), and what it was made with` : "What this trace was made with"),
    lacking > 0 ? el("ul", { class: "lacking" },
      byReason([
        ...missing.map((hook) => ({ name: hook.name, purpose: ` for ${hook.purpose}`, reason: hook.reason })),
        ...session.missing_fields.map((field) => ({ name: field.name, purpose: "", reason: field.reason })),
      ]).map(([reason, items]) => el("li", {},
        items.map((item, place) => [place > 0 ? ", " : "", el("code", {}, item.name), item.purpose]), `: ${reason}`))) : null,
    el("dl", {},
      row("tracer", session.tracer_version),
      row("Boot", session.boot_id ?? "not known"),
      row("Filters", session.filters.length === 0 ? "none" : filtersText(session.filters)),
      row("Hooks in use", el("ul", {}, session.hooks.filter((hook) => hook.status === "attached")
        .map((hook) => el("li", {}, el("code", {}, hook.name), ` ${hook.purpose}`)))),
      steps.length > 0 ? row("Wall clock was set", el("ul", {}, steps,
        untold > 0 ? el("li", {}, `and ${count(untold)} times more`) : null)) : null)));
}

