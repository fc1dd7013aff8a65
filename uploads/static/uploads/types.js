/**
 * Types of the arguments of `upload.js`, for editors and type checkers; browsers do not load this file.
 *
 * @typedef {object} UploadOptions
 * @property {string} [endpoint] URL of the collection of uploads.
 * @property {Object<string, string>} [metadata] Metadata besides name, type and size.
 * @property {string} [relativePath] Path of the file below the folder.
 * @property {object | function} [headers] Headers of each request, such as a token. The CSRF token is read from the page.
 * @property {boolean} [resume] Resume an open upload of the same file (default: true).
 * @property {number} [patience] Maximum consecutive attempts without progress; offline attempts do not count.
 * @property {number} [leastChunk] Minimum bytes of a request.
 * @property {number} [mostChunk] Maximum bytes of a request.
 * @property {number} [stall] Seconds without progress after which a connection counts as lost.
 * @property {number} [parallel] Parts of a large file sent in parallel. With 1, chunks are sent in order, as large as the connection allows.
 * @property {string} [parts] URL for parallel parts, sent as numbered chunks: the endpoint for Uppy's S3 plugin.
 *
 * @typedef {"waiting" | "creating" | "comparing" | "sending" | "retrying" | "offline" | "paused" | "completing" | "checking" |
 *   "completed" | "failed" | "cancelled"} UploadState
 */

export {};
