// Strokes as a short text for an address, without loss: base64url of whole numbers that count in GRID units.
//
// A drawing is a byte for the form of the text, then its strokes. A stroke is the number of points and two flags
// (n * 4 + erase * 2 + varying), the width, the first point, and each further point as steps from the one before. Where the
// width varies, each further point has a third number: the step of the width. Numbers are varints, seven bits a byte; steps
// are folded (0, -1, 1, -2, ...) so that small ones stay short.

import { GRID, strokeOf } from "./history.js";

const FORM = 1;
const MOST_POINTS = 50_000; // of all strokes together: no text makes the page work for long

/** Strokes as text; "" for none. */
export function pack(strokes) {
  if (strokes.length === 0) return "";
  const bytes = [FORM];
  const write = (number) => {
    for (let rest = number; ; rest = Math.floor(rest / 128)) {
      bytes.push((rest % 128) | (rest > 127 ? 128 : 0));
      if (rest <= 127) return;
    }
  };
  const step = (from, to) => {
    const whole = Math.round((to - from) / GRID);
    write(whole < 0 ? -2 * whole - 1 : 2 * whole);
  };
  for (const { points, erase } of strokes) {
    const varying = points.some((point) => point.width !== points[0].width);
    write(points.length * 4 + (erase ? 2 : 0) + (varying ? 1 : 0));
    write(Math.round(points[0].width / GRID));
    let last = { x: 0, y: 0, width: points[0].width };
    for (const [i, point] of points.entries()) {
      step(last.x, point.x);
      step(last.y, point.y);
      if (varying && i > 0) step(last.width, point.width);
      last = point;
    }
  }
  return btoa(bytes.map((byte) => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** The strokes that a text holds; null where it is damaged. */
export function unpack(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
  let at = 1;
  const read = () => {
    let number = 0;
    for (let unit = 1; at < bytes.length && unit < 2 ** 35; unit *= 128) {
      const byte = bytes[at];
      at += 1;
      number += (byte & 127) * unit;
      if (byte < 128) return number;
    }
    return NaN;
  };
  const step = (from) => {
    const folded = read();
    return from + (folded % 2 ? -(folded + 1) / 2 : folded / 2) * GRID;
  };
  if (bytes[0] !== FORM) return null;
  const strokes = [];
  let left = MOST_POINTS;
  while (at < bytes.length) {
    const head = read();
    const length = Math.floor(head / 4);
    left -= length;
    if (!(length > 0 && left >= 0)) return null;
    const points = [];
    let last = { x: 0, y: 0, width: read() * GRID };
    for (let i = 0; i < length; i += 1) {
      last = { x: step(last.x), y: step(last.y), width: head % 2 && i > 0 ? step(last.width) : last.width };
      if (!Number.isFinite(last.x + last.y + last.width)) return null;
      points.push(last);
    }
    strokes.push(strokeOf(points, (head & 2) !== 0));
  }
  return strokes;
}
