// The patches of one picture: something to point at, by pointer or by keys.
//
// Event: "point" ({detail: patch or null}) when the pointer or the focus comes to a patch or leaves the picture.

import { make } from "../dom.js";

const REACH = 2.2; // patch sizes: how far from a patch one may point and still mean it
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const centre = ([x, y, width, height]) => ({ x: x + width / 2, y: y + height / 2 });

export class Patches extends EventTarget {
  #picture;
  #layer;
  #patches = new Map(); // patch index -> {index, box, label, button}
  #pointed = null;

  constructor(picture) {
    super();
    this.#picture = picture;
    this.#layer = picture.querySelector(".patches");
    this.#layer.addEventListener("pointermove", (event) => this.#point(this.#nearest(event)));
    this.#layer.addEventListener("pointerdown", (event) => this.#point(this.#nearest(event)));
    this.#layer.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.#point(null);
    });
    this.#layer.addEventListener("keydown", (event) => this.#walk(event));
    this.#layer.addEventListener("focusin", (event) => {
      if (event.target.matches(":focus-visible")) this.#point(this.#of(event.target));
    });
    this.#layer.addEventListener("focusout", () => this.#point(null));
  }

  /** Shows these patches: [{index, box: [x, y, width, height] as shares of the picture, label}]. */
  show(patches) {
    this.#pointed = null;
    this.#patches = new Map();
    const inOrder = [...patches].sort((a, b) => a.index - b.index);
    for (const patch of inOrder) {
      const button = make("button", { type: "button", class: "patch", tabIndex: this.#patches.size === 0 ? 0 : -1, dataset: { patch: patch.index } });
      button.setAttribute("aria-label", patch.label);
      const [x, y, width, height] = patch.box;
      Object.assign(button.style, { left: `${x * 100}%`, top: `${y * 100}%`, width: `${width * 100}%`, height: `${height * 100}%` });
      this.#patches.set(patch.index, { ...patch, button });
    }
    this.#layer.replaceChildren(...[...this.#patches.values()].map((patch) => patch.button));
    this.light(new Map());
  }

  /** Numbers the patches of the strongest pairs: Map of patch index -> number from 1. */
  mark(numbers) {
    for (const [index, number] of numbers) {
      const button = this.#patches.get(index)?.button;
      if (!button) continue;
      button.classList.add("pair-mark");
      button.dataset.pair = number;
    }
  }

  /** Lights some patches and dims the rest of the picture: Map of patch index -> strength in [0, 1]; none: all as usual. */
  light(strengths) {
    this.#picture.classList.toggle("lit", strengths.size > 0);
    const source = this.#picture.querySelector("img").currentSrc;
    for (const [index, { button, box }] of this.#patches) {
      const strength = strengths.get(index);
      button.classList.toggle("on", strength !== undefined);
      button.classList.toggle("best", strength === 1);
      button.style.backgroundImage = strength === undefined ? "" : `url("${source}")`;
      if (strength === undefined) continue;
      const [x, y, width, height] = box;
      button.style.backgroundSize = `${100 / width}% ${100 / height}%`;
      button.style.backgroundPosition = `${(100 * x) / (1 - width)}% ${(100 * y) / (1 - height)}%`;
      button.style.setProperty("--strength", (0.3 + 0.7 * strength).toFixed(2));
    }
  }

  /** Centre of a patch in pixels of `frame`'s box. */
  place(index, frame) {
    const button = this.#patches.get(index)?.button;
    if (!button) return null;
    const box = button.getBoundingClientRect();
    const outer = frame.getBoundingClientRect();
    return { x: box.left + box.width / 2 - outer.left, y: box.top + box.height / 2 - outer.top };
  }

  #of(button) {
    return this.#patches.get(Number(button.dataset.patch)) ?? null;
  }

  #point(patch) {
    if (patch === this.#pointed) return;
    this.#pointed = patch;
    this.dispatchEvent(new CustomEvent("point", { detail: patch }));
  }

  #nearest(event) {
    const frame = this.#layer.getBoundingClientRect();
    const at = { x: (event.clientX - frame.left) / frame.width, y: (event.clientY - frame.top) / frame.height };
    let best = null;
    let least = Infinity;
    for (const patch of this.#patches.values()) {
      const middle = centre(patch.box);
      const far = Math.hypot((middle.x - at.x) / patch.box[2], (middle.y - at.y) / patch.box[3]);
      if (far < least) [best, least] = [patch, far];
    }
    return least < REACH ? best : null;
  }

  #walk(event) {
    const direction = ARROWS[event.key];
    const here = direction && this.#of(event.target);
    if (!here) return;
    event.preventDefault();
    const from = centre(here.box);
    let best = null;
    let least = Infinity;
    for (const patch of this.#patches.values()) {
      const to = centre(patch.box);
      const ahead = (to.x - from.x) * direction[0] + (to.y - from.y) * direction[1];
      const aside = Math.abs((to.x - from.x) * direction[1]) + Math.abs((to.y - from.y) * direction[0]);
      if (ahead > 1e-6 && ahead + 2 * aside < least) [best, least] = [patch, ahead + 2 * aside];
    }
    if (!best) return;
    here.button.tabIndex = -1;
    best.button.tabIndex = 0;
    best.button.focus();
  }
}
