// What needs a script: the look, asking before something that cannot be undone, and closing a menu by Escape or a click
// beside it. Everything else works without.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
for (const type of ["click", "keydown"]) {
  document.addEventListener(type, (event) => {
    for (const menu of document.querySelectorAll(".dropdown-form[open]")) {
      const isEscape = event.key === "Escape";
      if (isEscape) menu.querySelector("summary").focus();
      if (isEscape || (type === "click" && !menu.contains(event.target))) menu.open = false;
    }
  });
}
const button = document.querySelector("[data-theme-button]");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const look = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    localStorage.setItem("theme", look);
    document.documentElement.setAttribute("data-bs-theme", look);
  });
}
for (const copy of document.querySelectorAll("[data-copy]")) {
  copy.hidden = false;
  copy.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent));
}
// On a phone the row of sections is wider than the screen.
document.querySelector(".sections [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
