// What a result owes to each part of the query, in a sentence.

const MOSTLY = 0.65; // share from which on one part decides
const COUNTS = 0.05; // smaller shares are not worth a word

const joined = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

/** The parts of a query as one says them: {text: the words, similar: whether the results are photos like one that was chosen}. */
export const partNames = ({ text, similar }) => ({
  sketch: "your drawing",
  text: text ? `the words “${text}”` : "your words",
  photo: "the photo you gave",
  like: similar ? "the photo you chose" : "the photos you want more of",
  expansion: "the best results",
  unlike: "the photos you want less of",
});

/**
 * Why a photo was found, from its `contributions`: {part: share of the recall score}. They are compared with each other only,
 * so the sentence says more or less, and no number.
 */
export function reason(contributions, names) {
  const known = Object.entries(contributions ?? {}).filter(([part]) => part in names);
  const all = known.reduce((sum, [, share]) => sum + Math.abs(share), 0);
  if (all === 0) return "";
  const counting = known.filter(([, share]) => Math.abs(share) >= COUNTS * all).sort((a, b) => b[1] - a[1]);
  const own = counting.filter(([part, share]) => share > 0 && part !== "expansion");
  const sum = own.reduce((total, [, share]) => total + share, 0);
  const said = own.map(([part]) => names[part]);
  const sentences = [];
  if (own.length === 1) sentences.push(`This photo is like ${said[0]}.`);
  else if (own.length > 1 && own[0][1] >= MOSTLY * sum) sentences.push(`This photo is like ${said[0]} above all, and a little like ${joined(said.slice(1))}.`);
  else if (own.length > 1) sentences.push(`This photo is like ${joined(said)}, about equally.`);
  if (counting.some(([part, share]) => part === "expansion" && share > 0)) {
    sentences.push(own.length === 0 ? "This photo resembles the best results." : "It also resembles the best results, which helps.");
  }
  const against = counting.filter(([, share]) => share < 0).map(([part]) => names[part]);
  if (against.length) sentences.push(`That it is like ${joined(against)} counts against it.`);
  return sentences.join(" ");
}
