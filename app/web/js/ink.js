// Painting steps of the history onto a 2D context whose unit is one PAPER unit.

import { PAPER } from "./history.js";

const INK = "#141311";
export const WHITE = "#ffffff";

function paintPaper(context) {
  context.fillStyle = WHITE;
  context.fillRect(0, 0, PAPER, PAPER);
}

/** Paints a stroke, point by point as it is; smoothing is the pen's (pen_line.js), so that what is seen is what is kept. */
export function paintStroke(context, { points, erase }) {
  context.strokeStyle = context.fillStyle = erase ? WHITE : INK;
  context.lineCap = context.lineJoin = "round";
  if (points.length === 1) {
    const [{ x, y, width }] = points;
    context.beginPath();
    context.arc(x, y, width / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  for (const piece of ofOneWidth(points)) {
    context.lineWidth = piece.width;
    context.beginPath();
    piece.points.forEach(({ x, y }, i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    context.stroke();
  }
}

/** The longest pieces of a line that have one width; between two points of different widths, the mean of both. */
function ofOneWidth(points) {
  const pieces = [];
  for (let i = 1; i < points.length; i += 1) {
    const width = (points[i - 1].width + points[i].width) / 2;
    if (pieces.at(-1)?.width === width) pieces.at(-1).points.push(points[i]);
    else pieces.push({ width, points: [points[i - 1], points[i]] });
  }
  return pieces;
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
