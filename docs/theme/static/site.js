// Search and the buttons that copy. It works from a folder, where pages may load scripts but no data.
"use strict";

const base = document.currentScript.dataset.base;
const input = document.getElementById("query");
const found = document.getElementById("found");
const SHOWN = 12;
const AROUND = 70; // characters of a text before and after a word
let entries = null;

function load() {
  if (document.getElementById("entries")) return;
  const script = document.createElement("script");
  script.id = "entries";
  script.src = `${base}/search/index.js`;
  script.addEventListener("load", () => {
    entries = window.searchEntries.map((each) => ({ ...each, low: each.text.toLowerCase(), lowTitle: each.title.toLowerCase() }));
    show();
  });
  document.head.append(script);
}

// How well an entry fits: all words must be in it; in a title, and as a whole, they count more.
function score(entry, words) {
  let sum = 0;
  for (const word of words) {
    const title = entry.lowTitle.indexOf(word);
    const first = entry.low.indexOf(word);
    if (title < 0 && first < 0) return 0;
    if (title >= 0) sum += title === 0 || entry.lowTitle[title - 1] === " " ? 20 : 8;
    if (first >= 0) sum += Math.min(entry.low.split(word).length - 1, 5);
  }
  return sum + (entry.place.includes("#") ? 2 : 0); // a section says more than its whole page
}

function extract(entry, words) {
  const at = Math.max(0, ...words.map((word) => entry.low.indexOf(word)));
  const part = entry.text.slice(Math.max(0, at - AROUND), at + AROUND);
  const line = document.createElement("small");
  line.textContent = (at > AROUND ? "… " : "") + part + (at + AROUND < entry.text.length ? " …" : "");
  return line;
}

function show() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  found.hidden = words.length === 0;
  if (!words.length || !entries) return;
  const best = entries
    .map((entry) => [score(entry, words), entry])
    .filter(([points]) => points > 0)
    .sort((a, b) => b[0] - a[0])
    .slice(0, SHOWN);
  found.replaceChildren(
    ...best.map(([, entry]) => {
      const link = document.createElement("a");
      link.href = `${base}/${entry.place}`;
      const title = document.createElement("b");
      title.textContent = entry.title;
      link.append(title, entry.page && entry.page !== entry.title ? ` · ${entry.page}` : "", extract(entry, words));
      return link;
    }),
  );
  if (!best.length) {
    const nothing = document.createElement("p");
    nothing.textContent = "Nothing found.";
    found.append(nothing);
  }
}

input.addEventListener("focus", load);
input.addEventListener("input", () => (load(), show()));
input.addEventListener("keydown", (event) => {
  if (event.key === "Escape") found.hidden = true;
  if (event.key === "Enter") found.querySelector("a")?.click();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest("#found, search")) found.hidden = true;
  else if (event.target.closest("#found a")) found.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input")) {
    event.preventDefault();
    input.focus();
  }
});
// On a phone the list of pages is folded until it is asked for.
if (window.matchMedia("(max-width: 800px)").matches) document.getElementById("menu").open = false;

for (const block of document.querySelectorAll(".highlight")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  block.append(button);
}
