// Files may be dropped anywhere on the page, and the list below shows what has arrived.
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

// However many files arrive together: the list is asked for once after them.
drop.addEventListener("upload-completed", () => {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [old, fresh] = [document, page].map((one) => one.getElementById("listing"));
    // Somebody may have been signed out meanwhile, or be typing a name.
    if (fresh && !old.querySelector("details[open]")) old.replaceWith(fresh);
  }, 300);
});
