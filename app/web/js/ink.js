// Painting steps of the history onto a 2D context whose unit is one PAPER unit.

import { PAPER } from "./history.js";

export const INK = "#141311";
export const WHITE = "#ffffff";

const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });

export function paintPaper(context) {
  context.fillStyle = WHITE;
  context.fillRect(0, 0, PAPER, PAPER);
}

/**
 * Paints the part of a stroke from point `from` on. Quadratic curves between the middles of neighbouring points, with the
 * points as control points, are smooth at every joint; a part can be painted before the next point is known.
 */
export function paintStroke(context, stroke, from = 0, finished = true) {
  const { points } = stroke;
  context.strokeStyle = context.fillStyle = stroke.erase ? WHITE : INK;
  context.lineCap = context.lineJoin = "round";
  if (points.length === 1 || (from === 0 && points.length > 0)) {
    context.beginPath();
    context.arc(points[0].x, points[0].y, points[0].width / 2, 0, 2 * Math.PI);
    context.fill();
  }
  for (let i = Math.max(1, from); i < points.length; i += 1) {
    const start = i === 1 ? points[0] : middle(points[i - 2], points[i - 1]);
    const end = middle(points[i - 1], points[i]);
    context.lineWidth = (points[i - 1].width + points[i].width) / 2;
    context.beginPath();
    context.moveTo(start.x, start.y);
    context.quadraticCurveTo(points[i - 1].x, points[i - 1].y, end.x, end.y);
    context.stroke();
  }
  if (finished && points.length > 1) {
    const last = points.at(-1);
    const start = middle(points.at(-2), last);
    context.lineWidth = last.width;
    context.beginPath();
    context.moveTo(start.x, start.y);
    context.lineTo(last.x, last.y);
    context.stroke();
  }
}

export function paintSteps(context, steps) {
  paintPaper(context);
  context.imageSmoothingQuality = "high";
  for (const step of steps) {
    if (step.kind === "stroke") paintStroke(context, step);
    else if (step.kind === "image") context.drawImage(step.bitmap, step.x, step.y, step.width, step.height);
  }
}

/** True where no pixel is clearly darker than the paper. */
export function isBlank(context, size) {
  const { data } = context.getImageData(0, 0, size, size);
  for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] + data[i + 2] < 600) return false;
  return true;
}
