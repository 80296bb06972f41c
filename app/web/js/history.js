// What was drawn, as a list of steps that can be undone and redone. Nothing here knows a canvas.
//
// A step is {kind: "stroke", erase, points: [{x, y, width}]}, {kind: "image", bitmap, kept, x, y, width, height}, or
// {kind: "sheet", contents: [stroke or image], number}: a fresh sheet of paper, empty or with something on it. Coordinates
// count in PAPER units. Those of strokes lie on a GRID, so that an address carries them without loss.

export const PAPER = 512;
export const GRID = 0.5;

const FARTHEST = 2 * PAPER; // points this far beyond the paper draw nothing on it
const snapped = (value) => Math.round(value / GRID) * GRID;
const place = (value) => snapped(Math.min(FARTHEST, Math.max(-FARTHEST, value)));

/** A stroke whose points lie on the grid. */
export function strokeOf(points, erase = false) {
  const onGrid = points.map(({ x, y, width }) => ({ x: place(x), y: place(y), width: Math.max(GRID, snapped(width)) }));
  return { kind: "stroke", erase, points: onGrid };
}

export class History {
  #steps = [];
  #undone = [];
  #sheets = 0;

  push(step) {
    this.#steps.push(step);
    this.#undone = [];
  }

  /** A fresh sheet with these contents; undoing it brings back the sheet before. */
  turn(contents = []) {
    if (contents.length > 0 || !this.isEmpty) this.push(this.#fresh(contents));
  }

  /** Begins anew with these contents: there is nothing to undo. */
  reset(contents) {
    this.#steps = contents.length > 0 ? [{ ...this.#fresh(contents), first: true }] : [];
    this.#undone = [];
  }

  #fresh(contents) {
    this.#sheets += 1;
    return { kind: "sheet", contents, number: this.#sheets };
  }

  /** What is seen: the last sheet with what was drawn on it. */
  visible() {
    const sheet = this.sheet;
    if (!sheet) return [...this.#steps];
    return [...sheet.contents, ...this.#steps.slice(this.#steps.indexOf(sheet) + 1)];
  }

  /** The sheet that is drawn on; null for the very first one. */
  get sheet() {
    return this.#steps.findLast((step) => step.kind === "sheet") ?? null;
  }

  undo() {
    if (this.canUndo) this.#undone.push(this.#steps.pop());
  }

  redo() {
    if (this.canRedo) this.#steps.push(this.#undone.pop());
  }

  get canUndo() {
    return this.#steps.length > 0 && !this.#steps.at(-1).first;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  get isEmpty() {
    return this.visible().length === 0;
  }
}
