// The theme's switch. Streamlit keeps the choice per page in the browser's storage and reads it when a page loads, so
// it is written for every page of ours and the page is loaded again; the URL holds all other state.
const NAME = (path) => `stActiveTheme-${path}-v2`;

export default function (component) {
  const { data, parentElement } = component;
  let root = parentElement.querySelector(".d-theme");
  if (!root) {
    root = document.createElement("div");
    root.className = "d-theme";
    root.setAttribute("role", "group");
    parentElement.appendChild(root);
  }
  const stored = window.localStorage.getItem(NAME(window.location.pathname));
  const active = stored ? JSON.parse(stored) : "System";
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(
    ...data.themes.map(([theme, label]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-pressed", String(theme === active));
      button.onclick = () => {
        data.paths.forEach((path) => window.localStorage.setItem(NAME(path), JSON.stringify(theme)));
        window.location.reload();
      };
      return button;
    }),
  );
}
