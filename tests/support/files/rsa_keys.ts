/**
 * RSA keys of sizes that take seconds to make: a search for primes, by chance. Here the primes are known.
 * @module
 */

/** Two primes by the size of the key that they make, in bits. */
const PRIMES: ReadonlyMap<number, readonly [string, string]> = new Map([
  [3072, [
    "D38EB072D32A51173144650B48C51F4CD44ECE6DAC42C629312B2AA1312CC4A6903A736961EC0EF92217F03979D7F80C915C5FABE9A578" +
    "024B28EA035D3D061E2E272E6C04053CD439BA5C06D4B7D0C614E237D645A135A3081ADF087D60E54609AED40049FF4ED98126BF67374C" +
    "ACD2BCA38577E8ECC45DBBC8B8E486E4710056169F33F6CE8ED0AA5B1E6C80DF6D4CB8C1F59C6BAAC719C5F6B6DF97D9C1EDF76C7F8E5B" +
    "2A98132C264D4645C79E969603DE97136A68C79C725F11EB53F2B5",
    "EF0EFF6B6115B7A0093D6F01C74301B25409276F6DBA7CFABBA8A7DDBA20CE291CABCA19418FAEB6199441253CF5DB594BA2CFEDD9FD24" +
    "773C9C485B7F8334BBD2D2885EC648D13147089D90B6C843867CC685AD8F0160AA52C7A9A7B4C7E4174F8CC9E22B47FF90D605E3E549D4" +
    "B1E9AA6AF371D25EF0B92EDAC06517A77BE6AAC6B67E8B8EC5AD046B7B6C6A79E2277ED5767CF22FB51655E65C571B8BC194DF76034CB7" +
    "8F5351C51926856EECD29750323125DD39F81EC95A3D8D04902291",
  ]],
  [4096, [
    "DDBC1F0B0A6C3F48AB409987A3E871D5A80F65914A65845D0D09C63F3230FDA8982F011B7607D4C3D023762E4614302E4AAD1CC9F5288C" +
    "8358D9163AA7E6E92309637617093640BBA22876515011BA4CA79DF8F132395B4AA73DEFC756F1498D59E67243D41BBD8D38ACFAA8D9B2" +
    "8642ADAD3EC395A2EAC1E82557D18C0E0912B6AC41B2F01D7BF429E13C93DA45DBCBB9AD3D3DF2BA2B4F6C3A53CF3A083A311ADFDFF630" +
    "6C636AF1C585A4B6E9BCFD71DDE1C6D5F52A8816FA08BC310EF574203E3F4DA04F9E35989A19C1D8A0EF5F2C374436EB5877822E5745A8" +
    "DEA15FC221E6790C25707BECDA64F9035F5CF75180C8E0B902D4B811CBEC6A90A301486B",
    "E6964649D5E27067E74B08567A7AEB2EBC516251059254CED45A6605D93EC54C618938F04C8E2A2C6A9E9D7A7F8B2073F627E0F4BFE530" +
    "6E0C4A2ADBDE061603F2ADB0FBBAF8D4D426ADFA3D4C66653704E1F08381B76ECB2279AE73E5FC76C163BF79BFD008DD3409675D89E5D6" +
    "0BCCCF36A71CDCF1889AD78942985B2E0431AEA64C2E2064E5EE954E9F317B3B43B4223178424B421C7EBC396AF29CAF3530D586273D74" +
    "9A2D0C5501387A70B4B5C1ED831B13212C542EF7F6CC30CCF3594C06E85D3C4466F6E8C108950A2AC7E89D0BD87E3FB24167E20FACE4AB" +
    "6066F530F00362B0F40FA72EEC61CA27881B8EBEA8FFE516D84AC76AD3D3846D95B1E655",
  ]],
]);

const EXPONENT = 65_537n;

/** While it is not disposed of, `crypto.subtle` makes RSA keys of these sizes of the known primes; all other keys as it does. */
export function knownRsaKeys(): Disposable {
  const { subtle } = crypto;
  const generate: (...args: Parameters<SubtleCrypto["generateKey"]>) => ReturnType<SubtleCrypto["generateKey"]> = subtle
    .generateKey.bind(subtle);
  subtle.generateKey = (async (...[algorithm, extractable, usages]: Parameters<SubtleCrypto["generateKey"]>) => {
    const primes = typeof algorithm === "object" && "modulusLength" in algorithm
      ? PRIMES.get(Number(algorithm.modulusLength))
      : undefined;
    return primes === undefined
      ? await generate(algorithm, extractable, usages)
      : await keysOf(primes, algorithm as RsaHashedKeyGenParams, extractable);
  }) as typeof subtle.generateKey;
  return {
    [Symbol.dispose]: () => {
      Reflect.deleteProperty(subtle, "generateKey");
    },
  };
}

async function keysOf(
  primes: readonly [string, string],
  algorithm: RsaHashedKeyGenParams,
  extractable: boolean,
): Promise<CryptoKeyPair> {
  const [p, q] = primes.map((each) => BigInt(`0x${each}`)) as [bigint, bigint];
  const d = inverse(EXPONENT, (p - 1n) * (q - 1n));
  const numbers = { n: p * q, e: EXPONENT, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
  const { n, e, ...secret } = Object.fromEntries(
    Object.entries(numbers).map(([name, each]) => [name, base64Url(each)]),
  );
  const publicKey = { kty: "RSA", n: n!, e: e! };
  return {
    publicKey: await crypto.subtle.importKey("jwk", publicKey, algorithm, true, ["verify"]),
    privateKey: await crypto.subtle.importKey("jwk", { ...publicKey, ...secret }, algorithm, extractable, ["sign"]),
  };
}

/** What `value` times it leaves 1 of, by the extended Euclidean algorithm. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [rest, next, factor, nextFactor] = [modulus, value % modulus, 0n, 1n];
  while (next !== 0n) {
    const quotient = rest / next;
    [rest, next] = [next, rest - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return (factor + modulus) % modulus;
}

function base64Url(value: bigint): string {
  const digits = value.toString(16);
  return Uint8Array.fromHex(digits.padStart(digits.length + digits.length % 2, "0"))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}
