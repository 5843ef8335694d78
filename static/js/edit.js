// Editing the better answer: the text area takes the place of the answer on its side; what differs is shown below it.
// The compare page asks `textOf` when a side is chosen. An edit that is empty, or as the answer was, is none.
"use strict";
window.Prefloop = window.Prefloop || {};

(() => {
  const articleOf = (pair, side) => pair.querySelector(`.answer-${side}`);
  const areaOf = (pair, side) => articleOf(pair, side)?.querySelector("[data-edit-text]");
  const rawOf = (pair, side) => articleOf(pair, side).querySelector("[data-raw]").textContent;
  const plain = (text) => text.replace(/\r\n?/g, "\n").trim();

  const textOf = (pair, side) => {
    const area = areaOf(pair, side);
    if (!area || area.closest("[data-editor]").hidden) return "";
    return plain(area.value) === plain(rawOf(pair, side)) ? "" : plain(area.value);
  };

  // Whether it can be: a project may stop having answers edited.
  const open = (pair, side, { text = null, focus = true } = {}) => {
    const area = areaOf(pair, side);
    if (!area) return false;
    const editor = area.closest("[data-editor]");
    if (editor.hidden) area.value = text ?? (area.value || rawOf(pair, side));
    editor.hidden = false;
    articleOf(pair, side).classList.add("editing");
    showChanges(pair, side);
    if (focus) area.focus();
    return true;
  };

  const discard = (pair, side) => {
    const area = areaOf(pair, side);
    area.value = "";
    area.closest("[data-editor]").hidden = true;
    articleOf(pair, side).classList.remove("editing");
  };

  const showChanges = (pair, side) => {
    const article = articleOf(pair, side);
    const shown = article.querySelector("[data-edit-changes]");
    const text = textOf(pair, side);
    shown.hidden = !text;
    if (!text) return;
    const before = document.createElement("div");
    before.textContent = rawOf(pair, side);
    shown.textContent = text;
    Prefloop.markDifferences(before, shown);
  };

  // What was edited before (an answer that was taken back) comes with the pair.
  const restore = (pair) => {
    for (const area of pair.querySelectorAll("[data-edit-text]")) {
      if (area.value) open(pair, area.dataset.editText, { text: area.value, focus: false });
    }
  };

  document.addEventListener("input", (event) => {
    const side = event.target.dataset?.editText;
    if (side) showChanges(event.target.closest(".pair"), side);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-edit], [data-discard-edit]");
    if (!button) return;
    const pair = button.closest(".pair");
    if (button.dataset.edit) open(pair, button.dataset.edit);
    else discard(pair, button.dataset.discardEdit);
  });

  Prefloop.edits = { open, discard, restore, textOf };
})();
