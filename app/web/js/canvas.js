// The drawing surface: what a pen does becomes steps of the history, the history becomes pixels.
//
// Events: "begin" when a stroke begins, "change" after every step, undo, redo or clearing ({detail: {penUp}}), and "resting"
// while the pen is held still on the paper, so that results may follow before it is lifted.

import { History, PAPER, strokeOf } from "./history.js";
import { isBlank, paintSteps, paintStroke } from "./ink.js";
import { penLine } from "./pen_line.js";
import { pictureStep } from "./pictures.js";

const EXPORT_SIZE = 448; // twice what the network sees: a fair downscale on the server, a small upload
const RESTING = 280; // ms

export class Surface extends EventTarget {
  erasing = false;
  width = 6;
  #canvas;
  #context;
  #history = new History();
  #pen = null; // {samples, erase, exact} while a stroke is drawn
  #below = new OffscreenCanvas(1, 1); // what lies under that stroke, so that a frame paints the stroke alone
  #frame = 0;
  #resting = 0;
  #export = new OffscreenCanvas(EXPORT_SIZE, EXPORT_SIZE);

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  get history() {
    return this.#history;
  }

  get isEmpty() {
    return this.#history.isEmpty && this.#pen === null;
  }

  get drawing() {
    return this.#pen !== null;
  }

  get lineWidth() {
    return this.erasing ? this.width * 3 + 8 : this.width;
  }

  undo() {
    this.finish();
    this.#history.undo();
    this.#changed();
  }

  redo() {
    this.finish();
    this.#history.redo();
    this.#changed();
  }

  clear() {
    this.replace([]);
  }

  /** Puts something else on the paper, as one step: one undo brings back what was there. */
  replace(contents) {
    this.finish();
    this.#history.turn(contents);
    this.#changed();
  }

  /** Shows what an address says. Where nothing was drawn yet, there is nothing to undo. */
  show(contents) {
    if (this.#history.canUndo || this.#history.canRedo) return this.replace(contents);
    this.#history.reset(contents);
    return this.#changed();
  }

  /** Puts a picture on the paper, as large as it fits; what was there goes. `kept`: the name it is kept by, or null. */
  place({ bitmap, kept }) {
    this.replace([pictureStep(bitmap, kept)]);
  }

  /** Draws whole strokes in place of what is there: [[{x, y}]] in PAPER units. */
  draw(strokes) {
    this.replace(strokes.map((points) => strokeOf(points.map((point) => ({ ...point, width: this.width })))));
  }

  /** The sketch as it is seen, as a PNG; null where there is no ink. */
  async picture() {
    const context = this.#export.getContext("2d", { willReadFrequently: true });
    context.setTransform(EXPORT_SIZE / PAPER, 0, 0, EXPORT_SIZE / PAPER, 0, 0);
    paintSteps(context, this.#pen ? [...this.#history.visible(), this.#stroke()] : this.#history.visible());
    if (isBlank(context, EXPORT_SIZE)) return null;
    return this.#export.convertToBlob({ type: "image/png" });
  }

  // A stroke, from whatever moves the pen

  /** Sets the pen down at {x, y, width, time}. An exact line has its points as corners; any other is smoothed (pen_line.js). */
  begin(sample, { erase = this.erasing, exact = false } = {}) {
    this.finish();
    this.#pen = { samples: [sample], erase, exact };
    this.#below.width = this.#below.height = this.#canvas.width;
    this.#below.getContext("2d").drawImage(this.#canvas, 0, 0);
    this.#paintSoon();
    this.dispatchEvent(new Event("begin"));
  }

  extend(samples) {
    this.#pen.samples.push(...samples);
    this.#paintSoon();
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.dispatchEvent(new Event("resting")), RESTING);
  }

  /** Lifts the pen, if it is down. */
  finish() {
    if (!this.#pen) return;
    this.#history.push(this.#stroke());
    this.#lift();
    this.#changed(true);
  }

  /** Forgets the stroke that is being drawn. */
  abandon() {
    this.#lift();
    this.#changed();
  }

  #stroke() {
    const { samples, erase, exact } = this.#pen;
    return strokeOf(exact ? samples : penLine(samples), erase);
  }

  #lift() {
    clearTimeout(this.#resting);
    cancelAnimationFrame(this.#frame);
    this.#pen = null;
  }

  // Pixels

  #changed(penUp = false) {
    this.#repaint();
    this.dispatchEvent(new CustomEvent("change", { detail: { penUp } }));
  }

  #resize() {
    const side = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width === side) return;
    this.finish();
    this.#canvas.width = this.#canvas.height = side;
    this.#repaint();
  }

  #repaint() {
    this.#inPaperUnits();
    paintSteps(this.#context, this.#history.visible());
  }

  #paintSoon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#context.setTransform(1, 0, 0, 1, 0, 0);
      this.#context.drawImage(this.#below, 0, 0);
      this.#inPaperUnits();
      paintStroke(this.#context, this.#stroke());
    });
  }

  #inPaperUnits() {
    const scale = this.#canvas.width / PAPER;
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
  }
}
