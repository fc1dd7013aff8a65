/* Refreshes rows of upload sessions every two seconds while the page is visible and an upload is live. */
(() => {
  "use strict";
  const EVERY = 2000;

  function rowsOf(root) {
    if (root.dataset.uploadId) return new Map([[root.dataset.uploadId, root]]);
    const rows = new Map();
    for (const box of root.querySelectorAll("input.action-select, input[name=_selected_action]")) {
      rows.set(box.value.replaceAll("-", ""), box.closest("tr"));
    }
    if (!rows.size) {
      for (const link of root.querySelectorAll("a[href*='/change/']")) {
        const id = /\/([0-9a-f-]{32,36})\/change\//.exec(link.href);
        if (id) rows.set(id[1].replaceAll("-", ""), link.closest("tr"));
      }
    }
    return rows;
  }

  async function ask(root, state) {
    if (document.hidden || !state.live || state.asking) return;
    state.asking = true;
    try {
      const ids = [...state.rows.keys()].join(",") + ("uploadFigures" in root.dataset ? "&figures" : "");
      const headers = state.tag ? { "If-None-Match": state.tag } : {};
      const answer = await fetch(`${root.dataset.uploadLive}?ids=${ids}`, { headers, credentials: "same-origin" });
      if (answer.ok) {
        state.tag = answer.headers.get("ETag");
        const { figures, ...rows } = await answer.json();
        state.live = Object.values(rows).some((row) => row.live);
        if (figures) document.querySelector(".upload-numbers").innerHTML = figures;
        for (const [id, cells] of Object.entries(rows)) {
          // Advice, actions and history differ in the next state.
          if (cells.state !== (root.dataset.uploadState ?? cells.state)) location.reload();
          for (const [name, html] of Object.entries(cells)) {
            const cell = state.rows.get(id)?.querySelector(`.field-${name}`);
            if (cell && cell.innerHTML !== html) cell.innerHTML = html;
          }
        }
      } else if (answer.status !== 304) {
        state.live = answer.status >= 500;
      }
    } catch {
      // The network is unavailable; the next interval retries.
    }
    state.asking = false;
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const root of document.querySelectorAll("[data-upload-live]")) {
      const state = { rows: rowsOf(root), live: root.dataset.uploadIsLive !== "0", tag: null, asking: false };
      if (!state.rows.size) continue;
      ask(root, state);
      setInterval(ask, EVERY, root, state);
      document.addEventListener("visibilitychange", () => ask(root, state));
    }
  });
})();
