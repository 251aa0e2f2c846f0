/**
 * Runs commands at once in one process: each argument is one, its words as JSON. For tests of what commands do to each other: to begin a
 * process for each takes longer than the commands themselves.
 */
import process from "node:process";
import { main } from "../../../src/main.ts";

const io = { out: console.log, err: console.error, isTerminal: false };
const codes = await Promise.all(process.argv.slice(2).map((words) => main(JSON.parse(words) as string[], io)));
process.exit(Math.max(...codes));
