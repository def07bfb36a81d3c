// What a state means, shown for whatever carries `data-state`: under the pointer, or with the focus.

/** How each evidence is spoken of. */
const EVIDENCE = {
  observed: "observed: the kernel reported it when it happened",
  polled: "polled: seen by asking the kernel now and then",
  inferred: "inferred: follows from what was seen",
};

class Tips {
  constructor(model, view) {
    this.model = model;
    this.box = byId("tip");
    this.spans = new WeakMap();
    this.shownFor = null;
    const over = (event) => this.follow(event.target);
    document.addEventListener("pointerover", over);
    document.addEventListener("focusin", over);
    document.addEventListener("focusout", () => this.hide());
    // What it is about is elsewhere then.
    view.on("window", () => this.hide());
    document.addEventListener("scroll", () => this.hide(), { capture: true, passive: true });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.shownFor) {
        this.hide();
        event.stopPropagation();
      }
    }, { capture: true });
  }

  /** Says what a lane's element stands for. */
  attach(element, conn, span) {
    element.dataset.state = span.state;
    this.spans.set(element, { conn, span });
  }

  follow(target) {
    const owner = target instanceof Element ? target.closest("[data-state]") : null;
    if (owner === this.shownFor) return;
    this.hide();
    if (owner) this.show(owner);
  }

  show(owner) {
    const parts = this.parts(owner);
    if (!parts) return;
    this.shownFor = owner;
    owner.setAttribute("aria-describedby", "tip");
    this.box.replaceChildren(...parts);
    this.box.hidden = false;
    const at = owner.getBoundingClientRect(), size = this.box.getBoundingClientRect();
    const below = at.bottom + 8;
    const top = below + size.height < innerHeight ? below : Math.max(4, at.top - size.height - 8);
    const middle = clamp(at.left, 0, innerWidth) / 2 + clamp(at.right, 0, innerWidth) / 2;
    this.box.style.top = `${top}px`;
    this.box.style.left = `${clamp(middle - size.width / 2, 8, Math.max(8, innerWidth - size.width - 8))}px`;
  }

  hide() {
    if (!this.shownFor) return;
    this.shownFor.removeAttribute("aria-describedby");
    this.shownFor = null;
    this.box.hidden = true;
  }

  parts(owner) {
    const state = this.model.states.get(owner.dataset.state);
    const known = this.spans.get(owner);
    if (!state && !known) return null;
    return [
      el("p", { class: "tip-head" }, el("b", {}, owner.dataset.state), state ? ` ${state.summary}` : ""),
      known && el("p", {}, spanSentence(known.span), " ", el("span", { class: "faint" }, EVIDENCE[known.span.evidence])),
      state && el("p", {}, state.meaning),
      state && el("p", { class: "faint" }, "How long: ", state.lasts),
    ].filter(Boolean);
  }
}

/** `1.203s, then the trace ended` and the like. */
function spanSentence(span) {
  const since = span.since === null ? "when it began is not known" : "";
  return [spanLasted(span), since].filter(Boolean).join("; ");
}

