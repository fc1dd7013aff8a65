/** `<upload-drop endpoint="/folders/12/tus/">`: a drop area with a list of uploads. Attributes: docs/browser.md. */

import { UploadQueue } from "./upload.js";

const _ = (text) => globalThis.gettext?.(text) ?? text;
const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (_match, name) => values[name]);

/** Messages that replace those of the server. */
const SENTENCES = {
  network: () => _("The connection was lost."),
  not_authenticated: () => _("You are no longer signed in. Sign in in another tab, then try again."),
  extension_not_allowed: () => _("Files of this type are not accepted."),
  file_too_large: () => _("The file is too large."),
  file_changed: () => _("The file was changed, moved or deleted. Choose it again."),
  no_folders: () => _("Folders are not accepted. Choose the files inside."),
  sent_elsewhere: () => _("This file is being uploaded from another page or browser."),
};

const STATES = {
  waiting: () => _("Waiting"),
  creating: () => _("Starting"),
  comparing: () => _("Comparing with stored data"),
  retrying: () => _("Retrying"),
  offline: () => _("Waiting for the network"),
  paused: () => _("Paused"),
  completing: () => _("Completing"),
  checking: () => _("Checking"),
  completed: () => _("Uploaded"),
  cancelled: () => _("Canceled"),
};

const STYLE = `
:host { display: block; min-width: min(18rem, 100%); font: inherit; color: inherit; --line: var(--upload-line, #8c959f66); --radius: var(--upload-radius, 8px);
  --accent: var(--upload-accent, light-dark(#1f6feb, #6cb0ff)); --quiet: var(--upload-quiet, light-dark(#59636e, #a3adb8));
  --bad: var(--upload-bad, light-dark(#b42318, #ff9a91)); --good: var(--upload-good, light-dark(#1a7f37, #6fdd8b)); }
[hidden] { display: none !important; }
#drop { border: 2px dashed var(--line); border-radius: var(--radius); padding: 1.25rem; text-align: center; }
#drop.over { border-color: var(--accent); background: color-mix(in srgb, var(--accent) 10%, transparent); }
#drop p { margin: 0 0 .5rem; }
button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px; padding: .2em .7em; cursor: pointer; min-height: 1.9em; }
button:hover { border-color: var(--accent); }
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
#summary { color: var(--quiet); margin: .6rem 0 0; font-size: .875em; }
ul { list-style: none; margin: .5rem 0 0; padding: 0; max-height: 24rem; overflow: auto; }
li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .15rem .75rem; align-items: center; padding: .45rem 4px; border-bottom: 1px solid var(--line); content-visibility: auto; contain-intrinsic-height: 3.5rem; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.buttons { display: flex; gap: .35rem; font-size: .8125em; grid-row: 1 / span 3; grid-column: 2; }
.bar { height: 6px; border-radius: 3px; background: var(--line); overflow: hidden; position: relative; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--accent); }
.bar .sent { opacity: .4; }
.status { font-size: .8125em; color: var(--quiet); overflow-wrap: anywhere; }
li[data-state=failed] .status { color: var(--bad); }
li[data-state=completed] .status { color: var(--good); }
li[data-state=completed] .bar i { background: var(--good); }
li:is([data-state=failed], [data-state=cancelled]) .bar { visibility: hidden; height: 0; }
`;

// CSP may forbid style elements.
const SHEET = new CSSStyleSheet();
SHEET.replaceSync(STYLE);

const SHELL = `<div id="drop" part="drop"><p><slot></slot></p>
<button type="button" id="choose" part="choose"></button> <button type="button" id="folder" part="choose" hidden></button>
<input type="file" id="files" hidden><input type="file" id="tree" webkitdirectory hidden></div>
<p id="summary" part="summary" role="status"></p><ul id="list" part="list"></ul>`;

class UploadDrop extends HTMLElement {
  #items = new Map();
  #said = "";
  #submitter = null;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).innerHTML = SHELL;
    this.shadowRoot.adoptedStyleSheets = [SHEET];
  }

  connectedCallback() {
    addEventListener("beforeunload", this.#leaving);
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
    if (!this.textContent.trim()) this.#part("drop").firstChild.prepend(_("Drop files here, or"));
    files.multiple = this.multiple;
    files.accept = this.getAttribute("accept") ?? "";
    this.#part("choose").onclick = () => files.click();
    this.#part("folder").onclick = () => tree.click();
    files.onchange = tree.onchange = ({ target }) => {
      this.add([...target.files].map((file) => ({ file, path: file.webkitRelativePath })));
      target.value = "";
    };
    drop.ondragover = (event) => {
      event.preventDefault();
      drop.classList.add("over");
    };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.dropFrom(event.dataTransfer);
    };
    this.#standIn();
    if (!this.hasAttribute("name")) this.#showOpen();
  }

  disconnectedCallback() {
    removeEventListener("beforeunload", this.#leaving);
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
    for (const { file, path = "", refusal } of this.multiple ? chosen : chosen.slice(0, 1)) this.#show(file, path, refusal);
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

  #show(file, path, given) {
    const refusal = given || this.#refusal(file);
    const session = this.queue.add(file, { relativePath: this.hasAttribute("folders") ? path : "" });
    const row = this.#row(path || file.name);
    const before = [...this.#items].find(([, { open }]) => open && open.name === file.name && open.length === file.size);
    this.#items.set(session, row);
    session.addEventListener("progress", () => this.#paint(session, row));
    session.addEventListener("state", () => {
      if (before?.[1].line.isConnected && session.url) {
        if (session.url.includes(before[1].open.id)) this.#drop(before[0]);
        else row.note = _("The file has changed since the upload started and is uploaded again.");
      }
      this.#paint(session, row);
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

  #refusal(file) {
    const most = Number(this.getAttribute("max-size"));
    if (most && file.size > most) return "file_too_large";
    const accepted = (this.getAttribute("accept") ?? "").split(",").map((text) => text.trim().toLowerCase()).filter(Boolean);
    const fits = (kind) =>
      kind.startsWith(".") ? file.name.toLowerCase().endsWith(kind) : file.type.startsWith(kind.replace(/\*$/, ""));
    return accepted.length && !accepted.some(fits) ? "extension_not_allowed" : "";
  }

  #row(title) {
    const line = document.createElement("li");
    line.part = "item";
    line.innerHTML = `<span class="name" part="name"></span><span class="buttons"></span>
<span class="bar" part="bar" role="progressbar"><i class="sent"></i><i class="stored"></i></span>
<span class="status" part="status"></span>`;
    const [name, holder, bar, status] = line.children;
    name.textContent = name.title = title;
    bar.ariaLabel = title;
    const labels = { pause: _("Pause"), resume: _("Resume"), retry: _("Try again"), cancel: _("Cancel") };
    const buttons = {};
    for (const [key, label] of Object.entries(labels)) {
      const button = document.createElement("button");
      button.type = "button";
      button.part = "button";
      call(button, label, title);
      buttons[key] = button;
      holder.append(button);
    }
    this.#part("list").append(line);
    return { line, bar, status, buttons, title };
  }

  #paint(session, { line, bar, status, buttons, note, title }) {
    const { state, file, stored, sent } = session;
    const size = file.size || 1;
    line.dataset.state = state;
    const share = state === "completed" ? 100 : (100 * stored) / size;
    bar.querySelector(".stored").style.width = `${share}%`;
    bar.querySelector(".sent").style.width = `${(100 * Math.max(sent, stored)) / size}%`;
    bar.ariaValueNow = Math.floor(share);
    status.textContent = [this.#status(session), note].filter(Boolean).join(". ");
    buttons.pause.hidden = !["sending", "creating", "comparing", "retrying", "offline", "waiting"].includes(state);
    buttons.resume.hidden = state !== "paused";
    buttons.retry.hidden = state !== "failed" || !this.queue.sessions.includes(session);
    buttons.cancel.hidden = ["completing", "cancelled"].includes(state) || (state === "completed" && !this.hasAttribute("name"));
    call(buttons.cancel, ["completed", "failed"].includes(state) ? _("Remove") : _("Cancel"), title);
    if (this.shadowRoot.activeElement?.hidden) line.querySelector("button:not([hidden])")?.focus();
  }

  #status(session) {
    const { state, error, file, stored, speed, secondsLeft } = session;
    const sentence = error && (SENTENCES[error.code]?.() ?? error.message);
    if (state === "failed") return sentence;
    if (state === "retrying" && sentence) return `${sentence} ${_("Retrying …")}`;
    if (state === "completed") return `${STATES.completed()}, ${sized(file.size)}`;
    if (state !== "sending") return stored ? `${STATES[state]()}, ${percent(stored, file.size)}` : STATES[state]();
    const left = secondsLeft === null ? "" : `, ${fill(_("%(time)s left"), { time: lasting(secondsLeft) })}`;
    const of = fill(_("%(stored)s of %(size)s stored"), { stored: sized(stored), size: sized(file.size) });
    return `${of}, ${sized(speed)}/s${left}`;
  }

  #summarise() {
    const sessions = this.queue.sessions;
    const count = (...states) => sessions.filter((session) => states.includes(session.state)).length;
    const [done, failed] = [count("completed"), count("failed")];
    const going = sessions.length - done - failed - count("cancelled", "paused");
    const waits = this.#submitter && this.isUnfinished;
    const said = waits ? _("The form will be submitted when all uploads are complete or removed.") : [
      going && fill(_("%(count)s uploading"), { count: going }),
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
    const { line } = this.#items.get(session);
    if (line.contains(this.shadowRoot.activeElement)) this.#part("choose").focus();
    line.remove();
    this.#items.delete(session);
  }

  async #showOpen() {
    const open = await this.queue.openUploads().catch(() => []);
    for (const upload of open.filter((one) => one.metadata.filename && one.length && !one.sending)) {
      const row = this.#kept(upload.metadata.relativePath || upload.name, upload.upload, "paused");
      row.line.dataset.state = "open";
      row.open = upload;
      row.bar.querySelector(".stored").style.width = `${(100 * upload.offset) / upload.length}%`;
      row.status.textContent = fill(_("%(share)s stored. Choose the file again to continue."), {
        share: percent(upload.offset, upload.length),
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
    for (const input of this.querySelectorAll("input[data-token]")) this.#had(input);
    form.addEventListener("submit", (event) => {
      if (!this.isConnected || !this.isUnfinished) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.#submitter = { button: event.submitter };
      this.#summarise();
    }, true);
  }

  #had(input) {
    const { title, size, id } = input.dataset;
    const url = new URL(id, new URL(this.getAttribute("endpoint"), location.href)).href;
    const row = this.#kept(title, url, "completed");
    row.input = input;
    row.status.textContent = `${STATES.completed()}, ${sized(size)}`;
    row.bar.querySelector(".stored").style.width = "100%";
    call(row.buttons.cancel, _("Remove"), title);
  }

  #token(session) {
    const token = session.result?.file?.details?.token;
    const name = this.querySelector("input[type=file]")?.name;
    if (!token || !name) return null;
    if (!this.multiple) this.querySelectorAll("input[data-token]").forEach((input) => input.remove());
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name: `${name}-token`, value: token });
    input.dataset.token = "";
    this.append(input);
    return input;
  }

  #leaving = (event) => {
    if (this.isBusy) event.preventDefault();
  };
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

function call(button, label, title) {
  button.textContent = label;
  button.ariaLabel = `${label}: ${title}`;
}

const percent = (part, whole) => `${Math.floor((100 * part) / (whole || 1))} %`;

function sized(bytes) {
  const step = Math.min(4, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** step).toFixed(step > 1 ? 1 : 0)} ${["", "K", "M", "G", "T"][step]}B`;
}

function lasting(seconds) {
  if (seconds < 60) return fill(_("%(count)s s"), { count: Math.ceil(seconds) });
  if (seconds < 3600) return fill(_("%(count)s min"), { count: Math.ceil(seconds / 60) });
  return fill(_("%(count)s h"), { count: (seconds / 3600).toFixed(1) });
}

if (!customElements.get("upload-drop")) customElements.define("upload-drop", UploadDrop);
export { UploadDrop };
