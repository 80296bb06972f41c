// Which part of the sketch matched which part of the photo: numbers on both pictures, lines between them, and the rest where one
// points.

import { byId, make, makeSvg } from "../dom.js";
import { Patches } from "./patches.js";

const NUMBERED = 8; // pairs with a colour and a number of their own
const LINKED = 5; // of these, so many joined by a line
const BADGE = 11; // pixels from the middle of a number to where its line begins

const across = ["left", "middle", "right"];
const along = ["top", "middle", "bottom"];

/** Where a box is in its picture: "top left". */
function where([x, y, width, height]) {
  const third = (middle) => Math.min(2, Math.max(0, Math.floor(3 * middle)));
  const [row, column] = [along[third(y + height / 2)], across[third(x + width / 2)]];
  return row === column ? "middle" : `${row} ${column}`;
}

/** The pairs that are worth showing, best first: clear ones, and each the other's best match, so that no patch has two numbers. */
export const worthShowing = (said) => said.correspondences.filter((pair) => pair.clear && pair.mutual).slice(0, NUMBERED);

export class Matches {
  #sketch = new Patches(byId("picture-sketch"));
  #photo = new Patches(byId("picture-photo"));
  #list = byId("pairs");
  #frame = byId("viewer-body");
  #all = []; // clear ones
  #numbered = [];
  #linking = true;

  constructor() {
    this.#sketch.addEventListener("point", ({ detail }) => this.#light("sketch_patch", detail));
    this.#photo.addEventListener("point", ({ detail }) => this.#light("photo_patch", detail));
    new ResizeObserver(() => this.#link()).observe(this.#frame);
    byId("viewer-side").addEventListener("scroll", () => this.#link());
  }

  clear() {
    this.#show([], []);
  }

  /** Shows what an explanation says. */
  show(said) {
    this.#show(said.correspondences.filter((pair) => pair.clear), worthShowing(said));
  }

  /** Whether lines join the pairs: not while the photo is zoomed, where they would end anywhere. */
  set linking(linking) {
    this.#linking = linking;
    this.#link();
  }

  #show(all, numbered) {
    this.#all = all;
    this.#numbered = numbered;
    this.#sketch.show(this.#side("sketch", "photo"));
    this.#photo.show(this.#side("photo", "sketch"));
    this.#sketch.mark(new Map(numbered.map((pair, i) => [pair.sketch_patch, i + 1])));
    this.#photo.mark(new Map(numbered.map((pair, i) => [pair.photo_patch, i + 1])));
    this.#list.replaceChildren(...numbered.map((pair, i) => make("li", {}, this.#button(pair, i + 1))));
    this.#list.hidden = numbered.length === 0;
    this.#link();
  }

  /** The patches of one side, each with its strongest match. */
  #side(mine, other) {
    const names = { sketch: "drawing", photo: "photo" };
    const patches = new Map();
    for (const pair of this.#all) {
      const index = pair[`${mine}_patch`];
      if (patches.get(index)?.weight >= pair.weight) continue;
      const box = pair[`${mine}_box`];
      const label = `${where(box)} of the ${names[mine]}: matches the ${names[other]}, ${where(pair[`${other}_box`])}`;
      patches.set(index, { index, box, weight: pair.weight, label });
    }
    return [...patches.values()];
  }

  #button(pair, number) {
    const places = `: drawing, ${where(pair.sketch_box)}; photo, ${where(pair.photo_box)}`;
    const spoken = [make("span", { class: "sr" }, "Match "), make("span", { class: "sr" }, places)];
    const button = make("button", { type: "button", dataset: { pair: number } }, spoken[0], make("span", { class: "number" }, String(number)), spoken[1]);
    const on = () => this.#lightPair(pair);
    const off = () => this.#light("sketch_patch", null);
    for (const name of ["pointerenter", "focus", "click"]) button.addEventListener(name, on);
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, off);
    return button;
  }

  #lightPair(pair) {
    this.#sketch.light(new Map([[pair.sketch_patch, 1]]));
    this.#photo.light(new Map([[pair.photo_patch, 1]]));
    this.#link([pair]);
  }

  /** Lights everything that one patch matched; `patch` null: back to the numbered pairs. */
  #light(mine, patch) {
    const pairs = patch ? this.#all.filter((pair) => pair[mine] === patch.index) : [];
    const most = Math.max(...pairs.map((pair) => pair.weight));
    const other = mine === "sketch_patch" ? "photo_patch" : "sketch_patch";
    const here = new Map(patch ? [[patch.index, 1]] : []);
    const there = new Map(pairs.map((pair) => [pair[other], pair.weight / most]));
    const [sketch, photo] = mine === "sketch_patch" ? [here, there] : [there, here];
    this.#sketch.light(sketch);
    this.#photo.light(photo);
    this.#link(patch ? pairs.filter((pair) => pair.weight === most).slice(0, 1) : undefined);
  }

  #link(pairs = this.#numbered.slice(0, LINKED)) {
    const edge = byId("viewer-side").offsetLeft;
    const lines = (this.#linking ? pairs : []).flatMap((pair) => {
      const from = this.#photo.place(pair.photo_patch, this.#frame);
      const to = this.#sketch.place(pair.sketch_patch, this.#frame);
      if (!from || !to) return [];
      from.x += BADGE;
      to.x -= BADGE;
      const half = (from.x + edge) / 2; // level beside the words that stand around the sketch
      const d = `M${from.x},${from.y}C${half},${from.y} ${half},${to.y} ${edge},${to.y}H${to.x}`;
      const number = this.#numbered.indexOf(pair) + 1 || LINKED;
      return [makeSvg("path", { d, class: "casing" }), makeSvg("path", { d, "data-pair": number })];
    });
    byId("links").replaceChildren(...lines);
  }
}
