// The compare page: time on task, and a break now and then. Both count only while the page is visible.
"use strict";
(() => {
  const { page, byId } = Prefloop.screen;
  const isVisible = () => document.visibilityState === "visible";

  // -- time on task --------------------------------------------------------------------------------------
  const clock = { spent: 0, since: null };
  const tickOn = () => (clock.since ??= performance.now());
  const tickOff = () => {
    if (clock.since !== null) clock.spent += performance.now() - clock.since;
    clock.since = null;
  };
  document.addEventListener("pairshown", () => {
    clock.spent = 0;
    clock.since = isVisible() ? performance.now() : null;
  });
  function secondsSpent() {
    const running = clock.since === null ? 0 : performance.now() - clock.since;
    return ((clock.spent + running) / 1000).toFixed(1);
  }

  // -- a break: counted over pairs and reloads -------------------------------------------------------------
  const BREAK_SECONDS = 5 * 60; // away for as long is a break
  const breakAfter = 60 * Number(page.dataset.breakMinutes); // seconds; 0: never
  const name = `prefloop.worked.${page.dataset.person}`;
  const worked = { seconds: 0, at: Date.now() };
  try {
    Object.assign(worked, JSON.parse(sessionStorage.getItem(name) ?? "{}"));
  } catch {
    // It is counted from now.
  }

  function save() {
    worked.at = Date.now();
    try {
      sessionStorage.setItem(name, JSON.stringify(worked));
    } catch {
      // It lasts for this page.
    }
  }

  // `returned`: the time since it was last counted was spent elsewhere.
  function countWork({ returned = false } = {}) {
    const passed = (Date.now() - worked.at) / 1000;
    if (passed >= BREAK_SECONDS) worked.seconds = 0;
    else if (!returned) worked.seconds += Math.max(0, passed);
    save();
    if (breakAfter && worked.seconds >= breakAfter && byId("break").hidden) {
      const minutes = Math.round(worked.seconds / 60);
      byId("break").querySelector("[data-text]").textContent = `You have worked for ${minutes === 1 ? "a minute" : `${minutes} minutes`}. A few minutes away from the screen keep your judgement fresh.`;
      byId("break").hidden = false;
    }
    if (worked.seconds < breakAfter) byId("break").hidden = true;
  }

  function startAfresh() {
    worked.seconds = 0;
    save();
    byId("break").hidden = true;
    byId("prompt-title").focus();
  }

  document.addEventListener("visibilitychange", () => {
    (isVisible() ? tickOn : tickOff)();
    countWork({ returned: isVisible() });
  });
  countWork({ returned: true });
  setInterval(() => isVisible() && countWork(), 5000);

  Prefloop.time = { secondsSpent, startAfresh };
})();
