// One connection: what is known of it, its states one by one, and what to check.

class Details {
  constructor(view) {
    this.view = view;
    this.box = byId("details");
    this.cameFrom = null;
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        // It is not the search that is left.
        event.stopPropagation();
        this.close();
      }
    });
    view.on("chosen", () => this.refresh());
    view.on("clock", () => this.refresh());
  }

  /** `focus`: whether the keyboard goes there. */
  open(focus) {
    if (!this.view.chosen) return;
    if (this.box.hidden) this.cameFrom = document.activeElement;
    this.box.hidden = false;
    this.draw();
    if (focus) this.box.focus();
  }

  close() {
    this.box.hidden = true;
    byId("list").focus({ preventScroll: true });
  }

  refresh() {
    if (!this.box.hidden) this.draw();
  }

  draw() {
    const { view } = this;
    const conn = view.chosen;
    if (!conn) {
      this.box.hidden = true;
      return;
    }
    const kind = kindOf(conn);
    const told = view.model.verdicts.get(conn.verdict);
    this.box.replaceChildren(...[
      el("div", { class: "details-head" },
        el("h3", { id: "details-title" }, el("span", { class: `mark k-${kind}`, "aria-hidden": "true" }, MARKS[kind]), spoken(conn.verdict)),
        button({ class: "quiet", "aria-label": "Close the details" }, "\u2715", () => this.close())),
      el("p", { class: "because" }, sentenceOf(conn, told)),
      conn.has_gap ? el("p", { class: "hint" }, "Transitions are missing, or may be: something was lost.") : null,
      conn.waits_in ? el("p", { class: "because" }, `It was in ${conn.waits_in.state} when the trace ended: it waited for ${WAITING_FOR[conn.waits_in.state]}.`) : null,
      ...conn.hints.map(hintBox),
      el("dl", {}, this.facts(conn)),
      button({ class: "quiet" }, "Show it on the time axis", () => view.showConnection(conn)),
      el("h4", {}, "States"),
      el("ol", { class: "stays" }, conn.spans.map((span) => this.stay(span))),
      ...this.checks(conn),
    ].filter(Boolean));
    this.box.scrollTop = 0;
  }

  facts(conn) {
    const row = (name, value) => (value === null || value === undefined || value === "" ? [] : [el("dt", {}, name), el("dd", {}, value)]);
    const { clock } = this.view;
    return [
      row("Process", conn.process + ownerText(conn)),
      row("Container", conn.container && [el("code", {}, conn.container), conn.runtime ? `, ${conn.runtime}` : ""]),
      row("Pod", conn.pod && el("code", {}, conn.pod)),
      row("Unit", conn.container ? null : conn.unit),
      row("Local", el("code", {}, conn.local)),
      row("Remote", el("code", {}, conn.remote)),
      row("Role", [conn.role, conn.protocol === "tcp" ? "" : `, ${conn.protocol}`]),
      row(conn.begin_known ? "Began" : "First seen", `${clock.day(conn.begin)} ${clock.time(conn.begin)} ${clock.zone(conn.begin)}`),
      row("Lasted", `${lastedText(conn)}${conn.lasted_is_minimum ? " (only a part was seen)" : ""}${conn.spans.some((span) => span.state === "TIME_WAIT") ? ", TIME_WAIT not counted" : ""}`),
      row("First to close or reset", { local: "this side", remote: "the peer", both: "both at once" }[conn.closed_by]),
      row("Reset because", conn.reset_reason && [el("code", {}, conn.reset_reason), meaningOf(this.view.model, conn.reset_reason)]),
      row("Sent again", resent(conn)),
      row("Payload", conn.bytes_sent === null && conn.bytes_received === null ? null
        : `${conn.bytes_sent === null ? "not known" : bytes(conn.bytes_sent)} sent, ${conn.bytes_received === null ? "not known" : bytes(conn.bytes_received)} received`),
      row("Round trip", conn.rtt_us === null ? null : `${duration(conn.rtt_us * 1000)}, smoothed`),
      row("Segments", conn.segments_sent === null ? null
        : `${conn.segments_sent} sent, ${conn.data_segments_sent} of them with data; ${conn.segments_received} received, ${conn.data_segments_received} of them with data`),
      row("Congestion control", conn.congestion_state === null || conn.congestion_state === "open" ? null : `${conn.congestion_state} at the end`),
      row("Socket's user", conn.socket_uid === conn.uid ? null : conn.socket_uid),
      row("Socket's cgroup", conn.socket_cgroup === conn.cgroup ? null : conn.socket_cgroup && el("code", {}, conn.socket_cgroup)),
      row("Namespace", conn.netns),
      row("Number", [`${conn.conn}, socket `, el("code", {}, conn.sk)]),
    ];
  }

  stay(span) {
    const begun = span.since === null ? "beginning not known" : this.view.clock.time(span.since);
    return el("li", {}, el("button", { type: "button", class: "stay", "data-state": span.state },
      el("i", { class: `swatch s-${span.state} e-${span.evidence}`, "aria-hidden": "true" }),
      el("b", {}, span.state),
      el("span", {}, span.over ? "" : spanLasted(span)),
      el("span", { class: "faint" }, begun),
      el("span", { class: "faint" }, span.evidence)));
  }

  /** What to look at: by the state it failed or waits in. */
  checks(conn) {
    if (conn.kind !== "failed" && !conn.is_stuck && !conn.waits_in) return [];
    const last = conn.waits_in ?? conn.spans.findLast((span) => !span.over && span.state !== "CLOSED");
    const state = last && this.view.model.states.get(last.state);
    if (!state?.checks) return [];
    return [
      el("h4", {}, `What to check when a connection is in ${last.state}`),
      el("ul", { class: "checks" }, state.checks.map((check) => el("li", {},
        check.command ? el("code", { class: "command" }, check.command) : null, check.text))),
    ];
  }
}

/** What is likely behind it, and where to look. */
function hintBox(hint) {
  return el("div", { class: "hint" }, el("p", {}, `${hint.text}.`), el("p", {}, el("b", {}, "Check "), hint.advice, "."),
    hint.check === null ? null : el("code", { class: "command" }, hint.check));
}

function sentenceOf(conn, told) {
  if (conn.because) return `${conn.because}.`;
  return told ? `${told.meaning}.` : "";
}

function meaningOf(model, reason) {
  return Object.hasOwn(model.reset_reasons, reason) ? `: ${model.reset_reasons[reason]}` : "";
}

function ownerText(conn) {
  return { listener: ", the listener's: nobody had accepted it", close: ", known since it closed" }[conn.owner_source] ?? "";
}

function resent(conn) {
  const parts = [["SYN", conn.syn_retransmits], ["SYN-ACK", conn.synack_retransmits], ["data or FIN", conn.retransmits]]
    .filter(([, number]) => number > 0).map(([what, number]) => `${what} ${count(number)} times`);
  if (parts.length > 0) return parts.join(", ");
  return conn.syn_retransmits === null && conn.synack_retransmits === null && conn.retransmits === null ? null : "nothing that was counted";
}

