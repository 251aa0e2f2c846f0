/** Runs the rows against a server and writes what came of them as a table. */
import { type Answer, Client, type Target } from "./exchange.ts";
import { type Case, described, type Need, type Row, type Upstream } from "./rows.ts";

/** What became of one case. */
export interface CaseResult {
  readonly name: string;
  /** What is wrong; undefined when it is as expected. */
  readonly fault: string | undefined;
}

/** What became of one row. */
export interface RowResult {
  readonly row: Pick<Row, "clause" | "request" | "expected"> & { readonly obligation: string };
  /** Empty where the row could not be asked of this server. */
  readonly cases: readonly CaseResult[];
}

/** What a server under test can do. */
export interface Abilities {
  readonly needs: ReadonlySet<Need>;
  /** Tells what stands behind the server how to answer from now on. */
  readonly upstream?: (behaviour: Upstream | undefined) => void;
}

/** Asks every row. */
export async function askAll(rows: readonly Row[], target: Target, abilities: Abilities): Promise<RowResult[]> {
  const results: RowResult[] = [];
  using client = new Client(target);
  for (const row of rows) {
    const cases: CaseResult[] = [];
    if (row.needs === undefined || abilities.needs.has(row.needs)) {
      abilities.upstream?.(row.upstream);
      for (const one of row.cases) cases.push({ name: one.name, fault: await ask(client, row, one) });
    }
    results.push({ row, cases });
  }
  abilities.upstream?.(undefined);
  return results;
}

async function ask(client: Client, row: Row, one: Case): Promise<string | undefined> {
  let answer: Answer;
  try {
    answer = await client.send(one.exchange);
  } catch (error) {
    return `no answer: ${error instanceof Error ? error.message : String(error)}`;
  }
  try {
    return row.check(answer, one);
  } catch (error) {
    return `${described(answer, one)}, unreadable: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A row's result in one cell: how many cases are as expected, and what the others got. */
export function gotOf({ cases }: RowResult): string {
  if (cases.length === 0) return "not asked";
  const faults = new Map<string, string[]>();
  for (const { name, fault } of cases) {
    if (fault !== undefined) faults.set(fault, [...faults.get(fault) ?? [], name]);
  }
  const good = cases.filter(({ fault }) => fault === undefined).length;
  if (faults.size === 0) return `as expected (${good})`;
  const all = cases.map(({ name }) => name);
  const bad = [...faults].map(([fault, names]) =>
    `${fault}${names.length === all.length ? "" : ` (${shortened(names, all)})`}`
  );
  return `${good === 0 ? "" : `as expected (${good}); `}${bad.join("; ")}`;
}

/** Names of cases, `JSON` for all that are JSON, and so on. */
function shortened(names: readonly string[], all: readonly string[]): string {
  const groups = ["protobuf", "JSON"].filter((ending) => {
    const of = all.filter((name) => name.endsWith(ending));
    return of.length > 0 && of.every((name) => names.includes(name));
  });
  return [...groups, ...names.filter((name) => !groups.some((ending) => name.endsWith(ending)))].join(", ");
}

/** The table, as Markdown. One column of answers a server. */
export function tableOf(servers: readonly { readonly name: string; readonly results: readonly RowResult[] }[]): string {
  const lines = [
    `| clause | | request | expected | ${servers.map(({ name }) => name).join(" | ")} |`,
    `| --- | --- | --- | --- | ${servers.map(() => "---").join(" | ")} |`,
  ];
  for (const [index, { row }] of (servers[0]?.results ?? []).entries()) {
    const got = servers.map(({ results }) => gotOf(results[index]!));
    lines.push(`| ${[row.clause, row.obligation, row.request, row.expected, ...got].join(" | ")} |`);
  }
  return lines.join("\n");
}

/** What is not as expected, one line each: `request: got`. */
export function differencesOf(results: readonly RowResult[]): string[] {
  return results
    .filter(({ cases }) => cases.some(({ fault }) => fault !== undefined))
    .map((result) => `${result.row.request}: ${gotOf(result)}`);
}
