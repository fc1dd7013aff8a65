/** Adapters that let existing uploaders (FilePond, Uppy) send files as upload sessions. */

import { UploadQueue, UploadSession } from "./upload.js";

/** FilePond: `FilePond.create(input, { server: { process: process({ endpoint: "/tus/" }) } })`. */
export const process = (options) => (_field, file, _metadata, load, error, progress, abort) => {
  const session = new UploadSession(file, options);
  session.addEventListener("progress", () => progress(true, session.stored, file.size));
  session.addEventListener("state", () => {
    if (session.state === "completed") load(session.url);
    if (session.state === "failed") error(session.error.message);
  });
  session.start();
  return { abort: () => session.cancel().then(abort) };
};

/** Uppy: `uppy.use(UppyUploads, { endpoint: "/tus/" })`. */
export class UppyUploads {
  type = "uploader";
  sessions = new Map();

  constructor(uppy, options = {}) {
    Object.assign(this, { uppy, id: options.id ?? "UppyUploads", queue: new UploadQueue(options) });
  }

  install() {
    this.uppy.addUploader(this.upload);
    this.uppy.on("file-removed", ({ id }) => this.sessions.get(id)?.cancel());
  }

  uninstall() {
    this.uppy.removeUploader(this.upload);
  }

  update() {}

  upload = (ids) => {
    const files = ids.map((id) => this.uppy.getFile(id));
    this.uppy.emit("upload-start", files);
    return Promise.all(files.map((file) => this.one(file)));
  };

  one({ id, name, data, meta }) {
    const file = data instanceof File ? data : new File([data], name, { type: data.type });
    const session = this.queue.add(file, { relativePath: meta.relativePath ?? "" });
    const now = () => this.uppy.getFile(id);
    this.sessions.set(id, session);
    return new Promise((resolve) => {
      session.addEventListener("progress", () =>
        this.uppy.emit("upload-progress", now(), { bytesUploaded: session.stored, bytesTotal: file.size }),
      );
      session.addEventListener("state", () => {
        if (!session.isOver) return;
        const { url, result, error } = session;
        if (result) this.uppy.emit("upload-success", now(), { status: 200, body: result, uploadURL: result.url ?? url });
        else if (error) this.uppy.emit("upload-error", now(), error);
        resolve();
      });
    });
  }
}
