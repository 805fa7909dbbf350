// Prepared markup in which elements with data-pick can be chosen by click or key. Replaced only when it changed, so that
// a page that refreshes keeps the reader's place.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let root = parentElement.querySelector(".d-root");
  if (!root) {
    root = document.createElement("div");
    root.className = "d-root";
    parentElement.appendChild(root);
  }
  if (root.dMarkup !== data.markup) {
    root.innerHTML = data.markup;
    root.dMarkup = data.markup;
  }
  const pick = (event) => {
    const found = event.target.closest("[data-pick]");
    if (!found) return;
    event.preventDefault();
    setTriggerValue("picked", found.dataset.pick);
  };
  root.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    pick(event);
  };
  root.onkeydown = (event) => {
    if (event.key === "Enter" || event.key === " ") pick(event);
  };
}
