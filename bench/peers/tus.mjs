// The tus reference server for Node, on S3 or on files: node tus.mjs s3|files PORT DIRECTORY
import { FileStore } from "@tus/file-store";
import { S3Store } from "@tus/s3-store";
import { Server } from "@tus/server";

const [kind, port, directory] = process.argv.slice(2);
const datastore =
  kind === "files"
    ? new FileStore({ directory })
    : new S3Store({
        partSize: 10 * 1024 * 1024,
        s3ClientConfig: {
          bucket: process.env.AWS_STORAGE_BUCKET_NAME,
          endpoint: process.env.AWS_S3_ENDPOINT_URL,
          region: "us-east-1",
          forcePathStyle: true,
          credentials: {
            accessKeyId: process.env.AWS_ACCESS_KEY_ID,
            secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,
          },
        },
      });
new Server({ path: "/files", datastore }).listen({ host: "127.0.0.1", port: Number(port) });
