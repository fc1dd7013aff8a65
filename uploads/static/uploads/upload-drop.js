/** `<upload-drop endpoint="/folders/12/tus/">`: a drop area with a list of uploads. Attributes: docs/browser.md. */

import { UploadQueue } from "./upload.js";
import * as rows from "./upload-row.js";

const { _, fill, sized } = rows;
/** Files that systems leave in folders. */
const LEFT_OUT = /^(\.DS_Store|Thumbs\.db|desktop\.ini)$/i;

const STYLE = `
:host { display: block; min-width: min(18rem, 100%); font: inherit; color: inherit; --line: var(--upload-line, #8c959f66); --radius: var(--upload-radius, 8px);
  --accent: var(--upload-accent, light-dark(#1f6feb, #6cb0ff)); --quiet: var(--upload-quiet, light-dark(#59636e, #a3adb8));
  --bad: var(--upload-bad, light-dark(#b42318, #ff9a91)); --good: var(--upload-good, light-dark(#1a7f37, #6fdd8b)); }
[hidden] { display: none !important; }
#drop { border: 2px dashed var(--line); border-radius: var(--radius); padding: 1.25rem; text-align: center; }
#drop.near { border-color: var(--accent); }
#drop.over { background: color-mix(in srgb, var(--accent) 10%, transparent); }
#drop p { margin: 0 0 .5rem; }
#drop #hint { margin: .5rem 0 0; color: var(--quiet); font-size: .875em; }
@media (pointer: coarse) { #words { display: none; } }
button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px; padding: .2em .7em; cursor: pointer; min-height: 1.9em; }
button:hover { border-color: var(--accent); }
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
#summary { color: var(--quiet); margin: .6rem 0 0; font-size: .875em; }
:is(#summary, #list):empty { margin: 0; }
#all { display: flex; flex-wrap: wrap; gap: .35rem .75rem; align-items: center; margin-top: .5rem; font-size: .8125em; }
#all:not(:has(button:not([hidden]), #total:not([hidden]))) { display: none; }
#total { flex: 1 1 8rem; }
ul { list-style: none; margin: .5rem 0 0; padding: 0; max-height: 24rem; overflow: auto; position: relative; }
li { display: grid; grid-template-columns: 2rem minmax(0, 1fr) minmax(10.25rem, auto); gap: .15rem .75rem; align-items: center; padding: .45rem 4px; border-bottom: 1px solid var(--line); content-visibility: auto; contain-intrinsic-height: 3.5rem; }
li > * { grid-column: 2; }
.icon { grid-area: 1 / 1 / span 3; position: relative; height: 2rem; color: var(--quiet); }
.icon > * { position: absolute; width: 100%; height: 100%; object-fit: cover; border-radius: 4px; }
.icon svg { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.buttons { display: flex; flex-wrap: wrap; justify-content: end; gap: .35rem; font-size: .8125rem; grid-area: 1 / 3 / span 3; }
.bar { height: 6px; border-radius: 3px; background: var(--line); overflow: hidden; position: relative; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--accent); }
.bar .sent { opacity: .4; }
.status { font-size: .8125em; color: var(--quiet); overflow-wrap: anywhere; }
li[data-state=failed] .status { color: var(--bad); }
li[data-state=completed] .status { color: var(--good); }
li[data-state=completed] .bar i { background: var(--good); }
li:is([data-state=failed], [data-state=cancelled]) .bar { visibility: hidden; height: 0; }
@media (max-width: 30rem) { li { grid-template-columns: 2rem minmax(0, 1fr); } li .buttons { grid-area: 4 / 2; justify-content: start; } }
`;

// CSP may forbid style elements.
const SHEET = new CSSStyleSheet();
SHEET.replaceSync(STYLE);

const SHELL = `<div id="drop" part="drop"><p><span id="words"></span><slot></slot></p>
<button type="button" id="choose" part="choose" aria-describedby="hint"></button> <button type="button" id="folder" part="choose" hidden></button>
<p id="hint" part="hint"></p><input type="file" id="files" hidden><input type="file" id="tree" webkitdirectory hidden></div>
<p id="summary" part="summary" role="status"></p>
<div id="all" part="all"><span class="bar" id="total" part="bar" role="progressbar" hidden><i class="stored"></i></span>
<span id="percent"></span><span class="buttons" id="actions"></span></div><ul id="list" part="list"></ul>`;

class UploadDrop extends HTMLElement {
  #items = new Map();
  #actions = [];
  #past = new WeakSet(); // Completed sessions that the total progress counts no longer.
  #hints = {};
  #said = "";
  #used = 0;
  #submitter = null;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).innerHTML = SHELL;
    this.shadowRoot.adoptedStyleSheets = [SHEET];
  }

  connectedCallback() {
    for (const [type, listener] of this.#listeners) addEventListener(type, listener);
    if (this.queue) return;
    const concurrency = Number(this.getAttribute("concurrency")) || 3;
    this.queue = new UploadQueue({
      endpoint: this.getAttribute("endpoint") ?? "/tus/",
      parallel: Number(this.getAttribute("parallel")) || 1,
      parts: this.getAttribute("parts") ?? "/uppy/",
      metadata: JSON.parse(this.getAttribute("metadata") || "{}"),
      concurrency,
      ...this.options,
    });
    const [drop, files, tree] = ["drop", "files", "tree"].map((id) => this.#part(id));
    this.#part("choose").textContent = this.multiple ? _("Choose files") : _("Choose a file");
    this.#part("folder").textContent = _("Choose a folder");
    this.#part("folder").hidden = !this.hasAttribute("folders");
    if (!this.textContent.trim()) this.#part("words").textContent = _("Drop files here, or");
    this.#describe();
    files.multiple = this.multiple;
    files.accept = this.getAttribute("accept") ?? "";
    this.#part("choose").onclick = () => files.click();
    this.#part("folder").onclick = () => tree.click();
    files.onchange = tree.onchange = ({ target }) => {
      this.add([...target.files].map((file) => ({ file, path: file.webkitRelativePath })));
      target.value = "";
    };
    drop.ondragover = (event) => event.preventDefault();
    drop.ondrop = (event) => {
      event.preventDefault();
      this.dropFrom(event.dataTransfer);
    };
    const used = ({ movementX, movementY }) => {
      // Chromium reports a resting pointer, too, when the list scrolls below it.
      if (movementX !== 0 || movementY !== 0) this.#used = Date.now();
    };
    for (const type of ["pointermove", "touchmove", "wheel", "keydown"]) {
      this.#part("list").addEventListener(type, used, { passive: true });
    }
    this.#part("total").ariaLabel = _("All uploads");
    this.#makeActions();
    this.#standIn();
    if (!this.hasAttribute("name")) this.#showOpen();
  }

  disconnectedCallback() {
    for (const [type, listener] of this.#listeners) removeEventListener(type, listener);
  }

  // Scripts that add formset rows renumber this property.
  get name() {
    return this.getAttribute("name") ?? "";
  }

  set name(name) {
    this.setAttribute("name", name);
  }

  get multiple() {
    return this.hasAttribute("multiple");
  }

  get isBusy() {
    return this.queue.sessions.some((session) => !session.isOver && session.state !== "paused");
  }

  get isUnfinished() {
    return [...this.#items.keys()].some(({ state }) => !["completed", "cancelled"].includes(state));
  }

  /** Upload files, with their paths below a dropped folder. */
  add(chosen) {
    if (!this.multiple && chosen.length) {
      for (const [session, row] of [...this.#items]) if (!row.open) this.#remove(session);
    }
    const wanted = chosen.filter(({ file, path }) => !path || !LEFT_OUT.test(file.name));
    if (!this.multiple) wanted.splice(1);
    for (const { file, path = "", refusal } of wanted) this.#show(file, path, refusal);
    this.#summarise();
  }

  async dropFrom(transfer) {
    const found = await dropped(transfer);
    if (this.hasAttribute("folders")) return this.add(found);
    // Without folders, files of the same name would become versions of one file.
    const folders = new Set(found.filter(({ path }) => path).map(({ path }) => path.split("/")[0]));
    const refused = [...folders].map((name) => ({ file: new File([], name), refusal: "no_folders" }));
    this.add([...found.filter(({ path }) => !path), ...refused]);
  }

  #part(id) {
    return this.shadowRoot.getElementById(id);
  }

  /** Say which files are accepted, beside the button and in refusals. */
  #describe() {
    const most = Number(this.getAttribute("max-size"));
    const types = this.#accepted.map((kind) => kind.replace("/*", "")).join(", ");
    if (types) this.#hints.extension_not_allowed = fill(_("Accepted types: %(types)s."), { types });
    if (most) this.#hints.file_too_large = fill(_("At most %(size)s per file."), { size: sized(most) });
    this.#part("hint").textContent = Object.values(this.#hints).join(" ");
    this.#part("hint").hidden = !types && !most;
  }

  /** Make the buttons that act on several uploads: their label, the sessions they apply to, the action. */
  #makeActions() {
    const actions = [
      [_("Pause all"), rows.canPause, (session) => session.pause()],
      [_("Resume all"), ({ state }) => state === "paused", (session) => session.resume()],
      [_("Retry failed"), ({ state }) => state === "failed", (session) => session.retry()],
      [_("Cancel all"), (session) => !session.isOver && rows.canCancel(session), (session) => this.#remove(session)],
      [_("Clear finished"), ({ state }) => state === "completed" && !this.hasAttribute("name"), (session) => {
        this.queue.remove(session);
        this.#drop(session);
      }],
    ];
    this.#actions = actions.map(([label, applies, act]) => {
      const button = rows.buttonOf(label);
      button.hidden = true;
      button.onclick = () => {
        this.queue.sessions.filter(applies).forEach(act);
        this.#summarise();
      };
      this.#part("actions").append(button);
      return { button, applies };
    });
  }

  #show(file, path, given) {
    const refusal = given || this.#refusal(file);
    const session = this.queue.add(file, { relativePath: this.hasAttribute("folders") ? path : "" });
    const row = this.#row(path || file.name, refusal ? null : file);
    const before = [...this.#items].find(
      ([, { open }]) => open?.name.normalize() === file.name.normalize() && open.length === file.size,
    );
    this.#items.set(session, row);
    session.addEventListener("progress", () => {
      this.#paint(session, row);
      this.#showTotal();
    });
    session.addEventListener("state", () => {
      if (before?.[1].line.isConnected && session.url) {
        if (session.url.includes(before[1].open.id)) this.#drop(before[0]);
        else row.note = _("The file has changed since the upload started and is uploaded again.");
      }
      this.#paint(session, row);
      if (session.state === "creating") this.#follow(row);
      this.dispatchEvent(new CustomEvent("upload-state", { bubbles: true, detail: session }));
      if (session.state === "completed") this.#completed(session, row);
      this.#summarise();
    });
    const act = {
      pause: () => session.pause(),
      resume: () => session.resume(),
      retry: () => {
        const { code, status } = session.error;
        for (const other of this.queue.sessions) {
          if (other === session || (other.error?.code === code && status !== 422)) other.retry();
        }
      },
      cancel: () => this.#remove(session),
    };
    for (const [name, button] of Object.entries(row.buttons)) button.onclick = act[name];
    if (refusal) {
      this.queue.remove(session);
      session.state = "failed";
      session.error = { code: refusal, message: "" };
    }
    this.#paint(session, row);
  }

  get #accepted() {
    return (this.getAttribute("accept") ?? "").split(",").map((text) => text.trim().toLowerCase()).filter(Boolean);
  }

  #refusal(file) {
    const most = Number(this.getAttribute("max-size"));
    if (most && file.size > most) return "file_too_large";
    const accepted = this.#accepted;
    const fits = (kind) =>
      kind.startsWith(".") ? file.name.toLowerCase().endsWith(kind) : file.type.startsWith(kind.replace(/\*$/, ""));
    return accepted.length && !accepted.some(fits) ? "extension_not_allowed" : "";
  }

  #row(title, file) {
    const row = new rows.UploadRow(title, file);
    this.#part("list").append(row.line);
    return row;
  }

  #paint(session, row) {
    row.paint(session, this.#hints, {
      canRetry: this.queue.sessions.includes(session),
      isField: this.hasAttribute("name"),
    });
  }

  /** Scroll the list to a row whose upload begins, unless the user is reading it. */
  #follow({ line }) {
    const list = this.#part("list");
    if (Date.now() - this.#used < 5000) return;
    list.scrollTop = Math.max(0, line.offsetTop + line.offsetHeight - list.clientHeight);
  }

  /** Show one bar for all uploads that began since none was left. */
  #showTotal() {
    const counted = this.queue.sessions.filter(
      (session) => session.state !== "failed" && session.state !== "cancelled" && !this.#past.has(session),
    );
    const isRunning = counted.some((session) => !session.isOver);
    if (!isRunning) counted.forEach((session) => this.#past.add(session));
    const total = this.#part("total");
    total.hidden = this.#part("percent").hidden = !isRunning || counted.length < 2;
    const sum = (size) => counted.reduce((bytes, session) => bytes + size(session), 0);
    const share = rows.percent(sum(rows.storedOf), sum(({ file }) => file.size));
    total.firstChild.style.width = share.replace(" ", "");
    total.ariaValueNow = parseInt(share);
    this.#part("percent").textContent = share;
  }

  /** Row of an upload that does not continue by itself. */
  get #stopped() {
    return [...this.#items].find(([{ state }]) => state === "failed" || state === "paused")?.[1];
  }

  #summarise() {
    const sessions = this.queue.sessions;
    const count = (...states) => sessions.filter((session) => states.includes(session.state)).length;
    const [done, failed] = [count("completed"), count("failed")];
    const going = sessions.length - done - failed - count("cancelled", "paused");
    this.#showTotal();
    rows.keepFocus(this.#part("actions"), this.#part("choose"), () => {
      for (const { button, applies } of this.#actions) button.hidden = sessions.length < 2 || !sessions.some(applies);
    });
    const waits = this.#submitter && this.isUnfinished;
    const waiting = this.#stopped
      ? _("The form is not submitted: an upload failed or is paused. Try again, resume, or remove it.")
      : _("The form will be submitted when all uploads are complete or removed.");
    const said = waits ? waiting : [
      going && (going === 1 ? _("Uploading 1 file") : fill(_("Uploading %(count)s files"), { count: going })),
      done && fill(_("%(count)s uploaded"), { count: done }),
      failed && fill(_("%(count)s failed"), { count: failed }),
    ].filter(Boolean).join(", ");
    if (said !== this.#said) this.#part("summary").textContent = this.#said = said;
    if (going) return;
    this.dispatchEvent(new CustomEvent("upload-idle", { bubbles: true, detail: { done, failed } }));
    if (!this.#submitter || waits) return;
    this.closest("form").requestSubmit(this.#submitter.button);
    this.#submitter = null;
  }

  #completed(session, row) {
    row.input = this.#token(session);
    this.dispatchEvent(new CustomEvent("upload-completed", { bubbles: true, detail: session }));
  }

  #remove(session) {
    const row = this.#items.get(session);
    row.input?.remove();
    session.cancel();
    this.queue.remove(session);
    this.#drop(session);
    this.#summarise();
  }

  #drop(session) {
    const row = this.#items.get(session);
    if (row.line.contains(this.shadowRoot.activeElement)) this.#part("choose").focus();
    row.remove();
    this.#items.delete(session);
  }

  async #showOpen() {
    const open = await this.queue.openUploads().catch(() => []);
    for (const upload of open.filter((one) => one.metadata.filename && one.length && !one.sending)) {
      const row = this.#kept(upload.metadata.relativePath || upload.name, upload.upload, "paused");
      row.line.dataset.state = "open";
      row.open = upload;
      row.show((100 * upload.offset) / upload.length);
      row.status.textContent = fill(_("%(share)s stored. Choose the file again to resume."), {
        share: rows.percent(upload.offset, upload.length),
      });
    }
  }

  /** Show an upload without access to its file. */
  #kept(title, url, state) {
    const row = this.#row(title);
    const session = this.queue.adopt(new File([], title), url, state);
    row.line.dataset.state = state;
    for (const [name, button] of Object.entries(row.buttons)) button.hidden = name !== "cancel";
    row.buttons.cancel.onclick = () => this.#remove(session);
    this.#items.set(session, row);
    return row;
  }

  #standIn() {
    const form = this.closest("form");
    if (!form || !this.hasAttribute("name")) return;
    for (const plain of this.querySelectorAll("input[type=file]")) {
      const label = plain.labels[0]?.textContent.trim();
      if (label) this.#part("choose").ariaLabel = `${this.#part("choose").textContent}: ${label}`;
      plain.disabled = plain.hidden = true;
    }
    const described = (this.getAttribute("aria-describedby") ?? "").split(" ");
    this.#part("choose").ariaDescribedByElements = described.map((id) => document.getElementById(id)).filter(Boolean);
    for (const input of this.querySelectorAll("input[data-token]")) this.#had(input);
    form.addEventListener("submit", (event) => {
      if (!this.isConnected || !this.isUnfinished) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.#submitter = { button: event.submitter };
      this.#summarise();
      const line = this.#stopped?.line;
      line?.scrollIntoView({ block: "center" });
      line?.querySelector("button:not([hidden])").focus();
    }, true);
  }

  #had(input) {
    const { title, size, id } = input.dataset;
    const url = new URL(id, new URL(this.getAttribute("endpoint"), location.href)).href;
    const row = this.#kept(title, url, "completed");
    row.input = input;
    row.status.textContent = rows.completed(size);
    row.show(100);
    rows.rename(row.buttons.cancel, _("Remove"), title);
  }

  #token(session) {
    const token = session.result?.file?.details?.token;
    const name = this.querySelector("input[type=file]")?.name;
    if (!token || !name) return null;
    if (!this.multiple) this.querySelectorAll("input[data-token]").forEach((input) => input.remove());
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name: `${name}-token`, value: token });
    input.dataset.token = "";
    // In the order in which the files were chosen.
    const all = [...this.#items];
    const next = all.slice(all.findIndex(([other]) => other === session) + 1).find(([, row]) => row.input);
    this.insertBefore(input, next?.[1].input ?? null);
    return input;
  }

  #leaving = (event) => {
    if (this.isBusy) event.preventDefault();
  };

  /** Show where to drop while files are dragged over the page. */
  #dragged = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    const drop = this.#part("drop");
    const ends = event.type === "drop" || (event.type === "dragleave" && !event.relatedTarget);
    drop.classList.toggle("near", !ends);
    drop.classList.toggle("over", !ends && event.composedPath().includes(drop));
  };

  /** Take files from the clipboard if the focus is in the element, or nothing else on the page could take them. */
  #pasted = (event) => {
    const [file, ...others] = event.clipboardData?.files ?? [];
    const path = event.composedPath();
    const isEdited = path[0].closest?.("input, textarea, [contenteditable]");
    const isShared = isEdited || document.querySelectorAll("upload-drop").length > 1;
    if (!file || event.defaultPrevented || (isShared && !path.includes(this))) return;
    event.preventDefault();
    // Browsers name every screenshot image.png; the second one would be a new version of the first.
    const isShot = !others.length && file.name === "image.png" && Date.now() - file.lastModified < 10_000;
    if (!isShot) return this.dropFrom(event.clipboardData);
    const name = `image ${new Date().toLocaleString("sv").replaceAll(":", ".")}.png`;
    this.add([{ file: new File([file], name, { type: file.type }) }]);
  };

  #listeners = [
    ["beforeunload", this.#leaving],
    ["dragover", this.#dragged],
    ["dragleave", this.#dragged],
    ["drop", this.#dragged],
    ["paste", this.#pasted],
  ];
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file }));
  const found = [];
  const walk = async (entry, path) => {
    const add = (file) => found.push({ file: file ?? new File([], entry.name), path: path && `${path}/${entry.name}`, refusal: file ? "" : "file_changed" });
    if (entry.isFile) return add(await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null));
    const reader = entry.createReader();
    for (;;) {
      // readEntries returns at most 100 entries per call.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => add() && []);
      if (!some.length) return;
      for (const child of some) await walk(child, path ? `${path}/${entry.name}` : entry.name);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}

if (!customElements.get("upload-drop")) customElements.define("upload-drop", UploadDrop);
export { UploadDrop };
