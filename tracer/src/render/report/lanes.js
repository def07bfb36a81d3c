// The list: a row for each connection with its states on the time axis. Only the rows in sight exist.

const OVERSCAN = 6;
/** Narrower than this, a connection is a tick of its verdict instead of its states. */
const TICK_PX = 5;
const NAME_ROOM_PX = 74;
/** What was before the first transition seen: nobody knows how long. */
const BEFORE_PX = 26;

const COLUMNS = [
  ["verdict", "Verdict", "verdict"], ["process", "Process", "process"],
  ["", "Local", "local"], ["remote", "Remote", "remote"], ["lasted", "Lasted", "lasted"], // TIME_WAIT is not counted
];

class Lanes {
  constructor(view, tips) {
    this.view = view;
    this.tips = tips;
    this.pane = byId("list");
    this.rows = byId("rows");
    this.pool = new Map();
    this.spare = [];
    this.stateShown = -1;
    this.heads();
    const draw = oncePerFrame(() => this.draw());
    this.pane.addEventListener("scroll", draw, { passive: true });
    for (const what of ["window", "chosen"]) view.on(what, draw);
    view.on("list", () => {
      this.relist();
      draw();
    });
    new ResizeObserver(() => this.measure()).observe(this.pane);
    this.pane.addEventListener("click", (event) => this.clicked(event));
    this.pane.addEventListener("dblclick", (event) => {
      const conn = this.connAt(event.target);
      if (conn) view.showConnection(conn);
    });
    this.pane.addEventListener("keydown", (event) => this.key(event));
    this.moveByDragging();
    this.relist();
  }

  heads() {
    const { view } = this;
    byId("columns").replaceChildren(...COLUMNS.map(([sort, label, name]) => sort
      ? button({ class: `c-${name}`, "data-sort": sort }, label, () =>
        view.set(view.sort === sort ? { reversed: !view.reversed } : { sort, reversed: false }))
      : el("span", { class: `c-${name}` }, label)));
  }

  relist() {
    const { view } = this;
    for (const head of byId("columns").children) {
      const sorts = head.dataset.sort === view.sort;
      head.dataset.order = sorts ? (view.reversed ? "reversed" : "sorted") : "";
    }
    this.pane.setAttribute("aria-rowcount", view.list.length);
    this.places = new Map(view.list.map((conn, index) => [conn, index]));
    for (const row of this.pool.values()) this.retire(row);
    this.pool.clear();
    byId("empty").hidden = view.list.length > 0;
    byId("empty").textContent = view.model.connections.length === 0
      ? "There was no connection while the trace ran." : "Nothing matches. Escape in the search box clears it.";
    this.measure();
  }

  measure() {
    this.height = parseFloat(getComputedStyle(this.pane).getPropertyValue("--row"));
    this.rows.style.height = `${this.height * this.view.list.length}px`;
    for (const row of this.pool.values()) this.place(row);
    this.draw();
  }

  draw() {
    const { list } = this.view;
    const first = Math.max(0, Math.floor(this.pane.scrollTop / this.height) - OVERSCAN);
    const last = Math.min(list.length, Math.ceil((this.pane.scrollTop + this.pane.clientHeight) / this.height) + OVERSCAN);
    for (const [index, row] of this.pool) {
      if (index < first || index >= last) {
        this.retire(row);
        this.pool.delete(index);
      }
    }
    let laneWidth;
    for (let index = first; index < last; index += 1) {
      let row = this.pool.get(index);
      if (!row) {
        row = this.row(index);
        this.pool.set(index, row);
      }
      laneWidth ??= row.lane.clientWidth;
      this.fill(row, laneWidth);
    }
    const chosen = this.places.get(this.view.chosen);
    if (chosen !== undefined && this.pool.has(chosen)) this.pane.setAttribute("aria-activedescendant", `row-${chosen}`);
    else this.pane.removeAttribute("aria-activedescendant");
  }

  /** A row for a place in the list: one that is not in sight any more, if there is one. */
  row(index) {
    const row = this.spare.pop() ?? this.newRow();
    const conn = this.view.list[index];
    row.conn = conn;
    row.index = index;
    row.element.id = `row-${index}`;
    row.element.setAttribute("aria-rowindex", index + 1);
    this.place(row);
    const kind = kindOf(conn);
    row.mark.className = `mark k-${kind}`;
    row.mark.textContent = MARKS[kind];
    row.verdict.textContent = spoken(conn.verdict);
    for (const name of ["process", "local", "remote"]) row[name].title = row[name].textContent = conn[name];
    row.lasted.textContent = lastedText(conn);
    row.element.setAttribute("aria-label", rowLabel(conn));
    row.element.hidden = false;
    return row;
  }

  place(row) {
    row.element.style.transform = `translateY(${row.index * this.height}px)`;
  }

  newRow() {
    const cell = (name) => el("div", { class: `c-${name}`, role: "gridcell" });
    const row = { mark: el("span", { class: "mark", "aria-hidden": "true" }), verdict: el("span", {}) };
    for (const name of ["process", "local", "remote", "lasted"]) row[name] = cell(name);
    row.lane = el("div", { class: "lane", role: "gridcell" });
    const verdict = el("div", { class: "c-verdict", role: "gridcell" }, row.mark, row.verdict);
    row.element = el("div", { class: "row", role: "row" }, verdict, row.process, row.local, row.remote, row.lasted, row.lane);
    row.element.row = row;
    this.rows.append(row.element);
    return row;
  }

  retire(row) {
    row.element.hidden = true;
    row.element.removeAttribute("id");
    this.spare.push(row);
  }

  /** Draws a row's lane, and whether it is chosen. */
  fill(row, width) {
    const { conn, lane } = row;
    const { from, to } = this.view.window;
    const chosen = conn === this.view.chosen;
    row.element.setAttribute("aria-selected", String(chosen));
    const scale = width / (to - from);
    const parts = [];
    if (conn.end < from || conn.begin > to) {
      parts.push(["away", conn.end < from ? "\u25c2" : "\u25b8", conn.end < from ? 0 : width - 12, 12, null]);
    } else if (conn.lasted * scale < TICK_PX) {
      parts.push([`tick k-${kindOf(conn)}`, "", clamp((conn.begin - from) * scale - 1, 0, width - 4), Math.max(4, conn.lasted * scale), conn.spans[0] ?? null]);
    }
    const ticked = parts.length > 0;
    for (const [index, span] of conn.spans.entries()) {
      if (span.over || (ticked && span.evidence !== "inferred")) continue;
      const room = span.before ? BEFORE_PX : 0;
      const left = Math.max(-2, (span.from - from) * scale - room), right = Math.min(width + 2, (span.to - from) * scale);
      if (right < 0 || left > width || (ticked && right - left < 3)) continue;
      const open = (span.since === null ? " open-left" : "") + (span.atLeast ? " open-right" : "");
      const active = chosen && index === this.stateShown ? " active" : "";
      parts.push([`span s-${span.state} e-${span.evidence}${open}${active}`,
        right - left > NAME_ROOM_PX ? span.state : "", left, Math.max(2, right - left), span]);
    }
    while (lane.children.length > parts.length) lane.lastChild.remove();
    parts.forEach(([name, text, left, wide, span], index) => {
      const part = lane.children[index] ?? lane.appendChild(document.createElement("i"));
      part.className = name;
      part.textContent = text;
      part.style.left = `${left}px`;
      part.style.width = `${wide}px`;
      if (span) this.tips.attach(part, conn, span);
      else delete part.dataset.state;
    });
  }

  connAt(target) {
    return target.closest(".row")?.row.conn ?? null;
  }

  clicked(event) {
    const conn = this.connAt(event.target);
    if (!conn || this.dragged) return;
    this.stateShown = -1;
    this.view.choose(conn);
    this.onOpen(false);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.pane.clientHeight / this.height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === "Enter" && this.view.chosen) this.onOpen(true);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const forth = event.key === "ArrowRight" ? 1 : -1;
      if (event.shiftKey) this.view.pan(forth / 4);
      else this.stepState(forth);
    } else if (event.key === "z" && this.view.chosen) this.view.showConnection(this.view.chosen);
    else return;
    event.preventDefault();
  }

  step(by) {
    const { list, chosen } = this.view;
    if (list.length === 0) return;
    const here = this.places.get(chosen);
    const next = here === undefined ? (by < 0 ? list.length - 1 : 0) : clamp(here + by, 0, list.length - 1);
    this.stateShown = -1;
    this.view.choose(list[next]);
    this.reveal();
  }

  /** Walks along the states of the connection chosen, saying what each is. */
  stepState(by) {
    const { chosen } = this.view;
    if (!chosen || chosen.spans.length === 0) return;
    this.stateShown = clamp(this.stateShown + by, 0, chosen.spans.length - 1);
    this.reveal();
    this.draw();
    const span = chosen.spans[this.stateShown];
    const row = this.pool.get(this.places.get(chosen));
    const part = row && [...row.lane.children].find((one) => this.tips.spans.get(one)?.span === span && one.dataset.state);
    byId("said").textContent = `${span.state}, ${spanSentence(span)}, ${span.evidence}`;
    this.tips.hide();
    if (row) {
      const owner = part ?? row.lane;
      this.tips.attach(owner, chosen, span);
      this.tips.show(owner);
      if (!part) delete row.lane.dataset.state;
    }
  }

  /** Scrolls as little as it takes to have the connection chosen in sight. */
  reveal() {
    const index = this.places.get(this.view.chosen);
    if (index === undefined) return;
    const top = index * this.height, bottom = top + this.height;
    if (top < this.pane.scrollTop) this.pane.scrollTop = top;
    else if (bottom > this.pane.scrollTop + this.pane.clientHeight) this.pane.scrollTop = bottom - this.pane.clientHeight;
    this.draw();
  }

  moveByDragging() {
    const { view, pane } = this;
    let last = null;
    pane.addEventListener("wheel", (event) => {
      const lane = event.target.closest(".lane");
      if (event.ctrlKey && lane) {
        event.preventDefault();
        zoomByWheel(view, event, lane.getBoundingClientRect());
      } else if (lane && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) {
        event.preventDefault();
        view.pan((event.deltaX || event.deltaY) / lane.clientWidth);
      }
    }, { passive: false });
    pane.addEventListener("pointerdown", (event) => {
      this.dragged = false;
      if (event.button === 0 && event.pointerType === "mouse" && event.target.closest(".lane")) last = event.clientX;
    });
    addEventListener("pointermove", (event) => {
      if (last === null || Math.abs(event.clientX - last) < (this.dragged ? 1 : 4)) return;
      this.dragged = true;
      view.pan((last - event.clientX) / (this.rows.querySelector(".lane")?.clientWidth ?? 1));
      last = event.clientX;
    });
    addEventListener("pointerup", () => { last = null; });
  }
}

function rowLabel(conn) {
  return `${conn.is_stuck ? "stuck, " : ""}${spoken(conn.verdict)}, ${conn.process}, ${conn.local} to ${conn.remote}, lasted ${lastedText(conn)}`
    + `, ${conn.spans.map((span) => span.state).join(", ")}`;
}

