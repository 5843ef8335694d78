// The compare page: what each key and each click does, and how the page starts.
"use strict";
(() => {
  const { screen, answers, time } = Prefloop;
  const { page, byId, now, say } = screen;

  // -- keys and clicks -----------------------------------------------------------------------------------
  const keysAreOn = () => byId("keys-on").checked;

  const ACTIONS = {
    u: answers.takeBack,
    s: () => openSkip(true),
    d: () => screen.toggle("difference"),
    r: () => screen.toggle("raw"),
    p: () => now().querySelector("[data-fold]:not([hidden])")?.click(),
    w: () => answers.openWhy(),
    e: (event) => Prefloop.edits.open(now(), event.shiftKey ? "b" : "a"),
    f: () => answers.flagBoxes()[0]?.focus(),
    g: Prefloop.openGuidelines,
    "?": () => openDialog("help"),
  };

  // The keys of the answers stand on their buttons: they depend on the pair's scale.
  function answerBy(key) {
    const keysOf = (button) => button.getAttribute("aria-keyshortcuts").toLowerCase().split(" ");
    const button = [...now().querySelectorAll(".choice")].find((each) => keysOf(each).includes(key));
    return button ? () => answers.choose(button, "key") : null;
  }

  function openDialog(id) {
    const dialog = byId(id);
    if (dialog.open) dialog.close();
    else {
      dialog.showModal();
      document.dispatchEvent(new CustomEvent("prose"));
    }
  }

  function openSkip(open) {
    const menu = byId("skip");
    if (!menu) return;
    menu.open = open;
    if (open) menu.querySelector("button").focus();
    else menu.querySelector("summary").focus();
  }

  // Among the flags, numbers and Enter tick a flag and Esc leaves; letters mean what they mean everywhere.
  function keyAmongFlags(box, key) {
    const boxes = answers.flagBoxes();
    const meant = key === "enter" ? box : /^[1-9]$/.test(key) ? boxes[Number(key) - 1] : null;
    if (meant) meant.click();
    else if (key === "escape") byId("prompt-title").focus();
    else if (key === "arrowright" || key === "arrowleft") {
      boxes[(boxes.indexOf(box) + (key === "arrowright" ? 1 : -1) + boxes.length) % boxes.length].focus();
    } else return /^[0-9]$/.test(key); // never an answer
    return true;
  }

  function isTyping(target) {
    return target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") !== null;
  }

  // In a box that scrolls sideways (a wide table, code) the arrows belong to the box.
  function scrollsSideways(target) {
    for (let box = target; box && box !== page; box = box.parentElement) {
      if (box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible") return true;
    }
    return false;
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.repeat) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape" && event.target.matches("[data-edit-text]")) byId("prompt-title").focus();
      if (event.target.id !== "rationale") return;
      if (event.key === "Escape") byId("prompt-title").focus();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) answers.sendWanted();
      return;
    }
    const key = event.key.toLowerCase();
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !(key === "g" && dialog.id === "guidelines") && !(key === "?" && dialog.id === "help")) return;
    const undoKey = key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    if (undoKey) {
      event.preventDefault();
      answers.takeBack();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !keysAreOn()) return;
    const menu = byId("skip");
    if (menu?.open) {
      const reasons = [...menu.querySelectorAll("button")];
      if (key === "escape" || key === "s") openSkip(false);
      else if (/^[0-9]$/.test(key)) (key === "0" ? reasons.at(-1) : reasons.slice(0, -1)[Number(key) - 1])?.click();
      else if (key === "arrowdown" || key === "arrowup") {
        const at = reasons.indexOf(document.activeElement) + (key === "arrowdown" ? 1 : -1);
        reasons[(at + reasons.length) % reasons.length].focus();
      } else return;
      event.preventDefault();
      return;
    }
    if (event.target.matches(".flags input") && keyAmongFlags(event.target, key)) {
      event.preventDefault();
      return;
    }
    if (key === "escape" && screen.dismissFeedback()) return;
    const action = Object.hasOwn(ACTIONS, key) ? ACTIONS[key] : answerBy(key);
    if (!action || (key.startsWith("arrow") && scrollsSideways(event.target))) return;
    event.preventDefault();
    action(event);
  });

  document.addEventListener("submit", (event) => {
    if (!page.contains(event.target)) return;
    if (event.target.id === "judge" && !event.submitter.matches(".choice")) say("Choose one of the answers.");
    else if (event.target.id === "judge") answers.choose(event.submitter, event.submitter.matches(":focus-visible") ? "key" : "pointer");
    else if (event.target.id === "undo") answers.takeBack();
    else if (event.target.matches(".skip-form")) answers.skipPair(event.submitter.value);
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-toggle], [data-fold], [data-why], [data-open], [data-break-over], [data-dismiss]");
    const menu = byId("skip");
    if (menu?.open && !menu.contains(event.target)) menu.open = false;
    if (!target) return;
    if ("dismiss" in target.dataset) screen.dismissFeedback();
    else if (target.dataset.toggle) screen.toggle(target.dataset.toggle);
    else if ("fold" in target.dataset) screen.setFold(now(), target.getAttribute("aria-expanded") === "true");
    else if ("why" in target.dataset) answers.openWhy();
    else if ("breakOver" in target.dataset) time.startAfresh();
    else {
      event.preventDefault();
      if (target.dataset.open === "guidelines") Prefloop.openGuidelines();
      else openDialog(target.dataset.open);
    }
  });

  byId("keys-on").addEventListener("change", (event) => {
    try {
      localStorage.setItem("prefloop.keys", event.target.checked ? "on" : "off");
    } catch {
      // It lasts for this page.
    }
  });

  Prefloop.openDialog = openDialog;

  // -- start: what an earlier visit could not send goes first --------------------------------------------
  (async () => {
    const { outbox, showBanner } = answers;
    page.classList.add("scripted");
    try {
      byId("keys-on").checked = localStorage.getItem("prefloop.keys") !== "off";
    } catch {
      // Keys are on.
    }
    if (outbox.size) {
      screen.setBusy(true);
      const stale = outbox.holds(screen.idOf(now())); // already judged here, as far as its annotator is concerned
      await outbox.flush();
      showBanner();
      if (stale) return Prefloop.supply.advance("Your kept answers have been sent. Next comparison.");
      screen.setBusy(false);
    }
    screen.prepare();
  })();
})();
