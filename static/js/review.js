// The review pages: keys for all that can be decided, and the toggles of the pair. Moving on is htmx (#review is replaced).
// Without this script both are pages of plain forms and links.
"use strict";
(() => {
  const toggles = { raw: false, difference: false };
  const root = () => document.getElementById("review");
  const find = (selector) => root()?.querySelector(selector);

  function prepare() {
    const tools = find(".pair-tools");
    if (tools) tools.hidden = false;
    for (const edited of root()?.querySelectorAll("[data-edit-of]") ?? []) {
      const before = document.createElement("div");
      before.textContent = find(`.answer-${edited.dataset.editOf} [data-raw]`).textContent;
      Prefloop.unmarkDifferences(edited);
      Prefloop.markDifferences(before, edited);
    }
    applyToggles();
  }

  function applyToggles() {
    if (!find(".answers")) return;
    for (const [name, on] of Object.entries(toggles)) find(`[data-toggle=${name}]`).setAttribute("aria-pressed", String(on));
    for (const kind of ["rendered", "raw"]) {
      const sides = root().querySelectorAll(`.answers [data-${kind}]`);
      for (const side of sides) {
        side.hidden = (kind === "raw") !== toggles.raw;
        Prefloop.unmarkDifferences(side);
      }
      if (sides.length === 2 && toggles.difference && !sides[0].hidden) Prefloop.markDifferences(...sides);
    }
    document.dispatchEvent(new CustomEvent("prose"));
  }

  function toggle(name) {
    toggles[name] = !toggles[name];
    applyToggles();
  }

  const press = (value) => () => find(`button[name=decide][value=${value}]`)?.click();

  const ACTIONS = {
    d: () => find(".answers") && toggle("difference"),
    r: () => find(".answers") && toggle("raw"),
    n: () => find("[data-next], [data-first]")?.click(),
    w: () => find("#why")?.focus(),
    m: press("more"),
    l: press("leave"),
  };

  function choose(key) {
    const keysOf = (radio) => radio.getAttribute("aria-keyshortcuts").toLowerCase().split(" ");
    const radio = [...(root()?.querySelectorAll("[name=choice]") ?? [])].find((each) => keysOf(each).includes(key));
    return radio ? () => (radio.click(), radio.focus()) : null;
  }

  const isTyping = (target) => target.closest("input:not([type=radio]), textarea, select") !== null;

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.repeat || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && find("#decide")) {
      event.preventDefault();
      press("settle")();
      return;
    }
    if (isTyping(event.target)) {
      if (event.key === "Escape") find("#review-title").focus();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const isArrow = key.startsWith("arrow") && event.target.matches("[type=radio]"); // they move among the answers
    const action = isArrow ? null : Object.hasOwn(ACTIONS, key) ? ACTIONS[key] : choose(key);
    if (!action) return;
    event.preventDefault();
    action();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-toggle]");
    if (button) toggle(button.dataset.toggle);
  });

  // A refusal comes as the page with what was typed and what is wrong: it is shown like any other.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if ([409, 422].includes(event.detail.xhr.status)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });

  document.addEventListener("htmx:afterSettle", () => {
    prepare();
    (find("[aria-invalid=true]") ?? find("#review-title"))?.focus({ preventScroll: true });
  });

  prepare();
})();
