// Bytes and text. QuickJS has no TextEncoder and no TextDecoder.

export function utf8(string) {
  return Uint8Array.from(unescape(encodeURIComponent(string)), (character) => character.charCodeAt(0));
}

// Bytes that are not UTF-8 become one character each.
export function text(bytes) {
  let raw = "";
  for (const byte of bytes) raw += String.fromCharCode(byte);
  try {
    return decodeURIComponent(escape(raw));
  } catch {
    return raw;
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

export function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

// At least two digits, as a byte has.
export function hex(number) {
  return number.toString(16).padStart(2, "0");
}
