/**
 * A queue's file as an inspector asks it.
 * @module
 */
import type { QueueInspector } from "../inspection.ts";
import {
  dropDeadLetters,
  groupDeadLetters,
  listDeadLetters,
  queueStats,
  readDeadLetter,
  replayDeadLetters,
} from "./inspect.ts";
import { abandonTarget, moveTarget } from "./move_target.ts";

/** Each question opens the file anew: a relay may replace it meanwhile. */
export function fileInspector(path: string): QueueInspector {
  const asked = <Answer>(work: () => Answer): Promise<Answer> => new Promise((resolve) => resolve(work()));
  return {
    path,
    stats: () => asked(() => queueStats(path)),
    list: (options) => asked(() => listDeadLetters(path, options)),
    read: (id) => asked(() => readDeadLetter(path, id)),
    group: (options) => asked(() => groupDeadLetters(path, options)),
    replay: (selection) => replayDeadLetters(path, selection),
    drop: (filter) => dropDeadLetters(path, filter),
    move: (from, to) => moveTarget(path, from, to),
    abandon: (target) => abandonTarget(path, target),
  };
}
