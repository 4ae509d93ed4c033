// Before the page is drawn: the chosen look, else the one of the system.
(() => {
  const chosen = localStorage.getItem("theme");
  const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.setAttribute("data-bs-theme", isDark ? "dark" : "light");
})();
