// What a photo is called where people read it. File names say little ("n02206856_1089"), so they stand among the details.

/** The photo's innermost tag in words; of a photo without one, its file's name in words. */
export function nameOf({ path, tags }) {
  const tag = tags?.findLast((one) => /\p{L}/u.test(one)); // not a year's or a month's folder
  return spaced(tag ?? path.split("/").pop().replace(/\.[^.]+$/, "")) || path;
}

const spaced = (text) => text.replaceAll(/[_\-.\s]+/g, " ").trim();
