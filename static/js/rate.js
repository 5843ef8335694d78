// Keys for the buttons of the rate page, and the seconds that it was in sight.
const form = document.querySelector("[data-rate]");
let seen = document.hidden ? 0 : performance.now();
let total = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) total += performance.now() - seen;
  else seen = performance.now();
});
form.addEventListener("submit", () => {
  const now = document.hidden ? 0 : performance.now() - seen;
  form.elements.seconds.value = ((total + now) / 1000).toFixed(1);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches("input:not([type=hidden]), textarea, select")) return;
  const button = [...form.querySelectorAll("[data-keys]")].find((each) => each.dataset.keys.split(" ").includes(event.key));
  if (!button || form.dataset.sent) return;
  event.preventDefault();
  button.click();
});
form.addEventListener("submit", () => { form.dataset.sent = "1"; });
window.addEventListener("pageshow", () => { delete form.dataset.sent; });
