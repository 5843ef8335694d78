// Marks the words in which two rendered answers differ: the longest common subsequence of their words stays unmarked.
// It wraps text nodes in <mark>; no markup is ever made from text.
"use strict";
window.Prefloop = window.Prefloop || {};

(() => {
  const WORD = /[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;
  const MOST_CELLS = 9_000_000;

  const wordsOf = (root) => {
    const words = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      for (const match of node.data.matchAll(WORD)) {
        words.push({ node, start: match.index, end: match.index + match[0].length, text: match[0], common: false });
      }
    }
    return words;
  };

  const matchPair = (a, b) => {
    let start = 0;
    while (start < a.length && start < b.length && a[start].text === b[start].text) start += 1;
    let aEnd = a.length;
    let bEnd = b.length;
    while (aEnd > start && bEnd > start && a[aEnd - 1].text === b[bEnd - 1].text) {
      aEnd -= 1;
      bEnd -= 1;
    }
    for (let i = 0; i < start; i += 1) a[i].common = b[i].common = true;
    for (let i = aEnd; i < a.length; i += 1) a[i].common = true;
    for (let i = bEnd; i < b.length; i += 1) b[i].common = true;
    const [n, m] = [aEnd - start, bEnd - start];
    if (n * m > MOST_CELLS) return matchSets(a.slice(start, aEnd), b.slice(start, bEnd));
    // lengths[i][j]: the longest common subsequence of a[i…] and b[j…]
    const width = m + 1;
    const lengths = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i -= 1) {
      for (let j = m - 1; j >= 0; j -= 1) {
        lengths[i * width + j] =
          a[start + i].text === b[start + j].text
            ? lengths[(i + 1) * width + j + 1] + 1
            : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < n && j < m; ) {
      if (a[start + i].text === b[start + j].text) {
        a[start + i].common = b[start + j].common = true;
        i += 1;
        j += 1;
      } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
      else j += 1;
    }
  };

  // For very long answers: a word is common when the other answer has it at all.
  const matchSets = (a, b) => {
    const [inA, inB] = [a, b].map((words) => new Set(words.map((word) => word.text)));
    for (const word of a) word.common = inB.has(word.text);
    for (const word of b) word.common = inA.has(word.text);
  };

  // A comma that happens to be in both, between words that differ, says nothing: it is marked with them.
  const dropSpeckles = (words) => {
    for (let i = 1; i < words.length - 1; i += 1) {
      if (words[i].common && !/[\p{L}\p{N}_]/u.test(words[i].text) && !words[i - 1].common && !words[i + 1].common) {
        words[i].common = false;
      }
    }
  };

  const markRest = (words) => {
    dropSpeckles(words);
    const ranges = [];
    let open = null;
    for (const word of words) {
      if (word.common) open = null;
      else if (open && open.node === word.node) open.end = word.end;
      else ranges.push((open = { node: word.node, start: word.start, end: word.end }));
    }
    // From the back, so that offsets before stay true.
    for (const { node, start, end } of ranges.reverse()) {
      const piece = node.splitText(start);
      piece.splitText(end - start);
      const mark = document.createElement("mark");
      piece.replaceWith(mark);
      mark.append(piece);
    }
  };

  Prefloop.markDifferences = (one, other) => {
    const [a, b] = [wordsOf(one), wordsOf(other)];
    matchPair(a, b);
    markRest(a);
    markRest(b);
  };

  Prefloop.unmarkDifferences = (root) => {
    for (const mark of root.querySelectorAll("mark")) mark.replaceWith(...mark.childNodes);
    root.normalize();
  };
})();
