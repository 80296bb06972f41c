// A few drawings of our own to try the search with, as strokes in PAPER units (512 x 512).

const line = (...numbers) => {
  const points = [];
  for (let i = 0; i < numbers.length; i += 2) points.push({ x: numbers[i], y: numbers[i + 1] });
  return points;
};

const arc = (x, y, rx, ry, from, to, steps = 28) =>
  Array.from({ length: steps + 1 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / steps) * Math.PI) / 180;
    return { x: x + rx * Math.cos(angle), y: y + ry * Math.sin(angle) };
  });

export const DOODLES = [
  {
    name: "umbrella",
    strokes: [
      arc(256, 250, 170, 150, 180, 360),
      arc(142, 250, 56, 26, 180, 360),
      arc(256, 250, 58, 26, 180, 360),
      arc(370, 250, 56, 26, 180, 360),
      [...line(256, 100, 256, 78)],
      [...line(256, 226, 256, 400), ...arc(226, 400, 30, 34, 0, 170)],
    ],
  },
  {
    name: "fish",
    strokes: [
      [...arc(230, 256, 140, 84, 25, 335, 44)],
      line(357, 292, 440, 342, 424, 256, 440, 170, 357, 220),
      arc(150, 236, 11, 11, 0, 360, 14),
      arc(170, 256, 40, 66, -50, 50),
    ],
  },
  {
    name: "cup",
    strokes: [
      line(120, 170, 140, 372, 176, 400, 292, 400, 328, 372, 348, 170),
      arc(234, 170, 114, 26, 0, 360, 40),
      [...arc(350, 262, 62, 66, -78, 96)],
      arc(200, 96, 12, 34, 100, 260, 10),
      arc(262, 96, 12, 34, 100, 260, 10),
    ],
  },
  {
    name: "house",
    strokes: [
      line(90, 256, 256, 104, 422, 256),
      line(128, 226, 128, 412, 384, 412, 384, 226),
      line(222, 412, 222, 312, 290, 312, 290, 412),
      line(158, 262, 202, 262, 202, 304, 158, 304, 158, 262),
      line(336, 178, 336, 110, 370, 110, 370, 208),
    ],
  },
  {
    name: "bicycle",
    strokes: [
      arc(140, 330, 82, 82, 0, 360, 44),
      arc(372, 330, 82, 82, 0, 360, 44),
      line(140, 330, 210, 200, 332, 200, 244, 330, 140, 330),
      line(244, 330, 198, 172),
      line(172, 172, 226, 172),
      [...line(372, 330, 322, 160, 366, 144)],
    ],
  },
];
