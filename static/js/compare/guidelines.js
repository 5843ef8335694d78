// The compare page: the guidelines. Each pair says which edition is the newest; opening them tells the server they were read.
"use strict";
(() => {
  const { page, byId, now } = Prefloop.screen;
  const { person, guidelines, read } = page.dataset;
  const editionHere = () => Number(byId("guidelines-text").dataset.edition);

  document.addEventListener("pairshown", () => {
    if (Number(now().dataset.guidelines) <= editionHere() || !byId("news").hidden) return;
    byId("news").querySelector("[data-text]").textContent = "The guidelines have changed since you read them.";
    byId("news").hidden = false;
  });

  Prefloop.openGuidelines = async () => {
    Prefloop.openDialog("guidelines");
    if (!byId("guidelines").open || byId("news").hidden) return;
    if (Number(now().dataset.guidelines) > editionHere()) {
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
  };
})();
