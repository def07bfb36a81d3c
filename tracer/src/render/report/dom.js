// Elements. Text becomes text only: there is no way from a string to markup in these scripts.

/** An element with attributes and children; a child is an element, a text, or nothing. */
function el(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
function svg(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A button with a handler. */
function button(attributes, label, onClick) {
  const made = el("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}

/** A group of buttons of which one is pressed. `choices`: [[value, label], ...] */
function switchOf(group, choices, chosen, onChoice) {
  const buttons = choices.map(([value, label]) => button({}, label, () => choose(value)));
  const show = (value) => buttons.forEach((one, place) => one.setAttribute("aria-pressed", String(choices[place][0] === value)));
  const choose = (value) => {
    show(value);
    onChoice(value);
  };
  show(chosen);
  group.replaceChildren(...buttons);
}

/** Calls `draw` before the next frame, once however often it is asked. */
function oncePerFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

