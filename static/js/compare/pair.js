// The compare page: the pair on screen, how it is laid out, and what the page says beside it.
//
// Without these scripts the page is one of plain forms; with them the next pair is there before it is asked for, every action
// has a key, and no answer is lost when the server is away. Whenever a pair has come onto the screen, "pairshown" is fired.
"use strict";
window.Prefloop = window.Prefloop || {};

(() => {
  const page = document.querySelector(".compare");
  const byId = (id) => document.getElementById(id);
  const now = () => byId("pair");
  const idOf = (pair) => pair.dataset.assignment;
  const toggles = { raw: false, difference: false };

  const screen = {
    page,
    byId,
    now,
    idOf,
    busy: false,
    source: now().outerHTML, // of the pair on screen, as it came
    shownAt: 0,
  };

  // -- what the page says --------------------------------------------------------------------------------
  screen.say = (text) => {
    const line = byId("said");
    if (line) line.textContent = text;
  };

  screen.announce = (text) => {
    byId("live").textContent = "";
    requestAnimationFrame(() => (byId("live").textContent = text));
  };

  screen.tell = (text) => {
    const box = byId("word");
    box.querySelector("[data-text]").textContent = text;
    box.hidden = !text;
  };

  // What was expected of a known answer, until it is closed or the next one comes. The markup is the server's.
  screen.showFeedback = (html) => {
    const box = byId("feedback");
    box.querySelector("[data-text]").innerHTML = html;
    box.hidden = false;
    screen.announce(box.querySelector("[data-text]").textContent);
  };

  screen.dismissFeedback = () => {
    const box = byId("feedback");
    if (box.hidden) return false;
    if (box.contains(document.activeElement)) byId("prompt-title").focus();
    box.hidden = true;
    return true;
  };

  screen.showProgress = (progress) => {
    for (const place of document.querySelectorAll("[data-progress]")) place.textContent = progress[place.dataset.progress];
  };

  screen.setBusy = (value) => {
    screen.busy = value;
    page.classList.toggle("busy", value);
    page.setAttribute("aria-busy", String(value));
  };

  // -- showing a pair ------------------------------------------------------------------------------------
  screen.parse = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.querySelector("#pair");
  };

  screen.show = (html) => {
    const said = byId("said")?.textContent ?? "";
    screen.source = html;
    now().replaceWith(screen.parse(html));
    screen.prepare();
    screen.say(said);
    window.scrollTo(0, 0);
    byId("prompt-title").focus({ preventScroll: true });
  };

  screen.prepare = () => {
    const pair = now();
    screen.shownAt = performance.now();
    Prefloop.edits.restore(pair);
    for (const tool of pair.querySelectorAll(".pair-tools, [data-edit], [data-why], [data-polling]")) tool.hidden = false;
    foldPrompt(pair);
    applyToggles();
    document.dispatchEvent(new CustomEvent("pairshown"));
  };

  function foldPrompt(pair) {
    const body = pair.querySelector(".prompt-body");
    if (!body || body.scrollHeight <= Math.max(220, 0.36 * window.innerHeight)) return;
    pair.querySelector("[data-fold]").hidden = false;
    screen.setFold(pair, true);
  }

  screen.setFold = (pair, folded) => {
    const prompt = pair.querySelector(".prompt");
    const button = pair.querySelector("[data-fold]");
    const isTalk = pair.querySelectorAll(".turn").length > 1; // of a conversation its end is what matters
    prompt.classList.toggle("folded", folded);
    prompt.classList.toggle("folded-end", folded && isTalk);
    button.setAttribute("aria-expanded", String(!folded));
    button.querySelector("span").textContent = folded ? "Whole prompt" : "Fold prompt";
    const body = pair.querySelector(".prompt-body");
    body.scrollTop = folded && isTalk ? body.scrollHeight : 0;
  };

  screen.toggle = (name) => {
    toggles[name] = !toggles[name];
    applyToggles();
  };

  function applyToggles() {
    const pair = now();
    for (const [name, on] of Object.entries(toggles)) {
      pair.querySelector(`[data-toggle=${name}]`)?.setAttribute("aria-pressed", String(on));
    }
    for (const kind of ["rendered", "raw"]) {
      const sides = pair.querySelectorAll(`[data-${kind}]`);
      for (const side of sides) {
        side.hidden = (kind === "raw") !== toggles.raw;
        Prefloop.unmarkDifferences(side);
      }
      if (sides.length === 2 && toggles.difference && !sides[0].hidden) Prefloop.markDifferences(...sides);
    }
    document.dispatchEvent(new CustomEvent("prose"));
  }

  Prefloop.screen = screen;
})();
