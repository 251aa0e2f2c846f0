/**
 * The OTLP messages, one table. The wire walk, the JSON transcoder and the decoder all read it, so that a field is written
 * down once. Source: opentelemetry-proto 1.11 (`trace/v1`, `metrics/v1`, `logs/v1`, `profiles/v1development`,
 * `common/v1`, `resource/v1`).
 * @module
 */
import type { SignalName } from "../signal.ts";

/** How a field that is not a message stands on the wire, and what JSON may say for it. */
export type ScalarKind =
  | "string"
  | "bytes"
  | "bool"
  | "enum"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "sint32"
  | "fixed32"
  | "fixed64"
  | "sfixed64"
  | "double"
  | "traceId"
  | "spanId"
  | "profileId";

/** One field of a message. */
export interface Field {
  readonly number: number;
  /** The lowerCamelCase name, which OTLP/JSON has; {@link protoName} is the other that ProtoJSON parsers take. */
  readonly name: string;
  /** A scalar, or the name of a message in {@link MESSAGES}. */
  readonly kind: ScalarKind | MessageName;
  readonly repeated: boolean;
}

type Row = readonly [number: number, name: string, kind: string, repeated?: "repeated"];

const ROWS = {
  TracesRequest: [[1, "resourceSpans", "ResourceSpans", "repeated"]],
  ResourceSpans: [
    [1, "resource", "Resource"],
    [2, "scopeSpans", "ScopeSpans", "repeated"],
    [3, "schemaUrl", "string"],
    [1000, "deprecatedScopeSpans", "ScopeSpans", "repeated"],
  ],
  ScopeSpans: [[1, "scope", "Scope"], [2, "spans", "Span", "repeated"], [3, "schemaUrl", "string"]],
  Span: [
    [1, "traceId", "traceId"],
    [2, "spanId", "spanId"],
    [3, "traceState", "string"],
    [4, "parentSpanId", "spanId"],
    [5, "name", "string"],
    [6, "kind", "enum"],
    [7, "startTimeUnixNano", "fixed64"],
    [8, "endTimeUnixNano", "fixed64"],
    [9, "attributes", "KeyValue", "repeated"],
    [10, "droppedAttributesCount", "uint32"],
    [11, "events", "Event", "repeated"],
    [12, "droppedEventsCount", "uint32"],
    [13, "links", "Link", "repeated"],
    [14, "droppedLinksCount", "uint32"],
    [15, "status", "Status"],
    [16, "flags", "fixed32"],
  ],
  Event: [
    [1, "timeUnixNano", "fixed64"],
    [2, "name", "string"],
    [3, "attributes", "KeyValue", "repeated"],
    [4, "droppedAttributesCount", "uint32"],
  ],
  Link: [
    [1, "traceId", "traceId"],
    [2, "spanId", "spanId"],
    [3, "traceState", "string"],
    [4, "attributes", "KeyValue", "repeated"],
    [5, "droppedAttributesCount", "uint32"],
    [6, "flags", "fixed32"],
  ],
  Status: [[2, "message", "string"], [3, "code", "enum"]],

  MetricsRequest: [[1, "resourceMetrics", "ResourceMetrics", "repeated"]],
  ResourceMetrics: [
    [1, "resource", "Resource"],
    [2, "scopeMetrics", "ScopeMetrics", "repeated"],
    [3, "schemaUrl", "string"],
    [1000, "deprecatedScopeMetrics", "ScopeMetrics", "repeated"],
  ],
  ScopeMetrics: [[1, "scope", "Scope"], [2, "metrics", "Metric", "repeated"], [3, "schemaUrl", "string"]],
  Metric: [
    [1, "name", "string"],
    [2, "description", "string"],
    [3, "unit", "string"],
    [5, "gauge", "Gauge"],
    [7, "sum", "Sum"],
    [9, "histogram", "Histogram"],
    [10, "exponentialHistogram", "ExponentialHistogram"],
    [11, "summary", "Summary"],
    [12, "metadata", "KeyValue", "repeated"],
  ],
  Gauge: [[1, "dataPoints", "NumberDataPoint", "repeated"]],
  Sum: [
    [1, "dataPoints", "NumberDataPoint", "repeated"],
    [2, "aggregationTemporality", "enum"],
    [3, "isMonotonic", "bool"],
  ],
  Histogram: [[1, "dataPoints", "HistogramDataPoint", "repeated"], [2, "aggregationTemporality", "enum"]],
  ExponentialHistogram: [
    [1, "dataPoints", "ExponentialHistogramDataPoint", "repeated"],
    [2, "aggregationTemporality", "enum"],
  ],
  Summary: [[1, "dataPoints", "SummaryDataPoint", "repeated"]],
  NumberDataPoint: [
    [2, "startTimeUnixNano", "fixed64"],
    [3, "timeUnixNano", "fixed64"],
    [4, "asDouble", "double"],
    [5, "exemplars", "Exemplar", "repeated"],
    [6, "asInt", "sfixed64"],
    [7, "attributes", "KeyValue", "repeated"],
    [8, "flags", "uint32"],
  ],
  HistogramDataPoint: [
    [2, "startTimeUnixNano", "fixed64"],
    [3, "timeUnixNano", "fixed64"],
    [4, "count", "fixed64"],
    [5, "sum", "double"],
    [6, "bucketCounts", "fixed64", "repeated"],
    [7, "explicitBounds", "double", "repeated"],
    [8, "exemplars", "Exemplar", "repeated"],
    [9, "attributes", "KeyValue", "repeated"],
    [10, "flags", "uint32"],
    [11, "min", "double"],
    [12, "max", "double"],
  ],
  ExponentialHistogramDataPoint: [
    [1, "attributes", "KeyValue", "repeated"],
    [2, "startTimeUnixNano", "fixed64"],
    [3, "timeUnixNano", "fixed64"],
    [4, "count", "fixed64"],
    [5, "sum", "double"],
    [6, "scale", "sint32"],
    [7, "zeroCount", "fixed64"],
    [8, "positive", "Buckets"],
    [9, "negative", "Buckets"],
    [10, "flags", "uint32"],
    [11, "exemplars", "Exemplar", "repeated"],
    [12, "min", "double"],
    [13, "max", "double"],
    [14, "zeroThreshold", "double"],
  ],
  Buckets: [[1, "offset", "sint32"], [2, "bucketCounts", "uint64", "repeated"]],
  SummaryDataPoint: [
    [2, "startTimeUnixNano", "fixed64"],
    [3, "timeUnixNano", "fixed64"],
    [4, "count", "fixed64"],
    [5, "sum", "double"],
    [6, "quantileValues", "ValueAtQuantile", "repeated"],
    [7, "attributes", "KeyValue", "repeated"],
    [8, "flags", "uint32"],
  ],
  ValueAtQuantile: [[1, "quantile", "double"], [2, "value", "double"]],
  Exemplar: [
    [2, "timeUnixNano", "fixed64"],
    [3, "asDouble", "double"],
    [4, "spanId", "spanId"],
    [5, "traceId", "traceId"],
    [6, "asInt", "sfixed64"],
    [7, "filteredAttributes", "KeyValue", "repeated"],
  ],

  LogsRequest: [[1, "resourceLogs", "ResourceLogs", "repeated"]],
  ResourceLogs: [
    [1, "resource", "Resource"],
    [2, "scopeLogs", "ScopeLogs", "repeated"],
    [3, "schemaUrl", "string"],
    [1000, "deprecatedScopeLogs", "ScopeLogs", "repeated"],
  ],
  ScopeLogs: [[1, "scope", "Scope"], [2, "logRecords", "LogRecord", "repeated"], [3, "schemaUrl", "string"]],
  LogRecord: [
    [1, "timeUnixNano", "fixed64"],
    [2, "severityNumber", "enum"],
    [3, "severityText", "string"],
    [5, "body", "AnyValue"],
    [6, "attributes", "KeyValue", "repeated"],
    [7, "droppedAttributesCount", "uint32"],
    [8, "flags", "fixed32"],
    [9, "traceId", "traceId"],
    [10, "spanId", "spanId"],
    [11, "observedTimeUnixNano", "fixed64"],
    [12, "eventName", "string"],
  ],

  ProfilesRequest: [[1, "resourceProfiles", "ResourceProfiles", "repeated"], [2, "dictionary", "ProfilesDictionary"]],
  ResourceProfiles: [
    [1, "resource", "Resource"],
    [2, "scopeProfiles", "ScopeProfiles", "repeated"],
    [3, "schemaUrl", "string"],
  ],
  ScopeProfiles: [[1, "scope", "Scope"], [2, "profiles", "Profile", "repeated"], [3, "schemaUrl", "string"]],
  Profile: [
    [1, "sampleType", "ValueType"],
    [2, "samples", "Sample", "repeated"],
    [3, "timeUnixNano", "fixed64"],
    [4, "durationNano", "uint64"],
    [5, "periodType", "ValueType"],
    [6, "period", "int64"],
    [7, "profileId", "profileId"],
    [8, "droppedAttributesCount", "uint32"],
    [9, "originalPayloadFormat", "string"],
    [10, "originalPayload", "bytes"],
    [11, "attributeIndices", "int32", "repeated"],
  ],
  Sample: [
    [1, "stackIndex", "int32"],
    [2, "attributeIndices", "int32", "repeated"],
    [3, "linkIndex", "int32"],
    [4, "values", "int64", "repeated"],
    [5, "timestampsUnixNano", "fixed64", "repeated"],
  ],
  ProfilesDictionary: [
    [1, "mappingTable", "Mapping", "repeated"],
    [2, "locationTable", "Location", "repeated"],
    [3, "functionTable", "Function", "repeated"],
    [4, "linkTable", "ProfileLink", "repeated"],
    [5, "stringTable", "string", "repeated"],
    [6, "attributeTable", "KeyValueAndUnit", "repeated"],
    [7, "stackTable", "Stack", "repeated"],
  ],
  Mapping: [
    [1, "memoryStart", "uint64"],
    [2, "memoryLimit", "uint64"],
    [3, "fileOffset", "uint64"],
    [4, "filenameStrindex", "int32"],
    [5, "attributeIndices", "int32", "repeated"],
  ],
  Location: [
    [1, "mappingIndex", "int32"],
    [2, "address", "uint64"],
    [3, "lines", "Line", "repeated"],
    [4, "attributeIndices", "int32", "repeated"],
  ],
  Line: [[1, "functionIndex", "int32"], [2, "line", "int64"], [3, "column", "int64"]],
  Function: [
    [1, "nameStrindex", "int32"],
    [2, "systemNameStrindex", "int32"],
    [3, "filenameStrindex", "int32"],
    [4, "startLine", "int64"],
  ],
  ProfileLink: [[1, "traceId", "traceId"], [2, "spanId", "spanId"]],
  Stack: [[1, "locationIndices", "int32", "repeated"]],
  ValueType: [[1, "typeStrindex", "int32"], [2, "unitStrindex", "int32"]],
  KeyValueAndUnit: [[1, "keyStrindex", "int32"], [2, "value", "AnyValue"], [3, "unitStrindex", "int32"]],

  Resource: [
    [1, "attributes", "KeyValue", "repeated"],
    [2, "droppedAttributesCount", "uint32"],
    [3, "entityRefs", "EntityRef", "repeated"],
  ],
  EntityRef: [
    [1, "schemaUrl", "string"],
    [2, "type", "string"],
    [3, "idKeys", "string", "repeated"],
    [4, "descriptionKeys", "string", "repeated"],
  ],
  Scope: [
    [1, "name", "string"],
    [2, "version", "string"],
    [3, "attributes", "KeyValue", "repeated"],
    [4, "droppedAttributesCount", "uint32"],
  ],
  KeyValue: [[1, "key", "string"], [2, "value", "AnyValue"], [3, "keyStrindex", "int32"]],
  AnyValue: [
    [1, "stringValue", "string"],
    [2, "boolValue", "bool"],
    [3, "intValue", "int64"],
    [4, "doubleValue", "double"],
    [5, "arrayValue", "ArrayValue"],
    [6, "kvlistValue", "KeyValueList"],
    [7, "bytesValue", "bytes"],
    [8, "stringValueStrindex", "int32"],
  ],
  ArrayValue: [[1, "values", "AnyValue", "repeated"]],
  KeyValueList: [[1, "values", "KeyValue", "repeated"]],
} as const satisfies Record<string, readonly Row[]>;

/** The name of a message in the table. */
export type MessageName = keyof typeof ROWS;

/** Every message with its fields, in ascending field number. */
export const MESSAGES: Readonly<Record<MessageName, readonly Field[]>> = messages();

function messages(): Record<MessageName, readonly Field[]> {
  const table = {} as Record<MessageName, readonly Field[]>;
  for (const [message, rows] of Object.entries<readonly Row[]>(ROWS)) {
    table[message as MessageName] = rows.map(([number, name, kind, repeated]): Field => ({
      number,
      name,
      kind: kind as ScalarKind | MessageName,
      repeated: repeated === "repeated",
    }));
  }
  return table;
}

/** Whether a field's kind is a message. */
export function isMessage(kind: ScalarKind | MessageName): kind is MessageName {
  return kind in MESSAGES;
}

/** The export request of each signal. */
export const REQUEST_MESSAGE: Readonly<Record<SignalName, MessageName>> = {
  traces: "TracesRequest",
  metrics: "MetricsRequest",
  logs: "LogsRequest",
  profiles: "ProfilesRequest",
};

/** The name of a field in its `.proto`: "Parsers accept both the lowerCamelCase name […] and the original proto field name" (ProtoJSON). */
export function protoName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const SEVERITIES = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const TEMPORALITIES = ["UNSPECIFIED", "DELTA", "CUMULATIVE"].map((name) => `AGGREGATION_TEMPORALITY_${name}`);

/** The names of each enum's values, by message and field, in the order of their numbers from 0 on. */
export const ENUM_NAMES: Readonly<Record<string, readonly string[]>> = {
  "Span.kind": ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"].map((name) =>
    `SPAN_KIND_${name}`
  ),
  "Status.code": ["UNSET", "OK", "ERROR"].map((name) => `STATUS_CODE_${name}`),
  "Sum.aggregationTemporality": TEMPORALITIES,
  "Histogram.aggregationTemporality": TEMPORALITIES,
  "ExponentialHistogram.aggregationTemporality": TEMPORALITIES,
  "LogRecord.severityNumber": [
    "UNSPECIFIED",
    ...SEVERITIES.flatMap((name) => [name, `${name}2`, `${name}3`, `${name}4`]),
  ]
    .map((name) => `SEVERITY_NUMBER_${name}`),
};
