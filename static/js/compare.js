// The compare page. Without this script it is a page of plain forms; with it, the next pair is there before it is asked
// for, every action has a key, and no answer is lost when the server is away (outbox.js).
"use strict";
(() => {
  const page = document.querySelector(".compare");
  const { person, project, next, judge, skip, undo, renew, guidelines, read } = page.dataset;
  const byId = (id) => document.getElementById(id);
  const pairNow = () => byId("pair");
  const idOf = (pair) => pair.dataset.assignment;
  const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const SETTLE_MS = { key: 250, pointer: 500 }; // the second half of a double click must not judge the pair that has just come

  let source = pairNow().outerHTML; // of the pair on screen, as it came
  let ahead = []; // pairs fetched before they are needed
  let shownAt = 0;
  let busy = false;
  let prefetching = null;
  let polling = 0;
  let wanting = null; // the answer that was chosen and wants a reason first
  const refusedEdits = new Map(); // the same of edited answers
  const refused = new Map(); // what was written with answers that were refused, by assignment
  const toggles = { raw: false, difference: false };

  const outbox = new Prefloop.Outbox({
    person,
    project,
    addresses: { judge, skip },
    onSettled(item, { outcome, body }) {
      if (outcome === "ok") {
        if (body.progress) showProgress(body.progress);
        if (body.pair) keepAhead(body.pair, item.fields.beside);
        if (body.feedback) showFeedback(body.feedback);
        if (body.already) {
          say("");
          tell(body.message); // another answer stands
        } else if (item.kind === "judge") say(`Saved: ${item.label}`);
      } else {
        if (item.fields.rationale) refused.set(item.fields.assignment, item.fields.rationale);
        const { assignment, choice: chosen, edited_text: text } = item.fields;
        if (text) refusedEdits.set(assignment, { side: chosen[0], text });
        tell(`Your answer “${item.label}” was not recorded. ${body?.message ?? ""}`);
      }
    },
    onChange: showBanner,
  });

  // -- what the page says --------------------------------------------------------------------------------
  function say(text) {
    const line = byId("said");
    if (line) line.textContent = text;
  }

  function announce(text) {
    byId("live").textContent = "";
    requestAnimationFrame(() => (byId("live").textContent = text));
  }

  function tell(text) {
    const box = byId("word");
    box.querySelector("[data-text]").textContent = text;
    box.hidden = !text;
  }

  // What was expected of a known answer, until it is closed or the next one comes. The markup is the server's.
  function showFeedback(html) {
    const box = byId("feedback");
    box.querySelector("[data-text]").innerHTML = html;
    box.hidden = false;
    announce(box.querySelector("[data-text]").textContent);
  }

  function dismissFeedback() {
    const box = byId("feedback");
    if (box.hidden) return false;
    if (box.contains(document.activeElement)) byId("prompt-title").focus();
    box.hidden = true;
    return true;
  }

  function showBanner(trouble = outbox.trouble) {
    const banner = byId("outbox-banner");
    const waiting = outbox.size;
    const reason = {
      away: "The server cannot be reached. ",
      signed_out: "You are signed out, or may no longer judge here. ",
      other_person: "Somebody else is signed in in this browser. ",
    }[trouble];
    banner.hidden = !reason;
    if (!reason) return;
    const kept = waiting ? `Your answers are kept in this browser: ${waiting} waiting. ` : "";
    const then = trouble === "away" ? "Trying again …" : "";
    banner.querySelector("[data-text]").textContent = reason + kept + then;
    banner.querySelector("[data-sign-in-link]").hidden = trouble === "away";
  }

  function showProgress(progress) {
    for (const place of document.querySelectorAll("[data-progress]")) place.textContent = progress[place.dataset.progress];
  }

  function setBusy(value) {
    busy = value;
    page.classList.toggle("busy", value);
    page.setAttribute("aria-busy", String(value));
  }

  // -- time on task: while the page is visible -----------------------------------------------------------
  const clock = { spent: 0, since: null };
  const tickOn = () => (clock.since ??= performance.now());
  const tickOff = () => {
    if (clock.since !== null) clock.spent += performance.now() - clock.since;
    clock.since = null;
  };
  function restartClock() {
    clock.spent = 0;
    clock.since = document.visibilityState === "visible" ? performance.now() : null;
  }
  function secondsSpent() {
    const running = clock.since === null ? 0 : performance.now() - clock.since;
    return ((clock.spent + running) / 1000).toFixed(1);
  }

  // -- a break now and then: counted over pairs and reloads, while the page is visible ----------------------
  const BREAK_SECONDS = 5 * 60; // away for as long is a break
  const breakAfter = 60 * Number(page.dataset.breakMinutes); // seconds; 0: never
  const worked = {
    name: `prefloop.worked.${person}`,
    seconds: 0,
    at: Date.now(),
    load() {
      try {
        Object.assign(this, JSON.parse(sessionStorage.getItem(this.name) ?? "{}"));
      } catch {
        // It is counted from now.
      }
    },
    save() {
      try {
        sessionStorage.setItem(this.name, JSON.stringify({ seconds: this.seconds, at: this.at }));
      } catch {
        // It lasts for this page.
      }
    },
  };

  // `returned`: the time since it was last counted was spent elsewhere.
  function countWork({ returned = false } = {}) {
    const passed = (Date.now() - worked.at) / 1000;
    if (passed >= BREAK_SECONDS) worked.seconds = 0;
    else if (!returned) worked.seconds += Math.max(0, passed);
    worked.at = Date.now();
    worked.save();
    if (breakAfter && worked.seconds >= breakAfter && byId("break").hidden) {
      const minutes = Math.round(worked.seconds / 60);
      byId("break").querySelector("[data-text]").textContent = `You have worked for ${minutes === 1 ? "a minute" : `${minutes} minutes`}. A few minutes away from the screen keep your judgement fresh.`;
      byId("break").hidden = false;
    }
    if (worked.seconds < breakAfter) byId("break").hidden = true;
  }

  function startAfresh() {
    worked.seconds = 0;
    worked.at = Date.now();
    worked.save();
    byId("break").hidden = true;
    byId("prompt-title").focus();
  }

  // -- showing a pair ------------------------------------------------------------------------------------
  function parse(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.querySelector("#pair");
  }

  function show(html) {
    const said = byId("said")?.textContent ?? "";
    source = html;
    pairNow().replaceWith(parse(html));
    prepare();
    say(said);
    window.scrollTo(0, 0);
    byId("prompt-title").focus({ preventScroll: true });
  }

  function prepare() {
    const pair = pairNow();
    shownAt = performance.now();
    wanting = null;
    restartClock();
    const written = refused.get(idOf(pair));
    if (written && rationaleNow() === "") {
      openWhy({ focus: false });
      byId("rationale").value = written;
    }
    Prefloop.edits.restore(pair);
    const edit = refusedEdits.get(idOf(pair));
    if (edit) Prefloop.edits.open(pair, edit.side, { text: edit.text, focus: false });
    for (const tool of pair.querySelectorAll(".pair-tools, [data-edit], [data-why], [data-polling]")) tool.hidden = false;
    foldPrompt(pair);
    applyToggles();
    tellOfGuidelines();
    if (idOf(pair)) prefetch();
    else poll();
  }

  function foldPrompt(pair) {
    const body = pair.querySelector(".prompt-body");
    if (!body || body.scrollHeight <= Math.max(220, 0.36 * window.innerHeight)) return;
    pair.querySelector("[data-fold]").hidden = false;
    setFold(pair, true);
  }

  function setFold(pair, folded) {
    const prompt = pair.querySelector(".prompt");
    const button = pair.querySelector("[data-fold]");
    const isTalk = pair.querySelectorAll(".turn").length > 1; // of a conversation its end is what matters
    prompt.classList.toggle("folded", folded);
    prompt.classList.toggle("folded-end", folded && isTalk);
    button.setAttribute("aria-expanded", String(!folded));
    button.querySelector("span").textContent = folded ? "Whole prompt" : "Fold prompt";
    const body = pair.querySelector(".prompt-body");
    body.scrollTop = folded && isTalk ? body.scrollHeight : 0;
  }

  function applyToggles() {
    const pair = pairNow();
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

  // -- the guidelines: each pair says which edition is the newest ------------------------------------------
  const editionHere = () => Number(byId("guidelines-text").dataset.edition);

  function tellOfGuidelines() {
    if (Number(pairNow().dataset.guidelines) <= editionHere() || !byId("news").hidden) return;
    byId("news").querySelector("[data-text]").textContent = "The guidelines have changed since you read them.";
    byId("news").hidden = false;
  }

  async function openGuidelines() {
    openDialog("guidelines");
    if (!byId("guidelines").open || byId("news").hidden) return;
    if (Number(pairNow().dataset.guidelines) > editionHere()) {
      try {
        const response = await fetch(guidelines, { headers: { "HX-Request": "true" }, redirect: "error" });
        if (!response.ok) throw new Error(response.statusText);
        const holder = document.createElement("template");
        holder.innerHTML = await response.text();
        byId("guidelines-text").replaceWith(holder.content.querySelector("#guidelines-text"));
        document.dispatchEvent(new CustomEvent("prose"));
      } catch {
        return; // the old ones are on screen; the bar stays
      }
    }
    const { outcome } = await Prefloop.post(read, { person, edition: editionHere() });
    if (outcome === "ok") byId("news").hidden = true;
  }

  // -- getting pairs -------------------------------------------------------------------------------------
  // The next pair as HTML, or null when the server gives none now. Only when nothing waits in the outbox: a pair whose
  // answer has not arrived would be handed out again.
  async function fetchPair(beside = "") {
    const { outcome, body } = await Prefloop.post(next, { person, beside }, { html: true });
    showBanner(outcome === "ok" || outcome === "refused" ? outbox.trouble : outcome);
    if (outcome !== "ok") return null;
    const id = idOf(parse(body));
    return id && (id === beside || outbox.holds(id)) ? null : body;
  }

  async function prefetch() {
    prefetching ??= (async () => {
      await outbox.drained();
      const beside = idOf(pairNow());
      if (!beside || ahead.length) return;
      const html = await fetchPair(beside);
      if (html && idOf(parse(html)) && beside === idOf(pairNow()) && !ahead.length) ahead.push(html);
    })().finally(() => (prefetching = null));
    return prefetching;
  }

  // The pair that came with the answer to a judgement: it follows the one that it was asked for beside. Of an answer that was
  // kept since an earlier visit, that one may not be on the screen; then the queue is asked in its order.
  function keepAhead(html, beside) {
    const id = idOf(parse(html));
    if (beside && beside !== idOf(pairNow())) return;
    if (!ahead.length && id !== idOf(pairNow()) && !outbox.holds(id)) ahead.push(html);
  }

  async function advance(words) {
    announce(words);
    if (!ahead.length) {
      setBusy(true);
      await prefetching;
      for (let tries = 0; !ahead.length; tries += 1) {
        await outbox.drained();
        if (ahead.length) break;
        const html = await fetchPair();
        if (html) ahead.push(html);
        else await sleep(tries ? Math.min(20, tries * 2) : 0.1); // the answer may only just have arrived
      }
      setBusy(false);
    }
    show(ahead.shift());
  }

  async function poll() {
    const mine = ++polling;
    for (let seconds = 4; ; seconds = Math.min(30, seconds * 1.4)) {
      await sleep(seconds);
      if (mine !== polling || idOf(pairNow()) || busy) return;
      if (document.visibilityState !== "visible") continue;
      await outbox.drained();
      const html = await fetchPair();
      if (mine !== polling || !html || idOf(pairNow())) continue;
      const arrived = parse(html);
      if (idOf(arrived)) {
        announce("A comparison has arrived.");
        show(html);
        return;
      }
      pairNow().querySelector(".empty > p").textContent = arrived.querySelector(".empty > p").textContent;
    }
  }

  // -- what an annotator does ----------------------------------------------------------------------------
  function choose(button, by) {
    if (busy) return;
    if (performance.now() - shownAt < SETTLE_MS[by]) return say("This pair has only just come. Choose again.");
    const choice = button.value; // on a graded scale with its strength: "a3"
    const label = button.dataset.label;
    const rationale = rationaleNow();
    if ("needsWhy" in button.dataset && !rationale.trim()) return askWhy(button);
    const flags = flagBoxes().filter((box) => box.checked).map((box) => box.value).join("\n");
    const edited = ["a", "b"].find((each) => Prefloop.edits.textOf(pairNow(), each));
    const side = ["a", "b"].find((each) => button.matches(`.choice-${each}`));
    const edited_text = side ? Prefloop.edits.textOf(pairNow(), side) : "";
    if (edited && !edited_text) return say(`You have edited ${edited.toUpperCase()}: choose it, or discard the edit.`);
    const given = { choice, seconds: secondsSpent(), rationale, flags, edited_text };
    const fields = { assignment: idOf(pairNow()), person, key: Prefloop.uuid(), ...given };
    // The answer brings the pair after the one that is shown next: one request in the place of two.
    Object.assign(fields, { then: "next", beside: ahead.length ? idOf(parse(ahead[0])) : "" });
    tell("");
    say(`Sending: ${label}`);
    outbox.add("judge", fields, label);
    advance("Saved. Next comparison.");
  }

  function skipPair(reason) {
    if (busy || !idOf(pairNow())) return;
    tell("");
    say("Skipped");
    outbox.add("skip", { assignment: idOf(pairNow()), person, reason }, "Skip");
    advance("Skipped. Next comparison.");
  }

  async function takeBack() {
    if (busy) return;
    setBusy(true);
    await outbox.flush();
    if (outbox.size) {
      setBusy(false);
      return tell("Your last answer has not reached the server yet. It can be taken back when the server answers again.");
    }
    await prefetching;
    const { outcome, body } = await Prefloop.post(undo, { person });
    setBusy(false);
    if (outcome === "ok") {
      const html = body.pair;
      const onScreen = idOf(pairNow()); // comes next, unless it is the one taken back; the server has released the one after it
      ahead = onScreen && onScreen !== idOf(parse(html)) ? [source] : [];
      tell("");
      showProgress(body.progress);
      show(html);
      const { before } = pairNow().dataset;
      say(before ? `Taken back: ${before}` : "Taken back");
      announce(`Your last answer${before ? `, ${before},` : ""} is taken back. Judge this pair again.`);
    } else if (outcome === "refused") tell(body.message);
    else showBanner(outcome);
  }

  async function keepLeases() {
    if (document.visibilityState !== "visible" || busy) return;
    const current = idOf(pairNow());
    const leased = [...ahead.map((html) => idOf(parse(html))), current].filter(Boolean); // the one on screen last: then all is known
    for (const assignment of leased) {
      const { outcome, body } = await Prefloop.post(renew, { person, assignment });
      if (outcome !== "ok" || body.held) continue;
      ahead = ahead.filter((html) => idOf(parse(html)) !== assignment);
      if (assignment === idOf(pairNow()) && !busy) {
        tell(`${body.message} Here is the next one.`);
        return advance("Next comparison.");
      }
    }
    prefetch();
  }

  // -- keys and clicks -----------------------------------------------------------------------------------
  const keysAreOn = () => byId("keys-on").checked;

  const ACTIONS = {
    u: takeBack,
    s: () => openSkip(true),
    d: () => toggle("difference"),
    r: () => toggle("raw"),
    p: () => pairNow().querySelector("[data-fold]:not([hidden])")?.click(),
    w: openWhy,
    e: (event) => Prefloop.edits.open(pairNow(), event.shiftKey ? "b" : "a"),
    f: () => flagBoxes()[0]?.focus(),
    g: openGuidelines,
    "?": () => openDialog("help"),
  };

  // The keys of the answers stand on their buttons: they depend on the pair's scale.
  function answerBy(key) {
    const keysOf = (button) => button.getAttribute("aria-keyshortcuts").toLowerCase().split(" ");
    const button = [...pairNow().querySelectorAll(".choice")].find((each) => keysOf(each).includes(key));
    return button ? () => choose(button, "key") : null;
  }

  function toggle(name) {
    toggles[name] = !toggles[name];
    applyToggles();
  }

  function openDialog(id) {
    const dialog = byId(id);
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  function openSkip(open) {
    const menu = byId("skip");
    if (!menu) return;
    menu.open = open;
    if (open) menu.querySelector("button").focus();
    else menu.querySelector("summary").focus();
  }

  const flagBoxes = () => [...pairNow().querySelectorAll(".flags input")];

  // Among the flags, numbers and Enter tick a flag and Esc leaves; letters mean what they mean everywhere.
  function keyAmongFlags(box, key) {
    const boxes = flagBoxes();
    const meant = key === "enter" ? box : /^[1-9]$/.test(key) ? boxes[Number(key) - 1] : null;
    if (meant) meant.click();
    else if (key === "escape") byId("prompt-title").focus();
    else if (key === "arrowright" || key === "arrowleft") {
      boxes[(boxes.indexOf(box) + (key === "arrowright" ? 1 : -1) + boxes.length) % boxes.length].focus();
    } else return /^[0-9]$/.test(key); // never an answer
    return true;
  }

  const rationaleNow = () => byId("rationale")?.value ?? "";

  function openWhy({ focus = true } = {}) {
    const box = pairNow().querySelector(".why");
    if (!box) return;
    box.removeAttribute("data-folded");
    if (focus) byId("rationale").focus();
  }

  // The answer waits until its reason is written; Ctrl Enter, or the answer once more, sends both.
  function askWhy(button) {
    wanting = button;
    const error = byId("rationale-error");
    error.textContent = `“${button.dataset.label}” wants a reason. Write it, then choose it again (or Ctrl Enter).`;
    error.hidden = false;
    byId("rationale").setAttribute("aria-describedby", "rationale-error");
    openWhy();
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
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && wanting && rationaleNow().trim()) choose(wanting, "key");
      return;
    }
    const key = event.key.toLowerCase();
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !(key === "g" && dialog.id === "guidelines") && !(key === "?" && dialog.id === "help")) return;
    const undoKey = key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    if (undoKey) {
      event.preventDefault();
      takeBack();
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
    if (key === "escape" && dismissFeedback()) return;
    const action = Object.hasOwn(ACTIONS, key) ? ACTIONS[key] : answerBy(key);
    if (!action || (key.startsWith("arrow") && scrollsSideways(event.target))) return;
    event.preventDefault();
    action(event);
  });

  document.addEventListener("submit", (event) => {
    if (!page.contains(event.target)) return;
    if (event.target.id === "judge" && !event.submitter.matches(".choice")) say("Choose one of the answers.");
    else if (event.target.id === "judge") choose(event.submitter, event.submitter.matches(":focus-visible") ? "key" : "pointer");
    else if (event.target.id === "undo") takeBack();
    else if (event.target.matches(".skip-form")) skipPair(event.submitter.value);
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-toggle], [data-fold], [data-why], [data-open], [data-break-over], [data-dismiss]");
    const menu = byId("skip");
    if (menu?.open && !menu.contains(event.target)) menu.open = false;
    if (!target) return;
    if ("dismiss" in target.dataset) dismissFeedback();
    else if (target.dataset.toggle) toggle(target.dataset.toggle);
    else if ("fold" in target.dataset) setFold(pairNow(), target.getAttribute("aria-expanded") === "true");
    else if ("why" in target.dataset) openWhy();
    else if ("breakOver" in target.dataset) startAfresh();
    else {
      event.preventDefault();
      if (target.dataset.open === "guidelines") openGuidelines();
      else openDialog(target.dataset.open);
    }
  });

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") {
      tickOn();
      countWork({ returned: true });
      keepLeases();
    } else {
      tickOff();
      countWork();
    }
  });

  byId("keys-on").addEventListener("change", (event) => {
    try {
      localStorage.setItem("prefloop.keys", event.target.checked ? "on" : "off");
    } catch {
      // It lasts for this page.
    }
  });

  // -- start: what an earlier visit could not send goes first --------------------------------------------
  (async () => {
    page.classList.add("scripted");
    try {
      byId("keys-on").checked = localStorage.getItem("prefloop.keys") !== "off";
    } catch {
      // Keys are on.
    }
    worked.load();
    countWork({ returned: true });
    setInterval(() => document.visibilityState === "visible" && countWork(), 5000);
    setInterval(keepLeases, Number(page.dataset.renewSeconds) * 1000);
    if (outbox.size) {
      setBusy(true);
      const stale = outbox.holds(idOf(pairNow())); // already judged here, as far as its annotator is concerned
      await outbox.flush();
      showBanner();
      if (stale) return advance("Your kept answers have been sent. Next comparison.");
      setBusy(false);
    }
    prepare();
  })();
})();
