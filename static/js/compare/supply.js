// The compare page: where pairs come from. The next one is fetched ahead, leases are kept while the page is visible, and an
// empty queue is looked at again.
"use strict";
(() => {
  const { page, now, idOf, parse, announce, tell } = Prefloop.screen;
  const { person, next, renew } = page.dataset;
  const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  let ahead = []; // pairs fetched before they are needed
  let prefetching = null;
  let polling = 0;

  // The next pair as HTML, or null when the server gives none now. Only when nothing waits in the outbox: a pair whose
  // answer has not arrived would be handed out again.
  async function fetchPair(beside = "") {
    const { outbox, showBanner } = Prefloop.answers;
    const { outcome, body } = await Prefloop.post(next, { person, beside }, { html: true });
    showBanner(outcome === "ok" || outcome === "refused" ? outbox.trouble : outcome);
    if (outcome !== "ok") return null;
    const id = idOf(parse(body));
    return id && (id === beside || outbox.holds(id)) ? null : body;
  }

  function prefetch() {
    prefetching ??= (async () => {
      await Prefloop.answers.outbox.drained();
      const beside = idOf(now());
      if (!beside || ahead.length) return;
      const html = await fetchPair(beside);
      if (html && idOf(parse(html)) && beside === idOf(now()) && !ahead.length) ahead.push(html);
    })().finally(() => (prefetching = null));
    return prefetching;
  }

  // The pair that came with the answer to a judgement: it follows the one that it was asked for beside. Of an answer that was
  // kept since an earlier visit, that one may not be on the screen; then the queue is asked in its order.
  function keepAhead(html, beside) {
    const id = idOf(parse(html));
    if (beside && beside !== idOf(now())) return;
    if (!ahead.length && id !== idOf(now()) && !Prefloop.answers.outbox.holds(id)) ahead.push(html);
  }

  async function advance(words) {
    announce(words);
    if (!ahead.length) {
      Prefloop.screen.setBusy(true);
      await prefetching;
      for (let tries = 0; !ahead.length; tries += 1) {
        await Prefloop.answers.outbox.drained();
        if (ahead.length) break;
        const html = await fetchPair();
        if (html) ahead.push(html);
        else await sleep(tries ? Math.min(20, tries * 2) : 0.1); // the answer may only just have arrived
      }
      Prefloop.screen.setBusy(false);
    }
    Prefloop.screen.show(ahead.shift());
  }

  async function poll() {
    const mine = ++polling;
    for (let seconds = 4; ; seconds = Math.min(30, seconds * 1.4)) {
      await sleep(seconds);
      if (mine !== polling || idOf(now()) || Prefloop.screen.busy) return;
      if (document.visibilityState !== "visible") continue;
      await Prefloop.answers.outbox.drained();
      const html = await fetchPair();
      if (mine !== polling || !html || idOf(now())) continue;
      const arrived = parse(html);
      if (idOf(arrived)) {
        announce("A comparison has arrived.");
        Prefloop.screen.show(html);
        return;
      }
      now().querySelector(".empty > p").textContent = arrived.querySelector(".empty > p").textContent;
    }
  }

  async function keepLeases() {
    if (document.visibilityState !== "visible" || Prefloop.screen.busy) return;
    const current = idOf(now());
    const leased = [...ahead.map((html) => idOf(parse(html))), current].filter(Boolean); // the one on screen last: then all is known
    for (const assignment of leased) {
      const { outcome, body } = await Prefloop.post(renew, { person, assignment });
      if (outcome !== "ok" || body.held) continue;
      ahead = ahead.filter((html) => idOf(parse(html)) !== assignment);
      if (assignment === idOf(now()) && !Prefloop.screen.busy) {
        tell(`${body.message} Here is the next one.`);
        return advance("Next comparison.");
      }
    }
    prefetch();
  }

  document.addEventListener("pairshown", () => (idOf(now()) ? prefetch() : poll()));
  document.addEventListener("visibilitychange", keepLeases);
  setInterval(keepLeases, Number(page.dataset.renewSeconds) * 1000);

  Prefloop.supply = {
    advance,
    keepAhead,
    nextId: () => (ahead.length ? idOf(parse(ahead[0])) : ""),
    settled: () => prefetching,
    // After an answer was taken back, what was on screen comes next; the server has released the pair after it.
    putBack: (html) => (ahead = html ? [html] : []),
  };
})();
