// nodemailer with one pooled connection and nunjucks, which reads the same templates.
// Runs in the folder of a work: node nodemailer.mjs PORT

import { createReadStream, existsSync, readFileSync } from "node:fs";
import { parse } from "csv-parse";
import nodemailer from "nodemailer";
import nunjucks from "nunjucks";

const templates = nunjucks.configure(".", { autoescape: true, noCache: false });
const html = templates.getTemplate("digest.html", true);
const text = templates.getTemplate("digest.txt", true);
const attachments = [{ filename: "logo.png", content: readFileSync("logo.png"), contentType: "image/png", cid: "logo" }];
if (existsSync("terms.pdf"))
  attachments.push({ filename: "terms.pdf", content: readFileSync("terms.pdf"), contentType: "application/pdf" });
const transport = nodemailer.createTransport({
  pool: true, maxConnections: 1, maxMessages: Infinity, host: "127.0.0.1", port: Number(process.argv[2]), secure: false, ignoreTLS: true,
});

const waiting = new Set();
for await (const row of createReadStream("recipients.csv").pipe(parse({ columns: true }))) {
  const sent = transport.sendMail({
    from: "News <news@example.com>", to: row.email, subject: `${row.first_name}, your November digest`,
    html: html.render(row), text: text.render(row), attachments,
  }).finally(() => waiting.delete(sent));
  waiting.add(sent);
  // A few wait for the connection, so that it never does.
  if (waiting.size >= 8) await Promise.race(waiting);
}
await Promise.all(waiting);
transport.close();
