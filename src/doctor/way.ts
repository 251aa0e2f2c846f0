/**
 * One way to a Collector, as the checks find it: what is configured, and what the steps before have learnt.
 * @module
 */
import type { KeyObject, X509Certificate } from "node:crypto";
import type { Protocol, TlsSettings } from "../config/exporter_settings.ts";
import type { Config } from "../config/schema.ts";
import { bareHost } from "../config/units.ts";
import type { Handshake } from "../diagnosis/handshake.ts";
import { CollectorClient, type Target } from "../exporter/client/client.ts";
import type { ResolveName } from "../exporter/client/transports.ts";
import type { SignalName } from "../signal.ts";
import { exportPrivateKey } from "../pki/certificate.ts";
import type { PemDocument } from "../pki/pem.ts";
import { USER_AGENT } from "../version.ts";

/** What a way is made of. */
export interface WayOptions {
  /** The exporter's name, where there are several. */
  readonly exporter: string | undefined;
  /** Any URL of the Collector: scheme, host and port count. */
  readonly origin: URL;
  /** Where the configuration has it from: a variable, a place in the file, or `the default`. */
  readonly from: string;
  readonly tls: TlsSettings;
  readonly protocol: Protocol;
  readonly compression: Config["exporter"]["compression"];
  readonly targets: Readonly<Record<SignalName, Target>>;
  readonly now: () => Date;
  readonly attemptMs: number;
  /** All addresses of a name. */
  readonly resolve: ResolveName;
}

/** What was read from the three files. */
export interface WayIdentity {
  readonly authorities: readonly X509Certificate[];
  readonly certificates: readonly [X509Certificate, ...X509Certificate[]];
  readonly key: KeyObject;
}

/** One way. A check reads what those that it needs have set. */
export class Way {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  readonly tls: TlsSettings;
  readonly protocol: Protocol;
  readonly compression: WayOptions["compression"];
  readonly now: () => Date;
  readonly attemptMs: number;
  readonly resolve: ResolveName;
  /** Of the name, once they are known. */
  addresses: readonly string[] = [];
  readonly #exporter: string | undefined;
  readonly #from: string;
  /** Those that go this way. */
  readonly signals: SignalName[] = [];
  documents: { readonly ca: PemDocument; readonly cert: PemDocument; readonly key: PemDocument } | undefined;
  identity: WayIdentity | undefined;
  handshake: Handshake | undefined;
  readonly #targets: WayOptions["targets"];
  #client: CollectorClient | undefined;
  #stranger: CollectorClient | undefined;

  constructor(options: WayOptions) {
    const { origin } = options;
    this.#exporter = options.exporter;
    this.#from = options.from;
    this.host = bareHost(origin.hostname);
    this.secure = origin.protocol === "https:";
    this.port = Number(origin.port || (this.secure ? 443 : 80));
    this.tls = options.tls;
    this.protocol = options.protocol;
    this.compression = options.compression;
    this.now = options.now;
    this.attemptMs = options.attemptMs;
    this.resolve = options.resolve;
    this.#targets = options.targets;
  }

  /** The URL without its path, and where it is from. */
  get endpoint(): string {
    const host = this.host.includes(":") ? `[${this.host}]` : this.host;
    return `${this.secure ? "https" : "http"}://${host}:${this.port}, from ${this.#from}`;
  }

  /** Which Collector, and for which signals. */
  get label(): string {
    const url = `${this.secure ? "https" : "http"}://${this.host}:${this.port} (${this.signals.join(", ")})`;
    return this.#exporter === undefined ? url : `${this.#exporter}: ${url}`;
  }

  /** The relay's own client, with the identity that was read. */
  get client(): CollectorClient {
    return this.#client ??= this.#open(this.identity);
  }

  /** The same client, of somebody who has no certificate. */
  get stranger(): CollectorClient {
    return this.#stranger ??= this.#open(
      this.identity === undefined ? undefined : { authorities: this.identity.authorities },
    );
  }

  #open(identity: Partial<WayIdentity> | undefined): CollectorClient {
    const { authorities = [], certificates, key } = identity ?? {};
    return new CollectorClient({
      identity: {
        caCerts: authorities.map((each) => each.toString()),
        ...(certificates === undefined || key === undefined ? {} : {
          cert: certificates.map((each) => each.toString()).join(""),
          key: exportPrivateKey(key),
        }),
      },
      targets: this.#targets,
      protocol: this.protocol,
      userAgent: USER_AGENT,
      idleConnectionsMax: 1,
      resolve: this.resolve,
    });
  }

  /** Closes what was opened. */
  close(): void {
    this.#client?.close();
    this.#stranger?.close();
  }
}
