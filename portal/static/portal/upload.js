// Uploads files through the REST API: opens a session, sends its chunks in order, and after a failure asks
// the session where to continue. Nothing that the server acknowledged is sent twice.
"use strict";

const form = document.getElementById("upload");
const list = document.getElementById("uploads");
const drop = form.querySelector(".drop");
const chunkSize = Number(form.dataset.chunkSize);
const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
const PATIENCE = 10; // attempts in a row that bring nothing forward
let queue = Promise.resolve();
let waiting = 0;

class Refused extends Error {} // the server said no, and would say it again

function request(method, url, { body = null, headers = {}, onprogress = null, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open(method, url);
    xhr.responseType = "json";
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (onprogress) xhr.upload.onprogress = (event) => onprogress(event.loaded);
    xhr.onload = () => {
      const answer = xhr.response || {};
      if (xhr.status < 300) resolve({ status: xhr.status, data: answer.data });
      else if ([423, 429, 502, 503, 504].includes(xhr.status)) reject(new Error(answer.message || xhr.statusText));
      else reject(new Refused(answer.message || xhr.statusText));
    };
    xhr.onerror = () => reject(new Error("The connection was lost."));
    if (signal) {
      signal.addEventListener("abort", () => xhr.abort());
      xhr.onabort = () => reject(new Refused("Cancelled."));
    }
    xhr.send(body);
  });
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function upload(file, show, signal) {
  const headers = { "X-CSRFToken": token, "Content-Type": "application/json" };
  const description = {
    FileName: file.name,
    FileSize: file.size,
    CreateOn: new Date(file.lastModified).toISOString(),
    RelativePath: (file.webkitRelativePath || "").split("/").slice(0, -1).join("/"),
  };
  const created = await request("POST", `/api/2.0/files/${form.dataset.folder}/upload/create_session`, {
    headers,
    body: JSON.stringify(description),
    signal,
  });
  const location = created.data.location;
  signal.addEventListener("abort", () => navigator.sendBeacon(`${location}&abort=true`));
  let offset = 0;
  let failures = 0;
  const next = () => {
    // Whole, but the file is still being completed: that is asked for, not sent again.
    if (offset && offset === file.size) return request("POST", `${location}&finalize=true`, { signal });
    const chunk = file.slice(offset, offset + chunkSize);
    const body = new FormData();
    body.append("file", chunk, file.name);
    // Says where the chunk belongs, so that one which the browser sends again by itself is stored once.
    const headers = chunk.size ? { "Content-Range": `bytes ${offset}-${offset + chunk.size - 1}/${file.size}` } : {};
    return request("POST", location, { body, headers, signal, onprogress: (sent) => show(offset + sent) });
  };
  for (;;) {
    try {
      const answer = await next();
      if (answer.status === 201) return;
      offset = answer.data.bytes_uploaded;
      failures = 0;
      if (answer.status === 202) await pause(5);
    } catch (error) {
      if (error instanceof Refused || ++failures > PATIENCE) throw error;
      show(offset, `${error.message} Trying again …`);
      await pause(Math.min(30, 2 ** failures));
      offset = await stored(location, offset);
    }
  }
}

async function stored(location, otherwise) {
  try {
    return (await request("GET", location)).data.bytes_uploaded;
  } catch (error) {
    if (error instanceof Refused) throw error;
    return otherwise;
  }
}

function enqueue(file) {
  const item = document.createElement("li");
  item.innerHTML = '<span></span><span class="status">waiting</span><button type="button" class="quiet">Cancel</button><progress></progress>';
  const [name, status, cancel, bar] = item.children;
  name.textContent = file.name;
  bar.max = Math.max(1, file.size);
  bar.value = 0;
  list.append(item);
  const controller = new AbortController();
  cancel.onclick = () => controller.abort();
  const show = (bytes, text) => {
    bar.value = Math.min(bytes, file.size);
    status.textContent = text || `${Math.floor((100 * bar.value) / bar.max)} %`;
  };
  waiting += 1;
  queue = queue.then(async () => {
    try {
      if (controller.signal.aborted) throw new Refused("Cancelled.");
      await upload(file, show, controller.signal);
      bar.value = bar.max;
      status.textContent = "uploaded";
      item.className = "done";
    } catch (error) {
      status.textContent = error.message;
      item.className = "failed";
    }
    cancel.remove();
    waiting -= 1;
    if (!waiting && !list.querySelector(".failed")) window.location.reload();
  });
}

form.elements.files.addEventListener("change", (event) => {
  [...event.target.files].forEach(enqueue);
  event.target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") [...event.dataTransfer.files].forEach(enqueue);
  });
}
window.addEventListener("beforeunload", (event) => {
  if (waiting) event.preventDefault();
});
