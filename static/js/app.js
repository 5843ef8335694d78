// Small manners of every page: menus close, dialogs open and close, text is copied, destructive forms ask first.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  const target = event.target.closest?.("[data-copy], [data-dialog], [data-close]");
  if (!target) return;
  if (target.dataset.copy) {
    const source = document.getElementById(target.dataset.copy);
    source.select?.();
    navigator.clipboard?.writeText(source.value ?? source.textContent).then(() => {
      target.textContent = "Copied";
    });
  }
  if (target.dataset.dialog) document.getElementById(target.dataset.dialog).showModal();
  if ("close" in target.dataset) target.closest("dialog").close();
});

// What scrolls sideways (code, wide tables) must be within reach of the keyboard.
const reachSideways = () => {
  for (const box of document.querySelectorAll(".prose :is(pre, table), .table-box")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
reachSideways();
window.addEventListener("resize", reachSideways);
document.addEventListener("prose", reachSideways); // a script has shown other text
document.addEventListener("toggle", reachSideways, true); // what was folded has a width now

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// <form data-confirm="Remove Anna?"> asks before it is sent.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// A form with data-quiet shows its button only once something in it has changed.
for (const form of document.querySelectorAll("form[data-quiet]")) form.querySelector("button").hidden = true;
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form && "quiet" in form.dataset) form.querySelector("button").hidden = false;
});

// On a narrow screen the tabs scroll sideways: the one of this page must be in sight, and a part of the next.
for (const tab of document.querySelectorAll(":is(.bar-nav, .tabs) [aria-current='page']")) {
  const [row, place] = [tab.parentElement, tab.getBoundingClientRect()];
  const { left, right } = row.getBoundingClientRect();
  row.scrollLeft += Math.max(0, place.right + 40 - right) || Math.min(0, place.left - 40 - left);
}
