// What fingers, a pen or a mouse do to a photo: wheel and pinch zoom, dragging moves what is zoomed, a swipe turns the page, and
// a double click or tap zooms in and out.

const STILL = 8; // pixels that a tap may move
const SWIPE = 50; // pixels from which a swipe turns the page
const DOUBLE = 320; // ms between two taps

const between = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, far: Math.hypot(a.x - b.x, a.y - b.y) || 1 });

/** Lets gestures on `stage` work `zoom`; `turn(1)` goes to the next photo, `turn(-1)` to the one before. */
export function startGestures(stage, zoom, turn) {
  const down = new Map(); // pointer id to its place
  let start = null; // where the first finger came down
  let moved = false;
  let pinched = false; // by two fingers: what is left of them neither turns nor taps
  let tap = null; // the last one: {x, y, at}

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const fine = event.ctrlKey ? 0.01 : 0.002; // a pinch on a touchpad comes as small turns of the wheel with Ctrl
      zoom.by(Math.exp(-event.deltaY * lines * fine), { x: event.clientX, y: event.clientY });
    },
    { passive: false },
  );

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || event.target.closest("button:not(.patch), a")) return;
    const place = { x: event.clientX, y: event.clientY };
    if (down.size === 0) [start, moved, pinched] = [place, false, false];
    down.set(event.pointerId, place);
    if (down.size > 1) pinched = true;
  });

  stage.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (!moved && down.size === 1 && Math.hypot(now.x - start.x, now.y - start.y) < STILL) return;
    if (!moved) stage.setPointerCapture(event.pointerId);
    moved = true;
    if (down.size === 2) {
      const other = [...down].find(([id]) => id !== event.pointerId)[1];
      const [was, is] = [between(before, other), between(now, other)];
      zoom.by(is.far / was.far, is);
      zoom.move(is.x - was.x, is.y - was.y);
    } else if (zoom.isIn) zoom.move(now.x - before.x, now.y - before.y);
    else if (event.pointerType !== "mouse" && !pinched) zoom.pull(now.x - start.x);
    down.set(event.pointerId, now);
  });

  const lift = (event) => {
    const last = down.get(event.pointerId);
    if (!last) return;
    const alone = down.size === 1;
    down.delete(event.pointerId);
    if (!alone || pinched || event.type === "pointercancel") {
      if (!zoom.isIn) zoom.pull(0);
      return;
    }
    if (!moved) return tapped(event);
    if (zoom.isIn) return;
    zoom.pull(0);
    const [dx, dy] = [last.x - start.x, last.y - start.y];
    if (event.pointerType !== "mouse" && Math.abs(dx) > SWIPE && Math.abs(dx) > 1.5 * Math.abs(dy)) turn(dx < 0 ? 1 : -1);
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);

  function tapped({ clientX: x, clientY: y, timeStamp: at }) {
    const twice = tap && at - tap.at < DOUBLE && Math.hypot(x - tap.x, y - tap.y) < 4 * STILL;
    tap = twice ? null : { x, y, at };
    if (twice) zoom.toggle({ x, y });
  }
}
