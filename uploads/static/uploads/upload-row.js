/** A row in the list of `<upload-drop>`: picture, name, bar, status and buttons of one upload. */

export const _ = (text) => globalThis.gettext?.(text) ?? text;
export const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (_match, name) => values[name]);

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

const FULL = new Set(["completing", "checking", "completed"]);
const PAUSABLE = new Set(["sending", "creating", "comparing", "retrying", "offline", "waiting"]);

export const canPause = ({ state }) => PAUSABLE.has(state);
export const canCancel = ({ state }) => state !== "completing" && state !== "cancelled";
export const storedOf = ({ state, file, stored }) => (FULL.has(state) ? file.size : stored);

const SHEET_OF_PAPER = "M6 3h8l4 4v14H6zM14 3v4h4";
const NOTE = "a2 2 0 1 1-4 0 2 2 0 0 1 4 0";
/** Icons by file name: the first match counts. */
const KINDS = [
  [/\.(avif|bmp|gif|hei[cf]|jpe?g|png|svg|tiff?|webp)$/i, "M4 5h16v14H4zM4 16l5-5 5 5 2-2 4 4M15 9h1"],
  [/\.(avi|m4v|mkv|mov|mp4|mpe?g|webm)$/i, "M4 5h16v14H4zM10 9v6l5-3z"],
  [/\.(aac|flac|m4a|mp3|ogg|opus|wav)$/i, `M9 17V6l10-2v11M9 17${NOTE}M19 15${NOTE}`],
  [/\.(7z|bz2|gz|rar|tar|tgz|xz|zip|zst)$/i, `${SHEET_OF_PAPER}M11 9h2M11 12h2M11 15h2`],
  [/\.(csv|docx?|md|od[pst]|pdf|pptx?|rtf|txt|xlsx?)$/i, `${SHEET_OF_PAPER}M9 12h6M9 15h6M9 18h3`],
];

export class UploadRow {
  /** @param {string} title @param {File | null} file A file for a thumbnail, if it is an image. */
  constructor(title, file = null) {
    const path = KINDS.find(([names]) => names.test(title))?.[1] ?? SHEET_OF_PAPER;
    const line = document.createElement("li");
    line.part = "item";
    const icon = `<svg viewBox="0 0 24 24"><path d="${path}"/></svg>`;
    line.innerHTML = `<span class="icon" part="icon" aria-hidden="true">${icon}</span>
<span class="name" part="name"></span><span class="buttons"></span>
<span class="bar" part="bar" role="progressbar"><i class="sent"></i><i class="stored"></i></span>
<span class="status" part="status"></span>`;
    const [picture, name, holder, bar, status] = line.children;
    name.textContent = name.title = title;
    bar.ariaLabel = title;
    Object.assign(this, { line, bar, status, title, buttons: {}, note: "", image: null });
    const labels = { pause: _("Pause"), resume: _("Resume"), retry: _("Try again"), cancel: _("Cancel") };
    for (const [key, label] of Object.entries(labels)) holder.append((this.buttons[key] = buttonOf(label, title)));
    if (file?.type.startsWith("image/")) this.#preview(picture, file);
  }

  /** Show a thumbnail. A policy of the page without `img-src blob:`, or an unknown format, leaves the icon. */
  #preview(picture, file) {
    const image = (this.image = document.createElement("img"));
    Object.assign(image, { alt: "", loading: "lazy", src: URL.createObjectURL(file) });
    image.onload = () => {
      this.#release();
      image.previousSibling.remove();
    };
    image.onerror = () => {
      this.#release();
      image.remove();
    };
    picture.append(image);
  }

  #release() {
    if (this.image) URL.revokeObjectURL(this.image.src);
  }

  remove() {
    this.#release();
    this.line.remove();
  }

  /** Show percentages of the file that are stored and sent. */
  show(stored, sent = stored) {
    this.bar.querySelector(".stored").style.width = `${stored}%`;
    this.bar.querySelector(".sent").style.width = `${sent}%`;
    this.bar.ariaValueNow = Math.floor(stored);
  }

  /** Show the state of a session. `hints` tell, by error code, what the element accepts. */
  paint(session, hints, { canRetry, isField }) {
    const { state, file, sent } = session;
    const share = FULL.has(state) ? 100 : (100 * session.stored) / (file.size || 1);
    this.line.dataset.state = state;
    this.show(share, state === "sending" ? Math.max(share, (100 * sent) / file.size) : share);
    this.status.textContent = sentences(statusOf(session, hints), this.note);
    const { pause, resume, retry, cancel } = this.buttons;
    keepFocus(this.line, null, () => {
      pause.hidden = !canPause(session);
      resume.hidden = state !== "paused";
      retry.hidden = state !== "failed" || !canRetry;
      cancel.hidden = !canCancel(session) || (state === "completed" && !isField);
    });
    rename(cancel, ["completed", "failed"].includes(state) ? _("Remove") : _("Cancel"), this.title);
  }
}

function statusOf(session, hints) {
  const { state, error, file, stored, speed, secondsLeft, url } = session;
  const sentence = error && (SENTENCES[error.code]?.() ?? error.message);
  if (state === "failed") {
    const id = url && fill(_("Upload ID: %(id)s"), { id: url.split("/").pop().slice(0, 8) });
    return sentences(sentence, hints[error.code], id);
  }
  if (state === "retrying" && sentence) return `${sentence} ${_("Retrying …")}`;
  if (state === "completed") return completed(file.size, storedAs(session));
  if (state !== "sending") {
    return stored || FULL.has(state) ? `${STATES[state]()}, ${percent(storedOf(session), file.size)}` : STATES[state]();
  }
  const left = secondsLeft === null ? "" : `, ${fill(_("%(time)s left"), { time: lasting(secondsLeft) })}`;
  const of = fill(_("%(stored)s of %(size)s stored"), { stored: sized(stored), size: sized(file.size) });
  return `${of}, ${sized(speed)}/s${left}`;
}

export function completed(size, note = "") {
  return sentences(`${STATES.completed()}, ${sized(size)}`, note);
}

function sentences(...texts) {
  return texts.filter(Boolean).join(". ").replace(/([.…])\. /g, "$1 ");
}

function storedAs({ file, result }) {
  const { title: name, version } = result?.file ?? {};
  if (version > 1) return fill(_("New version %(version)s of %(name)s"), { version, name });
  return name && name.normalize() !== file.name.normalize() ? fill(_("Stored as %(name)s"), { name }) : "";
}

export function buttonOf(label, title = "") {
  const button = document.createElement("button");
  button.type = "button";
  button.part = "button";
  rename(button, label, title);
  return button;
}

export function rename(button, label, title) {
  button.textContent = label;
  if (title) button.ariaLabel = `${label}: ${title}`;
}

/** Change the buttons of a box; if this hides the focused one, focus another. */
export function keepFocus(box, otherwise, change) {
  const focused = box.getRootNode().activeElement;
  change();
  if (box.contains(focused) && focused.hidden) (box.querySelector("button:not([hidden])") ?? otherwise)?.focus();
}

export const percent = (part, whole) => (whole ? `${Math.floor((100 * part) / whole)} %` : "100 %");

export function sized(bytes) {
  const step = Math.min(4, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** step).toFixed(step > 1 ? 1 : 0)} ${["", "K", "M", "G", "T"][step]}B`;
}

function lasting(seconds) {
  if (seconds < 60) return fill(_("%(count)s s"), { count: Math.ceil(seconds) });
  if (seconds < 3600) return fill(_("%(count)s min"), { count: Math.ceil(seconds / 60) });
  return fill(_("%(count)s h"), { count: (seconds / 3600).toFixed(1) });
}
