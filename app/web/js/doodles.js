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
    name: "camera",
    strokes: [
      line(84, 168, 428, 168, 428, 380, 84, 380, 84, 168),
      line(196, 168, 216, 122, 298, 122, 318, 168),
      arc(256, 276, 80, 80, 0, 360, 44),
      arc(256, 276, 46, 46, 0, 360, 32),
      line(112, 168, 112, 146, 158, 146, 158, 168),
      line(362, 200, 402, 200, 402, 224, 362, 224, 362, 200),
    ],
  },
  {
    name: "sofa",
    strokes: [
      line(90, 200, 90, 380, 422, 380, 422, 200),
      line(130, 260, 130, 150, 382, 150, 382, 260),
      line(130, 300, 382, 300),
      line(256, 150, 256, 300),
      arc(110, 220, 24, 30, 180, 360),
      arc(402, 220, 24, 30, 180, 360),
      line(110, 380, 110, 410),
      line(402, 380, 402, 410),
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
];
