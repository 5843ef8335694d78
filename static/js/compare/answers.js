// The compare page: what an annotator answers (a choice with its reason and flags, a skip, taking one back), and how it leaves
// for the server. Answers that have not arrived wait in the outbox (outbox.js).
"use strict";
(() => {
  const { screen, supply } = Prefloop;
  const { page, byId, now, idOf, say, tell } = screen;
  const { person, project, judge, skip, undo } = page.dataset;
  const SETTLE_MS = { key: 250, pointer: 500 }; // the second half of a double click must not judge the pair that has just come
  const refused = new Map(); // what was written with answers that were refused, by assignment
  const refusedEdits = new Map(); // the same of edited answers
  let wanting = null; // the answer that was chosen and wants a reason first

  const outbox = new Prefloop.Outbox({
    person,
    project,
    addresses: { judge, skip },
    onSettled(item, { outcome, body }) {
      if (outcome === "ok") {
        if (body.progress) screen.showProgress(body.progress);
        if (body.pair) supply.keepAhead(body.pair, item.fields.beside);
        if (body.feedback) screen.showFeedback(body.feedback);
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
    onChange: () => showBanner(),
  });

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

  // What was written with an answer that was refused is there again when its pair is.
  document.addEventListener("pairshown", () => {
    const pair = now();
    wanting = null;
    const written = refused.get(idOf(pair));
    if (written && rationaleNow() === "") {
      openWhy({ focus: false });
      byId("rationale").value = written;
    }
    const edit = refusedEdits.get(idOf(pair));
    if (edit && !Prefloop.edits.open(pair, edit.side, { text: edit.text, focus: false }))
      tell(`Answers can no longer be edited here, so your answer was not recorded. What you had written: ${edit.text}`);
  });

  // -- reason and flags ------------------------------------------------------------------------------------
  const flagBoxes = () => [...now().querySelectorAll(".flags input")];
  const rationaleNow = () => byId("rationale")?.value ?? "";

  function openWhy({ focus = true } = {}) {
    const box = now().querySelector(".why");
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

  function sendWanted() {
    if (wanting && rationaleNow().trim()) choose(wanting, "key");
  }

  // -- answers -----------------------------------------------------------------------------------------------
  function choose(button, by) {
    if (screen.busy) return;
    if (performance.now() - screen.shownAt < SETTLE_MS[by]) return say("This pair has only just come. Choose again.");
    const choice = button.value; // on a graded scale with its strength: "a3"
    const label = button.dataset.label;
    const rationale = rationaleNow();
    if ("needsWhy" in button.dataset && !rationale.trim()) return askWhy(button);
    const flags = flagBoxes().filter((box) => box.checked).map((box) => box.value).join("\n");
    const edited = ["a", "b"].find((each) => Prefloop.edits.textOf(now(), each));
    const side = ["a", "b"].find((each) => button.matches(`.choice-${each}`));
    const edited_text = side ? Prefloop.edits.textOf(now(), side) : "";
    if (edited && !edited_text) return say(`You have edited ${edited.toUpperCase()}: choose it, or discard the edit.`);
    const given = { choice, seconds: Prefloop.time.secondsSpent(), rationale, flags, edited_text };
    const fields = { assignment: idOf(now()), person, key: Prefloop.uuid(), ...given };
    // The answer brings the pair after the one that is shown next: one request in the place of two.
    Object.assign(fields, { then: "next", beside: supply.nextId() });
    tell("");
    say(`Sending: ${label}`);
    outbox.add("judge", fields, label);
    supply.advance("Saved. Next comparison.");
  }

  function skipPair(reason) {
    if (screen.busy || !idOf(now())) return;
    tell("");
    say("Skipped");
    outbox.add("skip", { assignment: idOf(now()), person, reason }, "Skip");
    supply.advance("Skipped. Next comparison.");
  }

  async function takeBack() {
    if (screen.busy) return;
    screen.setBusy(true);
    await outbox.flush();
    if (outbox.size) {
      screen.setBusy(false);
      return tell("Your last answer has not reached the server yet. It can be taken back when the server answers again.");
    }
    await supply.settled();
    const { outcome, body } = await Prefloop.post(undo, { person });
    screen.setBusy(false);
    if (outcome === "ok") {
      const onScreen = idOf(now()); // comes next, unless it is the one taken back
      supply.putBack(onScreen && onScreen !== idOf(screen.parse(body.pair)) ? screen.source : null);
      tell("");
      screen.showProgress(body.progress);
      screen.show(body.pair);
      const { before } = now().dataset;
      say(before ? `Taken back: ${before}` : "Taken back");
      screen.announce(`Your last answer${before ? `, ${before},` : ""} is taken back. Judge this pair again.`);
    } else if (outcome === "refused") tell(body.message);
    else showBanner(outcome);
  }

  Prefloop.answers = { choose, flagBoxes, openWhy, outbox, sendWanted, showBanner, skipPair, takeBack };
})();
