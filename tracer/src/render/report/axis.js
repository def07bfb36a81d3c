// The time axis: when connections began, which stretch is shown, where something was lost.

const BINS = 240;

class Axis {
  constructor(view) {
    this.view = view;
    this.box = byId("axis");
    this.drawing = svg("svg", { class: "overview", preserveAspectRatio: "none", viewBox: `0 0 ${BINS} 40` });
    this.window = el("div", { class: "overview-window" });
    this.strip = el("div", { class: "overview-strip", title: "When connections began; drag to choose a stretch of time" }, this.drawing, this.window);
    this.ticks = el("div", { class: "ticks" });
    this.box.replaceChildren(this.strip, this.ticks);
    this.bars();
    this.chooseByDragging();
    this.box.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomByWheel(view, event, this.strip.getBoundingClientRect());
    }, { passive: false });
    const draw = oncePerFrame(() => this.draw());
    for (const what of ["window", "clock"]) view.on(what, draw);
    view.on("list", oncePerFrame(() => this.bars()));
    new ResizeObserver(draw).observe(this.box);
  }

  /** Beginnings of the connections listed: the failed as a part of the bar, at its foot. */
  bars() {
    const { bounds, list, model } = this.view;
    const width = (bounds.to - bounds.from) / BINS;
    const all = new Array(BINS).fill(0), failed = new Array(BINS).fill(0);
    for (const conn of list) {
      const bin = clamp(Math.floor((conn.begin - bounds.from) / width), 0, BINS - 1);
      all[bin] += 1;
      if (conn.kind === "failed") failed[bin] += 1;
    }
    const most = Math.max(1, ...all);
    const bars = (numbers, name) => svg("path", { class: name,
      d: numbers.map((number, bin) => (number > 0 ? `M${bin} 40v${-Math.max(1.5, (36 * number) / most)}h0.8V40z` : "")).join("") });
    const losses = model.losses.map((loss) => {
      const [from, to] = [loss.from_ns, loss.until_ns].map((ns) => ((ns - bounds.from) / width));
      return [svg("rect", { class: "loss", x: from, y: 0, width: Math.max(to - from, 0), height: 40 }),
        svg("rect", { class: "loss-told", x: to - 0.4, y: 0, width: 0.8, height: 40 })];
    });
    this.drawing.replaceChildren(...losses.flat(), bars(all, "bars"), bars(failed, "bars-failed"));
  }

  draw() {
    const { bounds, window, clock } = this.view;
    const whole = bounds.to - bounds.from;
    this.window.style.left = `${(100 * (window.from - bounds.from)) / whole}%`;
    this.window.style.width = `${(100 * (window.to - window.from)) / whole}%`;
    this.window.classList.toggle("is-all", window.to - window.from >= whole * 0.9999);
    const width = this.ticks.clientWidth;
    const { step, decimals } = tickStep(window.to - window.from, width);
    const ticks = [];
    for (let at = firstTick(clock, window.from, step); at <= window.to; at += step) {
      const left = ((at - window.from) / (window.to - window.from)) * width;
      if (left < 0) continue;
      const label = clock.time(at, decimals), needed = 8 + 6.5 * label.length;
      // At the right end there is room on the left only, if there is.
      const turned = left > width - needed, fits = !turned || (step / (window.to - window.from)) * width > 2 * needed;
      const tick = el("span", { class: turned ? "at-the-end" : "" }, fits ? label : "");
      tick.style.left = `${left}px`;
      ticks.push(tick);
    }
    this.ticks.replaceChildren(...ticks);
  }

  chooseByDragging() {
    const { view, strip } = this;
    const moment = (event) => {
      const at = strip.getBoundingClientRect();
      return view.bounds.from + clamp((event.clientX - at.left) / at.width, 0, 1) * (view.bounds.to - view.bounds.from);
    };
    let begun = null;
    strip.addEventListener("pointerdown", (event) => {
      begun = moment(event);
      strip.setPointerCapture(event.pointerId);
    });
    strip.addEventListener("pointermove", (event) => {
      if (begun === null) return;
      const here = moment(event);
      if (Math.abs(here - begun) > (view.bounds.to - view.bounds.from) / 500) view.show(Math.min(begun, here), Math.max(begun, here));
    });
    strip.addEventListener("pointerup", () => { begun = null; });
    strip.addEventListener("dblclick", () => view.showAll());
  }
}

/** Round steps at which labels have room, and the decimals of a second they need. */
function tickStep(spanNs, width) {
  const least = (spanNs / Math.max(width, 1)) * 110;
  for (let power = 1e3; power < 1e9; power *= 10) {
    for (const lead of [1, 2, 5]) {
      if (lead * power >= least) return { step: lead * power, decimals: Math.max(0, 9 - Math.floor(Math.log10(power))) };
    }
  }
  const seconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];
  const step = seconds.find((one) => one * 1e9 >= least) ?? Math.ceil(least / 86400e9) * 86400;
  return { step: step * 1e9, decimals: 0 };
}

/** The first moment of the window that is round on the clock. */
function firstTick(clock, from, step) {
  const { seconds, ns } = clock.at(from);
  const beyond = step >= 1e9 ? (seconds % (step / 1e9)) * 1e9 + ns : ns % step;
  return from + (beyond === 0 ? 0 : step - beyond);
}

function zoomByWheel(view, event, at) {
  const share = clamp((event.clientX - at.left) / at.width, 0, 1);
  const { from, to } = view.window;
  view.zoom(event.deltaY > 0 ? 1.25 : 0.8, from + share * (to - from));
}

