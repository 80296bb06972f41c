// What was drawn, as a list of steps that can be undone and redone. Nothing here knows a canvas.
//
// A step is {kind: "stroke", erase, points: [{x, y, width}]}, {kind: "image", bitmap, x, y, width, height} or
// {kind: "clear"}; coordinates count in PAPER units.

export const PAPER = 512;

export class History {
  #steps = [];
  #undone = [];

  push(step) {
    this.#steps.push(step);
    this.#undone = [];
  }

  /** Steps that are still seen: those after the last clearing. */
  visible() {
    const last = this.#steps.findLastIndex((step) => step.kind === "clear");
    return this.#steps.slice(last + 1);
  }

  clear() {
    if (this.visible().length > 0) this.push({ kind: "clear" });
  }

  undo() {
    if (this.canUndo) this.#undone.push(this.#steps.pop());
  }

  redo() {
    if (this.canRedo) this.#steps.push(this.#undone.pop());
  }

  get canUndo() {
    return this.#steps.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  get isEmpty() {
    return this.visible().length === 0;
  }
}
