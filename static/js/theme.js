// The theme a person chose, set before the first paint. Without a choice the system's is followed.
// Charts listen for "themechange" on the document and read the colours anew.
(() => {
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem("theme") || "";
    } catch {
      return "";
    }
  };

  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-set]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeSet === theme));
    }
    document.dispatchEvent(new CustomEvent("themechange"));
  };

  show(stored());
  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-theme-choice]")) group.hidden = false;
    show(stored());
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-set]");
    if (!button) return;
    try {
      localStorage.setItem("theme", button.dataset.themeSet);
    } catch {
      // Private window: the choice lasts for this page.
    }
    show(button.dataset.themeSet);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(stored()));
  window.addEventListener("storage", (event) => event.key === "theme" && show(stored()));
})();
