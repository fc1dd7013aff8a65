/* Uppy's dashboard on upload sessions, set up as in Uppy's documentation. */

import { UppyUploads } from "../uploads/adapters.js";

const place = document.getElementById("dashboard");
const { protocol, tus, companion } = place.dataset;
const { AwsS3, Dashboard, Tus, Uppy } = window.Uppy;
const uppy = new Uppy().use(Dashboard, {
  target: place, inline: true, width: "100%", height: 420, theme: "auto", proudlyDisplayPoweredByUppy: false,
});
if (protocol === "s3") {
  uppy.use(AwsS3, { companionEndpoint: companion, shouldUseMultipart: true, getChunkSize: () => 10 * 2 ** 20 });
  uppy.on("file-added", (file) => uppy.setFileMeta(file.id, { size: file.size }));  // required if the user has a quota
} else if (protocol === "own") {
  uppy.use(UppyUploads, { endpoint: tus });
} else {
  uppy.use(Tus, { endpoint: tus });
}
