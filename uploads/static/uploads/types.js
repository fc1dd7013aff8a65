/**
 * Types of what `upload.js` takes, for editors and their checks: no browser loads this file.
 *
 * @typedef {object} UploadOptions
 * @property {string} [endpoint] URL of the collection of uploads.
 * @property {Object<string, string>} [metadata] What the portal is told beside name, type and size.
 * @property {string} [relativePath] Where below the folder the file goes.
 * @property {object | function} [headers] Sent along with each request: a token, say. A CSRF token is read from the page.
 * @property {boolean} [resume] Whether to look for an open upload of the same file (true).
 * @property {number} [patience] Attempts in a row that may bring nothing forward.
 * @property {number} [leastChunk] Bytes of a request, at least
 * @property {number} [mostChunk] and at most.
 * @property {number} [stall] Seconds without a byte after which a connection is lost.
 * @property {number} [parallel] Parts of a large file at a time (1: in order, each as large as the line allows),
 * @property {string} [parts] sent as numbered chunks to this URL, that of the door for Uppy's S3 plugin.
 *
 * @typedef {"waiting" | "creating" | "comparing" | "sending" | "retrying" | "offline" | "paused" | "completing" | "checking" |
 *   "completed" | "failed" | "cancelled"} UploadState
 */

export {};
