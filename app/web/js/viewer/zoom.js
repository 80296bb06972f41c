// How far a photo is zoomed in, and which part of it is seen. Event: "change".

const MOST = 8; // times the size that fits
const STEP = 1.5;
const CLOSE = 2.5; // where a double click goes

export class Zoom extends EventTarget {
  #stage;
  #frame;
  #scale = 1;
  #x = 0;
  #y = 0;

  /** Moves and scales `frame`, which lies in the middle of `stage`. */
  constructor(stage, frame) {
    super();
    this.#stage = stage;
    this.#frame = frame;
    new ResizeObserver(() => this.#set(this.#scale, this.#x, this.#y)).observe(stage);
  }

  get isIn() {
    return this.#scale > 1;
  }

  get isMost() {
    return this.#scale >= MOST;
  }

  reset() {
    this.#set(1, 0, 0);
  }

  in() {
    this.by(STEP);
  }

  out() {
    this.by(1 / STEP);
  }

  /** From the whole photo to a part of it around a point of the window, or back. */
  toggle(at) {
    if (this.isIn) this.reset();
    else this.by(CLOSE, at);
  }

  /** Zooms by a factor; what lies at a point of the window stays there. */
  by(factor, at = this.#middle()) {
    const scale = Math.min(MOST, Math.max(1, this.#scale * factor));
    const ratio = scale / this.#scale;
    const middle = this.#middle();
    this.#set(scale, (1 - ratio) * (at.x - middle.x) + ratio * this.#x, (1 - ratio) * (at.y - middle.y) + ratio * this.#y);
  }

  /** Moves the photo by pixels, as far as it is larger than the stage. */
  move(dx, dy) {
    this.#set(this.#scale, this.#x + dx, this.#y + dy);
  }

  /** Draws the whole photo aside while a finger pulls at it. */
  pull(dx) {
    this.#frame.style.transform = dx ? `translateX(${dx}px)` : "";
  }

  #middle() {
    const box = this.#stage.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  }

  #set(scale, x, y) {
    const room = (size, whole) => Math.max(0, (size * scale - whole) / 2);
    const within = (value, most) => Math.min(most, Math.max(-most, value));
    this.#scale = scale < 1.001 ? 1 : scale;
    this.#x = within(x, room(this.#frame.offsetWidth, this.#stage.clientWidth));
    this.#y = within(y, room(this.#frame.offsetHeight, this.#stage.clientHeight));
    if (!this.isIn) [this.#x, this.#y] = [0, 0];
    this.#frame.style.transform = this.isIn ? `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})` : "";
    this.#stage.classList.toggle("zoomed", this.isIn);
    this.dispatchEvent(new Event("change"));
  }
}
