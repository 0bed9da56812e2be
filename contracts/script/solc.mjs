#!/usr/bin/env node
// What forge takes for a native solc: the compiler from npm (WebAssembly) behind the two calls that forge makes.
// forge sends every source inside the standard JSON, so no import callback is needed and the path arguments mean nothing here.
import { readFileSync, writeSync } from "node:fs";
import solc from "solc";

/** Writes all of `text`: a pipe that is full answers EAGAIN, and one write may take only a part. */
function writeAll(text) {
  const bytes = Buffer.from(text, "utf8");
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(pause, 0, 0, 5);
    }
  }
}

const args = process.argv.slice(2);
if (args.includes("--version")) {
  // forge parses the platform suffix that native builds print; the release and commit before it are the real ones.
  const version = solc.version().replace("Emscripten.clang", "Linux.g++");
  writeAll(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else if (args.includes("--standard-json")) {
  writeAll(solc.compile(readFileSync(0, "utf8")));
} else {
  process.stderr.write(`solc.mjs answers --version and --standard-json only, not: ${args.join(" ")}\n`);
  process.exitCode = 1;
}
