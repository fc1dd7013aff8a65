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

let looking = null;

// Refresh once for several files that complete together.
drop.addEventListener("upload-completed", () => {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [old, fresh] = [document, page].map((one) => one.getElementById("listing"));
    // The user may have been signed out, or may be typing a name.
    if (fresh && !old.querySelector("details[open]")) old.replaceWith(fresh);
  }, 300);
});
