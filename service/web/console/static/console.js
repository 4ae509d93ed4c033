// What needs a script: the look, and asking before something that cannot be undone. Everything else works without.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
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
