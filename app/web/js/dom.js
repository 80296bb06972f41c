// Small helpers for the document.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; `attributes`, `dataset` and `class` are set as such. */
export function make(tag, { attributes = {}, dataset = {}, class: className = "", ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  Object.assign(element.dataset, dataset);
  Object.assign(element, properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

export function icon(name) {
  return makeSvg("svg", { class: "icon", "aria-hidden": "true" }, makeSvg("use", { href: `#i-${name}` }));
}

const numbers = new Intl.NumberFormat("en", { useGrouping: true });
export const count = (value) => numbers.format(value).replaceAll(",", "\u202f");
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const milliseconds = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toString());

/** "animals/red_fox-12.png" reads "red fox 12". */
export function title(path) {
  const name = path.split("/").pop().replace(/\.[^.]+$/, "");
  return name.replaceAll(/[_\-.]+/g, " ").trim() || path;
}

/** Waits until what was just changed has been painted. */
export const painted = () =>
  new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
