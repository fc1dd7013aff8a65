// Accept files dropped anywhere on the page; refresh the list after uploads.
import "../uploads/upload-drop.js";

const drop = document.getElementById("upload");

for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    if (event.composedPath().includes(drop) || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (name === "drop") drop.dropFrom(event.dataTransfer);
  });
}

let timer = null;

// Refresh once for several files that complete together.
drop.addEventListener("upload-completed", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, 300);
});

async function refresh() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, fresh] = [document, page].map((one) => one.getElementById("listing"));
  const menu = old.querySelector(":popover-open");
  if (menu) menu.addEventListener("toggle", refresh, { once: true });  // The user may be typing: wait until it closes.
  else if (fresh) old.replaceWith(fresh);  // There is none if the user has signed out.
}
