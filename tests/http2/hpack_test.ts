import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { encodeFields, HpackDecoder } from "../../src/http2/hpack.ts";
import { type Field, HpackError, huffmanDecode } from "../../src/http2/hpack_tables.ts";

const LIST_BYTES_MAX = 16_384;

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

/** Blocks of one connection, in order, with what each says: RFC 7541, appendix C. */
const EXAMPLES: Readonly<Record<string, readonly (readonly [block: string, fields: readonly Field[]])[]>> = {
  "C.2.1 literal, kept": [["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", [
    ["custom-key", "custom-header"],
  ]]],
  "C.2.2 literal, not kept": [["040c 2f73 616d 706c 652f 7061 7468", [[":path", "/sample/path"]]]],
  "C.2.3 literal, never kept": [["1008 7061 7373 776f 7264 0673 6563 7265 74", [["password", "secret"]]]],
  "C.2.4 indexed": [["82", [[":method", "GET"]]]],
  "C.3 requests without Huffman": [
    ["8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ]],
    ["8286 84be 5808 6e6f 2d63 6163 6865", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ]],
    ["8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ]],
  ],
  "C.4 requests with Huffman": [
    ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ]],
    ["8286 84be 5886 a8eb 1064 9cbf", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ]],
    ["8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ]],
  ],
  // The RFC has a table of 256 bytes here: the change of its size (3fe1 01) stands before the first block.
  "C.5 answers without Huffman, evicting": [
    [
      "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      [
        [":status", "302"],
        ["cache-control", "private"],
        ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
        ["location", "https://www.example.com"],
      ],
    ],
    ["4803 3330 37c1 c0bf", [
      [":status", "307"],
      ["cache-control", "private"],
      ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
      ["location", "https://www.example.com"],
    ]],
    [
      "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
      [
        [":status", "200"],
        ["cache-control", "private"],
        ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
        ["location", "https://www.example.com"],
        ["content-encoding", "gzip"],
        ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
      ],
    ],
  ],
  "C.6 answers with Huffman, evicting": [
    [
      "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
      [
        [":status", "302"],
        ["cache-control", "private"],
        ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
        ["location", "https://www.example.com"],
      ],
    ],
    ["4883 640e ffc1 c0bf", [
      [":status", "307"],
      ["cache-control", "private"],
      ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
      ["location", "https://www.example.com"],
    ]],
    [
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
      [
        [":status", "200"],
        ["cache-control", "private"],
        ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
        ["location", "https://www.example.com"],
        ["content-encoding", "gzip"],
        ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
      ],
    ],
  ],
};

for (const [name, blocks] of Object.entries(EXAMPLES)) {
  Deno.test(`RFC 7541, appendix ${name}`, () => {
    const decoder = new HpackDecoder();
    for (const [block, fields] of blocks) assert.deepEqual(decoder.decode(hex(block), LIST_BYTES_MAX), fields);
  });
}

Deno.test("what is encoded is decoded, and blocks may be joined", () => {
  const fields: Field[] = [
    [":method", "POST"],
    [":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"],
    ["authorization", "Bearer secret"],
    ["x-long", "a".repeat(5_000)],
    ["x-bytes", String.fromCharCode(...Array.from({ length: 200 }, (_, at) => 0x21 + at % 0xdf))],
  ];
  const block = encodeFields(fields);
  assert.deepEqual(new HpackDecoder().decode(block, LIST_BYTES_MAX), fields);
  const joined = Buffer.concat([encodeFields(fields.slice(0, 2)), encodeFields(fields.slice(2))]);
  assert.deepEqual(joined, Buffer.from(block));
});

Deno.test("a secret is encoded so that nobody on the way keeps it", () => {
  assert.equal(encodeFields([["authorization", "x"]])[0]! & 0xf0, 0x10);
  assert.equal(encodeFields([["user-agent", "x"]])[0]! & 0xf0, 0);
});

Deno.test("a list over its limit is none, and the table is right all the same", () => {
  const decoder = new HpackDecoder();
  const long = Buffer.concat([hex("40 03 6b6579"), Buffer.from([0x05]), Buffer.from("value"), Buffer.alloc(100, 0xbe)]);
  assert.equal(decoder.decode(long, 1_000), undefined);
  assert.deepEqual(decoder.decode(hex("be"), 1_000), [["key", "value"]]);
});

Deno.test("an entry larger than the table empties it", () => {
  const decoder = new HpackDecoder();
  decoder.decode(hex("40 01 61 01 62"), LIST_BYTES_MAX);
  decoder.decode(hex("3f e1 01"), LIST_BYTES_MAX);
  decoder.decode(Buffer.concat([hex("40 01 61 7f a1 01"), Buffer.alloc(288, 0x62)]), LIST_BYTES_MAX);
  assert.throws(() => decoder.decode(hex("be"), LIST_BYTES_MAX), HpackError);
});

const DAMAGED: Readonly<Record<string, string>> = {
  "index 0": "80",
  "an index beyond the tables": "be",
  "a name's index beyond the tables": "7f 00 01 61",
  "a block that ends within a number": "ff",
  "a block that ends within a text": "40 05 61",
  "a block that ends before a value": "40 01 61",
  "a number that is too large": "ff ff ff ff ff 7f",
  "a table larger than allowed": "3f e2 1f",
  "a change of the table behind a field": "82 20",
  "a Huffman text with a padding of zeros": "40 01 61 81 18",
  "a Huffman text with a padding of 8 bits": "40 01 61 82 1f ff",
  "a Huffman text with the mark of its end": "40 01 61 84 ff ff ff ff",
};

for (const [name, block] of Object.entries(DAMAGED)) {
  Deno.test(`refuses ${name}`, () => {
    assert.throws(() => new HpackDecoder().decode(hex(block), LIST_BYTES_MAX), HpackError);
  });
}

Deno.test("decodes a byte of each length of Huffman codes", () => {
  // RFC 7541, appendix B, a few at each length.
  const codes: readonly (readonly [symbol: number, code: number, bits: number])[] = [
    [48, 0x0, 5],
    [116, 0x9, 5],
    [32, 0x14, 6],
    [117, 0x2d, 6],
    [58, 0x5c, 7],
    [122, 0x7b, 7],
    [38, 0xf8, 8],
    [90, 0xfd, 8],
    [33, 0x3f8, 10],
    [63, 0x3fc, 10],
    [39, 0x7fa, 11],
    [35, 0xffa, 12],
    [0, 0x1ff8, 13],
    [126, 0x1ffd, 13],
    [94, 0x3ffc, 14],
    [60, 0x7ffc, 15],
    [92, 0x7fff0, 19],
    [128, 0xfffe6, 20],
    [153, 0x1fffdc, 21],
    [129, 0x3fffd2, 22],
    [1, 0x7fffd8, 23],
    [9, 0xffffea, 24],
    [199, 0x1ffffec, 25],
    [192, 0x3ffffe0, 26],
    [203, 0x7ffffde, 27],
    [2, 0xfffffe2, 28],
    [254, 0x7fffff0, 27],
    [10, 0x3ffffffc, 30],
    [22, 0x3ffffffe, 30],
  ];
  for (const [symbol, code, bits] of codes) {
    const padded = code.toString(2).padStart(bits, "0").padEnd(Math.ceil(bits / 8) * 8, "1");
    const bytes = Uint8Array.from(padded.match(/.{8}/g)!, (byte) => Number.parseInt(byte, 2));
    assert.equal(huffmanDecode(bytes), String.fromCharCode(symbol));
  }
});
