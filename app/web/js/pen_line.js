// From a pen's samples to the line that is drawn. Nothing here knows a canvas.
//
// How often a browser reports the pen says nothing about the drawing, so everything here goes by distance and time: the
// same movement gives the same line, whether four samples tell of it or forty. Corners stay where the pen turned.

const NEAR = 0.75; // PAPER units: a sample nearer to the last one adds nothing
const REACH = 8; // PAPER units before and after a sample, between which the pen's turn is measured
const SHORTEST = 3; // PAPER units that a corner must be away from both ends; less is the tremble of a pen set down
const CORNER = (50 * Math.PI) / 180; // a turn of this much is a corner. A fast circle in eight samples turns by 45 degrees
const CALM_DISTANCE = 4; // PAPER units: how far a sample's neighbours calm it (standard deviation of a Gaussian)
const CALM_TIME = 30; // ms: the same in time. Slow detail stays; a hand's tremor (8 to 12 Hz) goes
const FLAT = 3; // PAPER units between the points of a curve
const STRAY = 0.3; // PAPER units that a point left out may stray from the line

const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
const mix = (a, b, share) => a + (b - a) * share;
const between = (a, b, share) => ({ x: mix(a.x, b.x, share), y: mix(a.y, b.y, share), width: mix(a.width, b.width, share) });

/**
 * The points of the line that a pen drew.
 *
 * @param samples [{x, y, width, time}], in the order of time; x, y and width in PAPER units, time in ms.
 * @returns [{x, y, width}]: a polyline, no coarser than the eye can see. It begins and ends where the samples do.
 */
export function penLine(samples) {
  const kept = samples.filter((sample, i) => i === 0 || distance(sample, samples[i - 1]) > 0);
  const points = spread(kept);
  if (points.length < 3) return points.map(({ x, y, width }) => ({ x, y, width }));
  const along = lengths(points);
  const stops = [0, ...corners(points, along), points.length - 1];
  const line = [points[0]];
  for (let i = 1; i < stops.length; i += 1) {
    const run = calmed(points, along, stops[i - 1], stops[i]);
    line.push(...thinned(curve(run)).slice(1));
  }
  return line.map(({ x, y, width }) => ({ x, y, width }));
}

/** Samples that are some way apart; the last one always stays. */
function spread(samples) {
  const kept = samples.slice(0, 1);
  for (const sample of samples.slice(1)) if (distance(sample, kept.at(-1)) >= NEAR) kept.push(sample);
  const last = samples.at(-1);
  if (kept.at(-1) !== last) {
    if (kept.length > 1) kept.pop();
    kept.push(last);
  }
  return kept;
}

/** How far along the line each point lies. */
function lengths(points) {
  const along = [0];
  for (let i = 1; i < points.length; i += 1) along.push(along[i - 1] + distance(points[i - 1], points[i]));
  return along;
}

/** The point of the polyline that lies `place` along it; `i` is a point to look from. */
function pointAt(points, along, place, i) {
  let after = i;
  while (after > 1 && along[after - 1] >= place) after -= 1;
  while (after < points.length - 1 && along[after] < place) after += 1;
  after = Math.max(1, after);
  const step = along[after] - along[after - 1];
  return between(points[after - 1], points[after], step === 0 ? 0 : Math.min(1, Math.max(0, (place - along[after - 1]) / step)));
}

/** Indices of the points where the pen turned sharply: where the turn is largest within reach. */
function corners(points, along) {
  const end = along.at(-1);
  const turns = points.map((point, i) => {
    const room = Math.min(along[i], end - along[i]);
    if (room < SHORTEST) return 0;
    const before = pointAt(points, along, Math.max(0, along[i] - REACH), i);
    const after = pointAt(points, along, Math.min(end, along[i] + REACH), i);
    const turn = Math.atan2(after.y - point.y, after.x - point.x) - Math.atan2(point.y - before.y, point.x - before.x);
    return Math.abs(Math.atan2(Math.sin(turn), Math.cos(turn)));
  });
  const found = [];
  for (let i = 1; i < points.length - 1; i += 1) {
    if (turns[i] < CORNER) continue;
    const last = found.at(-1);
    if (last === undefined || along[i] - along[last] >= REACH) found.push(i);
    else if (turns[i] > turns[last]) found[found.length - 1] = i;
  }
  return found;
}

/** The points from one stop to the next, each moved to the middle of its neighbours; the stops stay where they are. */
function calmed(points, along, from, to) {
  const run = [];
  for (let i = from; i <= to; i += 1) {
    // As far to one side as to the other, or the line would shrink towards its middle.
    const reach = Math.min(2.5 * CALM_DISTANCE, along[i] - along[from], along[to] - along[i]);
    let [total, x, y, width] = [0, 0, 0, 0];
    const take = (j) => {
      const gap = (along[j] - along[i]) / CALM_DISTANCE;
      const wait = (points[j].time - points[i].time) / CALM_TIME;
      const share = (along[Math.min(to, j + 1)] - along[Math.max(from, j - 1)]) / 2; // many samples weigh no more than few
      const weight = share * Math.exp(-(gap * gap + wait * wait) / 2);
      total += weight;
      x += weight * points[j].x;
      y += weight * points[j].y;
      width += weight * points[j].width;
    };
    take(i);
    for (let j = i - 1; j >= from && along[i] - along[j] <= reach; j -= 1) take(j);
    for (let j = i + 1; j <= to && along[j] - along[i] <= reach; j += 1) take(j);
    run.push(i === from || i === to ? points[i] : { x: x / total, y: y / total, width: width / total });
  }
  return run;
}

/**
 * A smooth curve through the points: the centripetal Catmull-Rom spline, which has no loops where points lie unevenly
 * (Yuksel, Schaefer and Keyser, "Parameterization and applications of Catmull-Rom curves", 2011, section 3).
 */
function curve(points) {
  if (points.length < 3) return points;
  const at = (i) => {
    if (i < 0) return before(...points.slice(0, 3));
    if (i >= points.length) return before(...points.slice(-3).reverse());
    return points[i];
  };
  const line = [points[0]];
  for (let i = 0; i < points.length - 1; i += 1) {
    const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    const steps = Math.ceil(distance(b, c) / FLAT);
    for (let k = 1; k < steps; k += 1) line.push(onSpline(a, b, c, d, k / steps));
    line.push(c);
  }
  return line;
}

/** A point before the first: the line comes from where it would if it turned there as it does at the second point. */
function before(first, second, third) {
  const step = { x: second.x - first.x, y: second.y - first.y };
  const next = { x: third.x - second.x, y: third.y - second.y };
  const turn = Math.atan2(step.x * next.y - step.y * next.x, step.x * next.x + step.y * next.y);
  const lengths = [Math.hypot(step.x, step.y), Math.hypot(next.x, next.y)];
  const share = Math.min(...lengths) / Math.max(...lengths); // a long straight piece is not bent by a short one beside it
  const [cos, sin] = [Math.cos(turn * share), Math.sin(turn * share)];
  return { x: first.x - (step.x * cos + step.y * sin), y: first.y - (step.y * cos - step.x * sin), width: first.width };
}

function onSpline(a, b, c, d, share) {
  const knots = [0];
  for (const [p, q] of [[a, b], [b, c], [c, d]]) knots.push(knots.at(-1) + Math.max(1e-6, Math.sqrt(distance(p, q))));
  const [ta, tb, tc, td] = knots;
  const t = mix(tb, tc, share);
  const blend = (p, q, from, to) => between(p, q, (t - from) / (to - from));
  const ab = blend(a, b, ta, tb);
  const bc = blend(b, c, tb, tc);
  const cd = blend(c, d, tc, td);
  return blend(blend(ab, bc, ta, tc), blend(bc, cd, tb, td), tb, tc);
}

/** The line without the points that it does not need (Douglas and Peucker). */
function thinned(line) {
  const needed = new Set([0, line.length - 1]);
  const parts = [[0, line.length - 1]];
  while (parts.length > 0) {
    const [from, to] = parts.pop();
    let worst = STRAY;
    let at = 0;
    for (let i = from + 1; i < to; i += 1) {
      const stray = away(line[i], line[from], line[to]);
      if (stray > worst) [worst, at] = [stray, i];
    }
    if (at === 0) continue;
    needed.add(at);
    parts.push([from, at], [at, to]);
  }
  return line.filter((_, i) => needed.has(i));
}

/** How far a point lies from the piece of line a to b; a change of width counts as well. */
function away(point, a, b) {
  const [x, y] = [b.x - a.x, b.y - a.y];
  const square = x * x + y * y;
  const share = square === 0 ? 0 : Math.min(1, Math.max(0, ((point.x - a.x) * x + (point.y - a.y) * y) / square));
  const foot = between(a, b, share);
  return Math.max(distance(point, foot), Math.abs(point.width - foot.width));
}
