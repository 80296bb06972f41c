// The drawing surface: pointers and keys become steps of the history, the history becomes pixels.
//
// Events: "change" after every step, undo, redo or clearing ({detail: {penUp}}), and "resting" while the pen is held still
// on the paper, so that results may follow before it is lifted.

import { History, PAPER } from "./history.js";
import { WHITE, isBlank, paintSteps, paintStroke } from "./ink.js";

const EXPORT_SIZE = 448; // twice what the network sees: a fair downscale on the server, a small upload
const CLOSE = 1.2; // points nearer than this to the last one add nothing
const FOLLOW = 0.6; // share of the way to the pointer that the line takes per event: calms a shaky hand
const RESTING = 280; // ms

export class Surface extends EventTarget {
  erasing = false;
  width = 6;
  #canvas;
  #context;
  #caret;
  #history = new History();
  #stroke = null;
  #pointer = null;
  #penSeen = false;
  #resting = 0;
  #key = { x: PAPER / 2, y: PAPER / 2, down: false };
  #export = new OffscreenCanvas(EXPORT_SIZE, EXPORT_SIZE);

  constructor(canvas, caret) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#caret = caret;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("lostpointercapture", (event) => this.#up(event));
    canvas.addEventListener("keydown", (event) => this.#keyDown(event));
    canvas.addEventListener("focus", () => this.#showCaret());
    canvas.addEventListener("blur", () => this.#liftKeyPen());
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  get history() {
    return this.#history;
  }

  get isEmpty() {
    return this.#history.isEmpty && this.#stroke === null;
  }

  undo() {
    this.#liftKeyPen();
    this.#history.undo();
    this.#changed();
  }

  redo() {
    this.#history.redo();
    this.#changed();
  }

  clear() {
    this.#liftKeyPen();
    this.#history.clear();
    this.#changed();
  }

  /** Puts a picture on the paper, as large as it fits; what was there goes (one undo brings it back, another the picture). */
  place(bitmap) {
    const scale = Math.min(PAPER / bitmap.width, PAPER / bitmap.height);
    const width = bitmap.width * scale;
    const height = bitmap.height * scale;
    this.#history.clear();
    this.#history.push({ kind: "image", bitmap, x: (PAPER - width) / 2, y: (PAPER - height) / 2, width, height });
    this.#changed();
  }

  /** Adds whole strokes at once: [[{x, y}]] in PAPER units. */
  draw(strokes) {
    for (const points of strokes) {
      this.#history.push({ kind: "stroke", erase: false, points: points.map((p) => ({ ...p, width: this.width })) });
    }
    this.#changed();
  }

  /** The sketch as it is seen, as a PNG; null where there is no ink. */
  async picture() {
    const context = this.#export.getContext("2d", { willReadFrequently: true });
    context.setTransform(EXPORT_SIZE / PAPER, 0, 0, EXPORT_SIZE / PAPER, 0, 0);
    paintSteps(context, this.#stroke ? [...this.#history.visible(), this.#stroke] : this.#history.visible());
    if (isBlank(context, EXPORT_SIZE)) return null;
    return this.#export.convertToBlob({ type: "image/png" });
  }

  // Pointers

  #down(event) {
    if (this.#pointer !== null || event.button > 0 && event.button !== 5) return;
    if (event.pointerType === "touch" && this.#penSeen) return; // a palm beside the pen
    this.#penSeen ||= event.pointerType === "pen";
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true, focusVisible: false });
    this.#caret.hidden = true;
    this.#liftKeyPen();
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    const flipped = (event.buttons & 32) !== 0; // the pen's other end
    this.#begin(this.#point(event), this.erasing || flipped);
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length > 0 ? events : [event]) this.#extend(this.#point(part), FOLLOW);
    this.#rest();
  }

  #up(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#extend(this.#point(event), 1);
    this.#finish();
  }

  #cancel(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#stroke = null;
    clearTimeout(this.#resting);
    this.#changed();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = PAPER / box.width;
    const pressed = event.pointerType === "pen" && event.pressure > 0;
    const width = this.#lineWidth * (pressed ? 0.5 + event.pressure : 1);
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale, width };
  }

  get #lineWidth() {
    return this.erasing ? this.width * 3 + 8 : this.width;
  }

  // Strokes

  #begin(point, erase) {
    this.#stroke = { kind: "stroke", erase, points: [point] };
    paintStroke(this.#context, this.#stroke, 0, false);
    this.dispatchEvent(new Event("begin"));
  }

  #extend(point, follow) {
    const { points } = this.#stroke;
    const last = points.at(-1);
    const next = {
      x: last.x + (point.x - last.x) * follow,
      y: last.y + (point.y - last.y) * follow,
      width: last.width + (point.width - last.width) * 0.5,
    };
    if (Math.hypot(next.x - last.x, next.y - last.y) < CLOSE) return;
    points.push(next);
    paintStroke(this.#context, this.#stroke, points.length - 1, false);
  }

  #rest() {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.dispatchEvent(new Event("resting")), RESTING);
  }

  #finish() {
    clearTimeout(this.#resting);
    this.#history.push(this.#stroke);
    this.#stroke = null;
    this.#changed(true);
  }

  // Keys

  #keyDown(event) {
    const step = event.shiftKey ? 40 : 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "Enter") {
      if (this.#key.down) this.#liftKeyPen();
      else this.#dropKeyPen();
    } else if (moves[event.key]) {
      const clamp = (value) => Math.min(PAPER - 4, Math.max(4, value));
      this.#key.x = clamp(this.#key.x + moves[event.key][0]);
      this.#key.y = clamp(this.#key.y + moves[event.key][1]);
      if (this.#key.down) {
        this.#extend({ ...this.#keyPoint() }, 1);
        this.#rest();
      }
    } else if (event.key === "Escape" && this.#key.down) {
      this.#liftKeyPen();
    } else return;
    event.preventDefault();
    this.#showCaret(true);
  }

  #keyPoint() {
    return { x: this.#key.x, y: this.#key.y, width: this.#lineWidth };
  }

  #dropKeyPen() {
    if (this.#stroke) return;
    this.#key.down = true;
    this.#begin(this.#keyPoint(), this.erasing);
  }

  #liftKeyPen() {
    this.#caret.hidden = !this.#canvas.matches(":focus-visible");
    if (!this.#key.down) return;
    this.#key.down = false;
    this.#finish();
  }

  #showCaret(always = false) {
    this.#caret.hidden = !(always || this.#canvas.matches(":focus-visible"));
    this.#caret.style.left = `${(this.#key.x / PAPER) * 100}%`;
    this.#caret.style.top = `${(this.#key.y / PAPER) * 100}%`;
    this.#caret.classList.toggle("down", this.#key.down);
  }

  // Pixels

  #changed(penUp = false) {
    this.#repaint();
    this.dispatchEvent(new CustomEvent("change", { detail: { penUp } }));
  }

  #resize() {
    const side = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width === side) return;
    this.#canvas.width = this.#canvas.height = side;
    this.#repaint();
  }

  #repaint() {
    const scale = this.#canvas.width / PAPER;
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    paintSteps(this.#context, this.#history.visible());
    if (this.#stroke) paintStroke(this.#context, this.#stroke);
  }
}

/** A bitmap of an image file on white, so that transparent drawings keep their lines. */
export async function readPicture(file, longest = 1600) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = WHITE;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.transferToImageBitmap();
}
