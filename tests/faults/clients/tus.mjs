// node tus.mjs <endpoint> <token> <file> [abort-after-bytes]: tus-js-client as its documentation has it.
import { createReadStream, statSync } from "node:fs";
import { basename } from "node:path";
import { Upload } from "tus-js-client";

const [endpoint, token, path, limit] = process.argv.slice(2);
const parallelUploads = Number(process.env.PARALLEL);
const upload = new Upload(createReadStream(path), {
  endpoint,
  ...(parallelUploads > 1 ? { parallelUploads } : { uploadSize: statSync(path).size }),
  headers: { Authorization: `Token ${token}` },
  retryDelays: [0, 200, 400, 800, 1600, 3200],
  metadata: { filename: basename(path) },
  onProgress: (sent) => {
    if (limit && sent >= Number(limit)) upload.abort(true).then(() => process.exit(0));
  },
  onError: (error) => { console.error(String(error)); process.exit(1); },
  onSuccess: () => { console.log(upload.url); process.exit(0); },
});
upload.start();
