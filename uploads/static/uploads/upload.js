/**
 * Uploads files and resumes after lost connections, server crashes, reloads, and in another browser: docs/browser.md.
 *
 * @typedef {import("./types.js").UploadOptions} UploadOptions
 */

const MIB = 2 ** 20;
const LEAST_PART = 8 * MIB;
const LATER = new Set([408, 423, 425, 429, 500, 502, 503, 504]);
const PASSING = new Set(["network", "offset_mismatch", "session_closed", "http_413"]); // 413 from a proxy
const FINAL = new Set(["completed", "failed", "cancelled"]);
/** Sizes that requests to an endpoint may have at most, because a proxy refused larger ones. */
const CEILINGS = new Map();
/** Connections to the store, parts signed in one request, and attempts before an unreachable store is given up. */
const [CONNECTIONS, BATCH, STORE_ATTEMPTS] = [4, 16, 3];
/** Endpoints whose store signs no URLs or cannot be reached by this page: their files go through the portal. */
const UNREACHABLE = new Set();
const DEFAULTS = {
  endpoint: "/tus/",
  metadata: {},
  relativePath: "",
  headers: {},
  resume: true,
  patience: 12,
  leastChunk: MIB,
  mostChunk: 256 * MIB,
  stall: 60,
  parallel: 1,
  parts: "/uppy/",
};

/** The reason why an upload stopped. */
export class UploadError extends Error {
  constructor(code, message, { status = 0, wait = 0 } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.wait = wait;
  }
}

/** The upload of one file. Events: `state`, `progress`. */
export class UploadSession extends EventTarget {
  #options;
  #queue;
  #failures = 0;
  #polls = 0;
  #chunk = 8 * MIB;
  #lost = false;
  #anew = false;
  #unsure = false;
  #xhrs = new Set();
  #etags = new Map();
  /** URL of the parts if they go straight to the store, and the server's plan of them. */
  #direct = null;
  #plan = null;
  #signed = new Map();
  #signing = null;
  #storeFailures = 0;
  #reached = false;
  #wake = null;
  #running = null;
  #samples = [];

  /** @param {File} file @param {UploadOptions} [options] @param {UploadQueue} [queue] */
  constructor(file, options = {}, queue = null) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#queue = queue ?? new UploadQueue();
    if (!queue) this.#queue.sessions.push(this);
    this.file = file;
    /** @type {import("./types.js").UploadState} */
    this.state = "waiting";
    /** Bytes that the server has stored durably. */
    this.stored = 0;
    /** Bytes sent, including stored ones. */
    this.sent = 0;
    /** @type {UploadError | null} */
    this.error = null;
    /** The server's representation of the finished file. */
    this.result = null;
    /** URL of the upload, once created. */
    this.url = options.url ?? null;
    this.#lost = Boolean(this.url);
  }

  /** Bytes per second over the last ten seconds. */
  get speed() {
    const first = this.#samples[0];
    return first && Date.now() > first.at ? (1000 * (this.sent - first.sent)) / (Date.now() - first.at) : 0;
  }

  /** Estimated seconds left, or null if unknown. */
  get secondsLeft() {
    return this.state === "sending" && this.speed ? (this.file.size - this.sent) / this.speed : null;
  }

  get isOver() {
    return FINAL.has(this.state);
  }

  /** Start or continue; resolves when the upload is over or paused. */
  start() {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      this.#queue.next();
    });
    return this.#running;
  }

  pause() {
    if (this.isOver || this.state === "paused") return;
    this.#set("paused");
    this.#stop();
  }

  resume() {
    if (this.state === "paused") this.#again();
  }

  retry() {
    if (this.state !== "failed") return;
    this.#anew = false;
    if (this.error.status === 422) this.#forget(); // All bytes arrived, but made no file.
    this.#again();
  }

  /** Cancel the upload; stored bytes are deleted. */
  async cancel() {
    if (this.state === "cancelled") return;
    this.#set("cancelled");
    this.#stop();
    queueMicrotask(() => this.#queue.next()); // Others may be canceled at the same time.
    // An upload of another page is not ended here.
    if (this.url && this.error?.code !== "sent_elsewhere") await this.#end();
  }

  #end() {
    return this.#call("DELETE", this.url, {}, { keepalive: true }).catch(() => {});
  }

  #again() {
    this.error = null;
    this.#failures = 0;
    this.#lost = Boolean(this.url);
    this.#set("waiting");
    this.#queue.next();
  }

  #stop() {
    for (const xhr of this.#xhrs) xhr.abort();
    this.#wake?.();
  }

  get #stopped() {
    return this.state === "paused" || this.state === "cancelled";
  }

  async #run() {
    while (!this.#stopped) {
      try {
        await this.#ready();
        if (this.#stopped) return;
        if (!this.url) await this.#open();
        else if (this.#lost) await this.#ask();
        if (this.#stopped) return;
        if (this.#unsure) {
          await this.#compare();
          continue; // The stored bytes may belong to another file.
        }
        if (this.stored < this.file.size) await (this.#direct ? this.#sendDirect() : this.#numbered ? this.#sendNumbered() : this.#send());
        else if (await this.#finish()) return;
      } catch (error) {
        if (this.#stopped) return;
        if (!(await this.#recover(error))) return;
      }
    }
  }

  async #ready() {
    while (this.#queue.pausedUntil > Date.now() && !this.#stopped) {
      this.#set("retrying");
      await this.#sleep((this.#queue.pausedUntil - Date.now()) / 1000);
    }
  }

  async #recover(thrown) {
    const error = thrown instanceof UploadError ? thrown : new UploadError("network", String(thrown?.message ?? thrown));
    const gone = this.url && (error.status === 404 || error.status === 410);
    if (gone && !isForeign(error)) {
      this.#forget();
      this.#anew = !this.#anew;
      if (this.#anew) return true;
    }
    if (error.code === "http_413" && this.#numbered && this.url) {
      await this.#end();
      this.#sendInOrder();
      return true;
    }
    if (error.code === "store_unreachable" || error.code === "direct_unsupported") {
      UNREACHABLE.add(this.#base("endpoint").href);
      await this.#end();
      this.#forget();
      return (this.#anew = true);
    }
    // Some browsers report a VPN or a virtual network as offline, so the property alone proves nothing.
    const offline = error.code === "network" && navigator.onLine === false;
    const isPassing = passes(error) || (gone && isForeign(error));
    if (!isPassing || (!offline && ++this.#failures > this.#options.patience)) {
      this.error = error;
      this.#set("failed");
      return false;
    }
    if (error.status === 429 && error.code !== "too_many_sessions") this.#queue.pausedUntil = Date.now() + 1000 * (error.wait || 5);
    this.#lost = Boolean(this.url);
    if (!offline) this.#chunk = Math.max(this.#options.leastChunk, this.#chunk / 2);
    this.error = error;
    this.#set(offline ? "offline" : "retrying");
    // Jitter keeps clients from retrying at once.
    const backoff = Math.min(30, 2 ** (this.#failures - 1)) * (0.5 + Math.random() / 2);
    await this.#sleep(offline ? 30 : Math.max(error.wait, backoff), "online");
    this.error = null;
    return true;
  }

  #forget() {
    Object.assign(this, { url: null, stored: 0, sent: 0 });
    this.#direct = this.#plan = null;
    this.#signed.clear();
    this.#unsure = false;
    this.#etags.clear();
  }

  /** Give up parallel parts: their size is fixed, and the endpoint refuses it. */
  #sendInOrder() {
    this.#forget();
    this.#anew = true;
    this.#options.parallel = 1;
  }

  async #open() {
    this.#set("creating");
    if (this.#numbered && this.#partSize > this.#ceiling) this.#sendInOrder();
    const head = await this.#reading(this.file.slice(0, MIB).arrayBuffer());
    const about = {
      filename: this.file.name,
      filetype: this.file.type,
      modified: String(this.file.lastModified),
      crc32: hex(update(-1, new Uint8Array(head))),
      relativePath: this.#options.relativePath,
      ...this.#options.metadata,
    };
    const open = this.#options.resume && !this.#anew && (await this.#queue.take(about, this.file.size, this.#options));
    if (open) {
      this.url = new URL(open.upload, location.href).href;
      this.#lost = true;
      if (open.sending) throw new UploadError("sent_elsewhere", "Another page sends this file.", { status: 423, wait: 2 });
      this.#unsure = true; // Until the stored bytes are compared.
      if (open.mode === "direct") this.#direct = `${this.url}/parts`;
      await this.#ask();
    } else if (this.#numbered) {
      const said = { filename: about.filename, type: about.filetype, metadata: { ...about, size: this.file.size } };
      const answer = await this.#post(new URL("s3/multipart", this.#base("parts")), said);
      const { uploadId } = await answer.json().catch(() => ({}));
      this.url = this.#created(uploadId, "The response has no uploadId.");
    } else {
      const answer = await this.#call("POST", this.#base("endpoint"), {
        "Upload-Length": String(this.file.size),
        "Upload-Metadata": Object.entries(about).map(([key, value]) => `${key} ${base64(value)}`).join(","),
      });
      const hint = "The response has no Location. A server of another origin must expose the header (CORS).";
      this.url = this.#created(answer.headers.get("Location"), hint);
      const parts = answer.headers.get("Upload-Parts");
      if (parts && !UNREACHABLE.has(this.#base("endpoint").href)) this.#direct = new URL(parts, this.url).href;
    }
    this.#lost = false;
    if (this.state === "cancelled") await this.#end();
  }

  #created(url, hint) {
    if (!url) throw new UploadError("invalid_response", hint);
    return new URL(url, this.#base("endpoint")).href;
  }

  /** Get the stored bytes: data in transit when a connection broke may have arrived. */
  async #ask() {
    if (this.#direct) {
      const { parts, ...plan } = await (await this.#call("GET", this.#direct)).json();
      this.#plan = plan;
      this.#etags = new Map(parts.map(({ number, crc32 }) => [number, crc32]));
      this.#moved(parts.reduce((sum, { size }) => sum + size, 0));
    } else if (this.#numbered) {
      const parts = await (await this.#call("GET", this.#part())).json();
      this.#etags = new Map(parts.map((part) => [part.PartNumber, part.ETag]));
      this.#moved(parts.reduce((sum, part) => sum + part.Size, 0));
    } else {
      const answer = await this.#call("HEAD", this.url).catch(async (error) => {
        if (error.status === 422) return null; // The later GET reports the reason.
        // A response to HEAD has no body; the code is in that to GET.
        if (error.status && error.status < 422) await this.#call("GET", this.url);
        throw error;
      });
      this.#moved(answer ? Number(answer.headers.get("Upload-Offset")) : this.file.size);
    }
    this.#lost = false;
  }

  /** Start over if the stored bytes differ from the file. */
  async #compare() {
    this.#set("comparing");
    let same = true;
    if (this.#direct) {
      for (const [number, crc32] of this.#etags) {
        const start = (number - 1) * this.#plan.part_size;
        same &&= !crc32 || crc32 === (await this.#sum(start, this.#plan.part_size));
      }
    } else if (this.#numbered) {
      for (const [number, etag] of this.#etags) {
        const size = parseInt(etag.split("-")[1], 16);
        same &&= etag.includes(await this.#sum((number - 1) * this.#partSize, size));
      }
    } else {
      const said = await (await this.#call("GET", `${this.url}?crc32`)).json();
      same = !said.crc32 || said.crc32 === (await this.#sum(0, said.offset));
    }
    if (this.#stopped) return;
    this.#unsure = false;
    if (!same) {
      this.#forget();
      this.#anew = true;
    }
  }

  /** CRC-32 of a range, up to the end of the file; the page stays responsive meanwhile. */
  async #sum(start, size) {
    let sum = -1;
    const end = Math.min(start + size, this.file.size);
    for (let at = start; at < end && !this.#stopped; at += 4 * MIB) {
      const piece = this.file.slice(at, Math.min(at + 4 * MIB, end));
      sum = update(sum, new Uint8Array(await this.#reading(piece.arrayBuffer())));
    }
    return hex(sum);
  }

  get #partSize() {
    return Math.max(1, Math.ceil(this.file.size / 9000 / LEAST_PART)) * LEAST_PART;
  }

  get #numbered() {
    return this.#options.parallel > 1 && this.file.size > LEAST_PART;
  }

  get #ceiling() {
    return CEILINGS.get(this.#base("endpoint").href) ?? Infinity;
  }

  #base(option) {
    return new URL(this.#options[option], location.href);
  }

  #part(what = "") {
    return new URL(`s3/multipart/${this.url.split("/").pop()}${what}`, this.#base("parts"));
  }

  #sendNumbered() {
    return this.#sendParts(this.#partSize, this.#options.parallel, async (number, part, progress) => {
      const xhr = await this.#transmit("PUT", this.#part(`/${number}`), {}, part, progress);
      return xhr.getResponseHeader("ETag");
    });
  }

  async #sendDirect() {
    if (!this.#plan) await this.#ask();
    const sending = this.#sendParts(this.#plan.part_size, CONNECTIONS, async (number, part, progress, todo) => {
      while (!(this.#signed.get(number)?.until > Date.now())) {
        this.#signing ??= this.#sign([number, ...todo]).finally(() => (this.#signing = null));
        await this.#signing;
      }
      const { url, headers, crc32 } = this.#signed.get(number);
      this.#signed.delete(number);
      const reached = (bytes) => {
        this.#reached = true;
        progress(bytes);
      };
      await this.#transmit("PUT", url, headers, part, reached, true);
      this.#storeFailures = 0;
      return crc32;
    });
    await sending.catch((error) => (error.ofStore ? this.#unstored(error) : Promise.reject(error)));
  }

  /** Get the URLs of the next parts; the store takes only bytes with these checksums. */
  async #sign(numbers) {
    const size = this.#plan.part_size;
    const parts = [];
    for (const number of numbers.slice(0, this.#etags.size ? BATCH : CONNECTIONS)) {
      parts.push({ number, crc32: await this.#sum((number - 1) * size, size) });
    }
    if (this.#stopped) throw new UploadError("network", "");
    const { lifetime, parts: signed } = await (await this.#post(this.#direct, { parts })).json();
    const until = Date.now() + 500 * lifetime; // half of it: sending takes time, too
    signed.forEach((one, index) => this.#signed.set(one.number, { ...one, until, crc32: parts[index].crc32 }));
  }

  /** Try again after an error of the store, or send through the portal if this page cannot reach the store. */
  async #unstored(error) {
    const lost = new UploadError("network", error.status ? `The store answered ${error.status}.` : error.message);
    if (this.#stopped || LATER.has(error.status)) throw lost;
    await this.#call("GET", this.url); // Is it the network?
    // Without a CORS rule, browsers send no byte. Otherwise, the next URL may do better.
    if (++this.#storeFailures < STORE_ATTEMPTS && (error.status || this.#reached)) throw lost;
    const known = UNREACHABLE.has(this.#base("endpoint").href);
    if (!known) console.warn("The store cannot be reached from this page (CORS?). Uploads go through the portal.");
    throw new UploadError("store_unreachable", "The store cannot be reached.");
  }

  async #sendParts(size, connections, put) {
    this.#set("sending");
    const { size: all } = this.file;
    const count = Math.ceil(all / size);
    const todo = Array.from({ length: count }, (_, index) => index + 1).filter((number) => !this.#etags.has(number));
    const loaded = {};
    let failed;
    const moved = () =>
      this.#moved(
        this.#etags.size * size - (this.#etags.has(count) && count * size - all),
        Object.values(loaded).reduce((sum, bytes) => sum + bytes, 0),
      );
    const one = async () => {
      for (let number; !this.#stopped && !failed && (number = todo.shift()); ) {
        const part = this.file.slice((number - 1) * size, number * size);
        const progress = (bytes) => {
          loaded[number] = bytes;
          moved();
        };
        const etag = await put(number, part, progress, todo);
        delete loaded[number];
        this.#etags.set(number, etag);
        moved();
      }
    };
    // Parts of the other loops are kept.
    await Promise.all(Array.from({ length: connections }, () => one().catch((error) => (failed ??= error))));
    if (failed) throw failed;
  }

  async #send() {
    this.#set("sending");
    const began = performance.now();
    // Requests end at part boundaries of the store, so that it writes each byte once, even after a lost connection.
    const next = this.stored + Math.min(this.#chunk, this.#ceiling);
    const border = Math.floor(next / LEAST_PART) * LEAST_PART;
    const end = border > this.stored ? border : next;
    const chunk = this.file.slice(this.stored, Math.min(end, this.file.size));
    const headers = { "Upload-Offset": String(this.stored), "Content-Type": "application/offset+octet-stream" };
    const xhr = await this.#transmit("PATCH", this.url, headers, chunk, (bytes) => this.#progress(this.stored + bytes));
    this.#moved(Number(xhr.getResponseHeader("Upload-Offset")));
    const seconds = (performance.now() - began) / 1000;
    if (seconds < 4) this.#chunk = Math.min(this.#options.mostChunk, 2 * this.#chunk);
    if (seconds > 16) this.#chunk = Math.max(this.#options.leastChunk, this.#chunk / 2);
  }

  async #transmit(method, url, headers, chunk, progress, signed = false) {
    await this.#reading(chunk.slice(0, 1).arrayBuffer());
    const all = signed ? headers : { ...(await headersOf(url, this.#options)), ...headers };
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(new UploadError("network", ""));
      const xhr = new XMLHttpRequest();
      let timer;
      const watch = (seconds) => {
        clearTimeout(timer);
        timer = setTimeout(() => xhr.abort(), 1000 * seconds);
      };
      xhr.open(method, url);
      for (const [name, value] of Object.entries(all)) xhr.setRequestHeader(name, value);
      xhr.upload.onprogress = ({ loaded }) => {
        watch(this.#options.stall);
        progress(loaded);
      };
      xhr.upload.onload = () => {
        watch(5 * this.#options.stall);
        if (this.sent === this.file.size && !this.#stopped) this.#set("completing");
      };
      xhr.onloadend = () => {
        clearTimeout(timer);
        this.#xhrs.delete(xhr);
        const told = signed || (xhr.getResponseHeader("Upload-Offset") ?? xhr.getResponseHeader("ETag"));
        if (xhr.status >= 200 && xhr.status < 300 && told !== null) return resolve(xhr);
        const error = xhr.status
          ? refusal(xhr.status, xhr.responseText, xhr.getResponseHeader("Retry-After"))
          : new UploadError("network", "The connection was lost.");
        const half = Math.ceil(chunk.size / 2);
        if (error.code === "http_413" && !signed) CEILINGS.set(this.#base("endpoint").href, Math.min(this.#ceiling, half));
        reject(Object.assign(error, { ofStore: signed }));
      };
      this.#xhrs.add(xhr);
      watch(this.#options.stall);
      xhr.send(chunk);
    });
  }

  async #finish() {
    const said = await (await this.#call("GET", this.url)).json();
    if (this.#stopped) return true;
    if (said.state === "completed") {
      this.result = said;
      this.#set("completed");
      return true;
    }
    if (said.state === "failed") throw new UploadError(said.code || "completion_failed", said.failure, { status: 422 });
    if (said.state === "open" && this.#direct) await this.#post(this.#direct.replace(/parts$/, "complete"), {});
    else if (said.state === "open" && this.#numbered) await this.#complete();
    else if (said.state === "open" && this.file.size === 0) await this.#call("HEAD", this.url);
    else this.#set(said.state === "checking" ? "checking" : "completing");
    await this.#sleep(Math.min(5, 0.5 * 2 ** this.#polls++));
    return false;
  }

  #complete() {
    return this.#post(this.#part("/complete"), { parts: [...this.#etags].map(([PartNumber, ETag]) => ({ PartNumber, ETag })) });
  }

  #post(url, said) {
    return this.#call("POST", url, { "Content-Type": "application/json" }, { body: JSON.stringify(said) });
  }

  #call(method, url, headers = {}, extra = {}) {
    return call(method, url, this.#options, headers, extra);
  }

  async #reading(promise) {
    return promise.catch(() => {
      throw new UploadError("file_changed", "The file was changed, moved or deleted.");
    });
  }

  #moved(offset, onTheWay = 0) {
    if (offset > this.stored) this.#failures = 0;
    this.stored = offset;
    this.#progress(offset + onTheWay);
  }

  #progress(sent) {
    const at = Date.now();
    if (sent < this.sent) this.#samples = [];
    this.sent = sent;
    this.#samples.push({ at, sent });
    while (this.#samples.length > 2 && this.#samples[0].at < at - 10000) this.#samples.shift();
    this.dispatchEvent(new Event("progress"));
  }

  #set(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #sleep(seconds, event = "") {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), 1000 * seconds);
      this.#wake = () => {
        clearTimeout(timer);
        if (event) removeEventListener(event, this.#wake);
        this.#wake = null;
        resolve();
      };
      if (event) addEventListener(event, this.#wake);
    });
  }
}

/** A queue of uploads with limited concurrency. */
export class UploadQueue {
  #options;
  #open = null;

  /** @param {UploadOptions & {concurrency?: number}} [options] */
  constructor(options = {}) {
    this.#options = { concurrency: 3, ...options };
    /** @type {UploadSession[]} */
    this.sessions = [];
    /** Time before which nothing is sent (ms). */
    this.pausedUntil = 0;
  }

  /** @param {File} file @param {UploadOptions} [options] @returns {UploadSession} */
  add(file, options = {}) {
    const session = new UploadSession(file, { ...this.#options, ...options }, this);
    this.sessions.push(session);
    queueMicrotask(() => this.next());
    return session;
  }

  /** Return a session for an existing upload, to cancel it. */
  adopt(file, url, state = "paused") {
    const session = new UploadSession(file, { ...this.#options, url: new URL(url, location.href).href }, this);
    return Object.assign(session, { state });
  }

  remove(session) {
    this.sessions = this.sessions.filter((other) => other !== session);
  }

  next() {
    const busy = this.sessions.filter((session) => !session.isOver && !["waiting", "paused"].includes(session.state));
    const waiting = this.sessions.filter((session) => session.state === "waiting");
    waiting.slice(0, Math.max(0, this.#options.concurrency - busy.length)).forEach((session) => session.start());
  }

  /** Return the user's open uploads from all pages. */
  async openUploads(options = this.#options) {
    const found = [];
    let after = "";
    do {
      const url = new URL(options.endpoint ?? DEFAULTS.endpoint, location.href);
      if (options.parallel > 1) url.searchParams.set("numbered", "");
      if (after) url.searchParams.set("after", after);
      const page = await (await call("GET", url, { ...DEFAULTS, ...options })).json();
      found.push(...page.uploads);
      after = page.next;
    } while (after && found.length < 5000);
    return found;
  }

  /** Take the open upload of a file from the list. */
  async take(about, size, options) {
    this.#open ??= this.openUploads(options).catch((error) => {
      this.#open = null;
      if (!passes(error)) return [];
      throw error;
    });
    const open = await this.#open;
    const index = open.findIndex((upload) => isOf(upload, about, size));
    return index < 0 ? null : open.splice(index, 1)[0];
  }
}

/** Return whether a proxy answered, not the app. */
function isForeign({ code }) {
  return code.startsWith("http_");
}

function passes({ code, status }) {
  return PASSING.has(code) || LATER.has(status) || code.startsWith("http_5");
}

/** Compare name, size, modification time, first bytes and path. Macs decompose the letters of names. */
function isOf(upload, about, size) {
  const same = (key) => String(upload.metadata[key] ?? "").normalize() === String(about[key]).normalize();
  return upload.length === size && Object.keys(about).every(same);
}

async function call(method, url, options, headers = {}, extra = {}) {
  const answer = await fetch(url, {
    method,
    headers: { ...(await headersOf(url, options)), ...headers },
    credentials: "same-origin",
    cache: "no-store",
    signal: AbortSignal.timeout(5000 * options.stall),
    ...extra,
  }).catch(() => {
    throw new UploadError("network", "The connection was lost.");
  });
  if (!answer.ok) throw refusal(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer;
}

async function headersOf(url, { headers }) {
  const given = typeof headers === "function" ? await headers() : headers;
  const cookie = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
  const ours = new URL(url, location.href).origin === location.origin;
  const token = ours && (document.querySelector("[name=csrfmiddlewaretoken]")?.value ?? cookie);
  return { "Tus-Resumable": "1.0.0", Accept: "application/json", ...(token && { "X-CSRFToken": token }), ...given };
}

function refusal(status, text, retryAfter) {
  let said = {};
  try {
    said = JSON.parse(text) ?? {};
  } catch {} // response of a proxy
  const code = typeof said.code === "string" ? said.code : `http_${status}`; // Other services send numbers.
  return new UploadError(code, said.title ?? `The server answered ${status}.`, {
    status,
    wait: Number(retryAfter) || 0,
  });
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function update(sum, bytes) {
  for (let at = 0; at < bytes.length; at++) sum = TABLE[(sum ^ bytes[at]) & 255] ^ (sum >>> 8);
  return sum;
}

const hex = (sum) => ((sum ^ -1) >>> 0).toString(16).padStart(8, "0");
