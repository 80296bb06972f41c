// What moves the pen over the paper: mouse, stylus, finger, and the arrow keys.

import { PAPER } from "./history.js";

/** Lets a pointer draw. Every sample of it counts, also those that came between two frames. */
export function drawByPointer(canvas, surface) {
  let pointer = null;
  let penSeen = false;

  const sampleOf = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = PAPER / box.width;
    const pressed = event.pointerType === "pen" && event.pressure > 0;
    const width = surface.lineWidth * (pressed ? 0.5 + event.pressure : 1);
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale, width, time: event.timeStamp };
  };
  const mine = (event) => event.pointerId === pointer;
  const up = (event) => {
    if (!mine(event)) return;
    pointer = null;
    if (!surface.drawing) return;
    if (event.type === "pointerup") surface.extend([sampleOf(event)]);
    surface.finish();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || (event.button > 0 && event.button !== 5)) return;
    if (event.pointerType === "touch" && penSeen) return; // a palm beside the pen
    penSeen ||= event.pointerType === "pen";
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    pointer = event.pointerId;
    canvas.setPointerCapture(event.pointerId);
    const flipped = (event.buttons & 32) !== 0; // the pen's other end
    surface.begin(sampleOf(event), { erase: surface.erasing || flipped });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!mine(event) || !surface.drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    surface.extend((events.length > 0 ? events : [event]).map(sampleOf));
  });
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("lostpointercapture", up);
  canvas.addEventListener("pointercancel", (event) => {
    if (!mine(event)) return;
    pointer = null;
    if (surface.drawing) surface.abandon();
  });
}

const STEP = { usual: 8, large: 40 }; // PAPER units
const EDGE = 4; // PAPER units that the keys' pen stays within the paper

/** Lets arrow keys move a pen, which Space sets down and lifts; `caret` shows where it is. */
export function drawByKeys(canvas, caret, surface) {
  const place = { x: PAPER / 2, y: PAPER / 2 };
  let down = false;

  const sample = () => ({ ...place, width: surface.lineWidth, time: performance.now() });
  const show = (always = false) => {
    caret.hidden = !(always || canvas.matches(":focus-visible"));
    caret.style.left = `${(place.x / PAPER) * 100}%`;
    caret.style.top = `${(place.y / PAPER) * 100}%`;
    caret.classList.toggle("down", down);
  };
  const lift = () => {
    if (down) surface.finish();
    show();
  };
  const inside = (value) => Math.min(PAPER - EDGE, Math.max(EDGE, value));
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "Enter") {
      if (down) surface.finish();
      else if (!surface.drawing) {
        surface.begin(sample(), { exact: true });
        down = true;
      }
    } else if (moves[event.key]) {
      const step = event.shiftKey ? STEP.large : STEP.usual;
      place.x = inside(place.x + moves[event.key][0] * step);
      place.y = inside(place.y + moves[event.key][1] * step);
      if (down) surface.extend([sample()]);
    } else if (event.key === "Escape" && down) {
      surface.finish();
    } else return;
    event.preventDefault();
    show(true);
  });
  // Whatever ends or begins a stroke elsewhere (a pointer, an undo) finds this pen lifted.
  surface.addEventListener("change", () => {
    down = false;
    caret.classList.remove("down");
  });
  canvas.addEventListener("pointerdown", () => {
    lift();
    caret.hidden = true;
  });
  canvas.addEventListener("focus", () => show());
  canvas.addEventListener("blur", lift);
}
